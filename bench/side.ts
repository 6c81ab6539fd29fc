/**
 * One side of a bench and the calls made to it, in whatever event loop it runs.
 *
 * Owns what a side is told, the form of its operations, and the messages of a call. Payload under test never travels this
 * way. What a side does is its scenario's; who carries the messages is side-host.ts on the one end and the side's program
 * on the other.
 */
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import type { MessagePort } from "node:worker_threads";
import { restHere } from "./meter.js";
import type { Params, Transport } from "./record.js";

/** Where the built bench files are: they are started by path, whichever chunk this code was bundled into. */
export const BENCH_FOLDER = join(
  dirname(createRequire(import.meta.url).resolve("smcnet/package.json")),
  "dist",
  "bench",
);

export type Role = "server" | "client";

/** What a side is told at its start. */
export interface SideSetup {
  readonly scenario: string;
  readonly role: Role;
  readonly transport: Transport;
  readonly params: Params;
  /** Between threads only: the same memory on both sides, zeroed. */
  readonly shared?: SharedArrayBuffer;
  /** Between threads only: reaches the other side. */
  readonly port?: MessagePort;
}

/** A side's operations: one cloneable argument, a cloneable result or a promise of it. */
export type Operations = { readonly [name: string]: (argument: never) => unknown };
/** The two sides of a scenario; each is made where it runs. */
export interface Sides {
  readonly server: (setup: SideSetup) => Promise<Operations>;
  readonly client: (setup: SideSetup) => Promise<Operations>;
}

export interface CallMessage {
  readonly id: number;
  readonly operation: string;
  readonly argument: unknown;
}
export type ReplyMessage =
  | { readonly id: number; readonly ok: true; readonly value: unknown }
  | { readonly id: number; readonly ok: false; readonly error: Error };
/** From a process, which unlike a Worker cannot throw into its parent: an error outside a call. */
export interface FailureMessage {
  readonly failure: Error;
}

/** What every side can be asked beside its scenario's operations: the CPU time of its process. */
export const METER_OPERATIONS = {
  cpuTime: () => process.cpuUsage(),
  cpuTimeAtRest: restHere,
} as const;

const asError = (error: unknown): Error => (error instanceof Error ? error : new Error(String(error)));

/**
 * Loads the scenario and makes the side.
 *
 * Returns: what to do with each call; its answer goes to `reply`.
 */
export async function makeSide(
  setup: SideSetup,
  reply: (message: ReplyMessage) => void,
): Promise<(message: CallMessage) => Promise<void>> {
  const { scenario, role } = setup;
  const { sides } = (await import(pathToFileURL(join(BENCH_FOLDER, `${scenario}.mjs`)).href)) as { sides: Sides };
  const operations: Operations = { ...(await sides[role](setup)), ...METER_OPERATIONS };
  return async ({ id, operation, argument }) => {
    try {
      const run = operations[operation];
      if (!run) throw new Error(`a ${role} side has no operation ${operation}`);
      reply({ id, ok: true, value: await run(argument as never) });
    } catch (error) {
      reply({ id, ok: false, error: asError(error) });
    }
  };
}
