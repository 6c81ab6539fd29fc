/**
 * Two Workers, one for each side of a bench, and the calls the main thread makes to them.
 *
 * Owns the workers' lives and the messages below; payload under test never travels this way. Knows nothing of what a
 * call does. A failure in a worker, asked for or not, fails the calls that wait for it.
 */
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { MessageChannel, type MessagePort, Worker } from "node:worker_threads";
import type { Params, Transport } from "./record.js";

/** Where the built bench files are: they are started by path, whichever chunk this code was bundled into. */
export const BENCH_FOLDER = join(
  dirname(createRequire(import.meta.url).resolve("smcnet/package.json")),
  "dist",
  "bench",
);

export type Role = "server" | "client";

/** What a side is told at its start. `shared` is the same memory on both sides, zeroed; `port` reaches the other side. */
export interface SideSetup {
  readonly scenario: string;
  readonly role: Role;
  readonly transport: Transport;
  readonly params: Params;
  readonly shared: SharedArrayBuffer;
  readonly port: MessagePort;
}

/** A side's operations: one cloneable argument, a cloneable result or a promise of it. */
export type Operations = { readonly [name: string]: (argument: never) => unknown };
/** The two sides of a scenario; each is made inside its worker. */
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

type Argument<F> = F extends (argument: infer A) => unknown ? A : never;
type Result<F> = F extends (argument: never) => infer R ? Awaited<R> : never;

/** A call that is not answered by then has hung. */
const CALL_DEADLINE_MS = 120_000;
const SHARED_SIZE = 128;

/** One worker as seen from the main thread. */
export class Remote<O> {
  readonly #worker: Worker;
  readonly #label: string;
  readonly #waiting = new Map<number, { resolve(value: never): void; reject(error: Error): void }>();
  #failure: Error | undefined;
  #lastId = 0;

  constructor(setup: SideSetup) {
    this.#label = `${setup.scenario} ${setup.transport} ${setup.role}`;
    this.#worker = new Worker(join(BENCH_FOLDER, "side.worker.mjs"), {
      workerData: setup,
      transferList: [setup.port],
    });
    this.#worker.on("message", (reply: ReplyMessage) => {
      const call = this.#waiting.get(reply.id);
      this.#waiting.delete(reply.id);
      if (reply.ok) call?.resolve(reply.value as never);
      else call?.reject(this.#named(reply.error));
    });
    this.#worker.on("error", (error) => this.#fail(error));
    this.#worker.on("exit", () => this.#fail(new Error("the worker has ended")));
  }

  /** Errors: what the operation threw; the worker's death; no answer within two minutes. */
  call<K extends keyof O & string>(operation: K, argument: Argument<O[K]>): Promise<Result<O[K]>> {
    if (this.#failure) return Promise.reject(this.#failure);
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      const deadline = setTimeout(() => this.#fail(new Error(`no answer to ${operation}`)), CALL_DEADLINE_MS);
      const settle =
        <T>(then: (value: T) => void) =>
        (value: T) => {
          clearTimeout(deadline);
          then(value);
        };
      this.#waiting.set(id, { resolve: settle(resolve), reject: settle(reject) });
      const message: CallMessage = { id, operation, argument };
      this.#worker.postMessage(message);
    });
  }

  async end(): Promise<void> {
    this.#failure ??= new Error(`${this.#label}: closed`);
    await this.#worker.terminate();
  }

  #fail(error: Error): void {
    this.#failure ??= this.#named(error);
    for (const call of this.#waiting.values()) call.reject(this.#failure);
    this.#waiting.clear();
  }

  #named(error: Error): Error {
    return new Error(`${this.#label}: ${error.message}`, { cause: error });
  }
}

/** Both sides of one transport. `S` and `C` are the operations of the server and of the client. */
export class Pair<S extends { close(argument: undefined): void }, C extends { close(argument: undefined): void }> {
  readonly server: Remote<S>;
  readonly client: Remote<C>;

  constructor(scenario: string, transport: Transport, params: Params) {
    const shared = new SharedArrayBuffer(SHARED_SIZE);
    const { port1, port2 } = new MessageChannel();
    const common = { scenario, transport, params, shared };
    this.server = new Remote<S>({ ...common, role: "server", port: port1 });
    this.client = new Remote<C>({ ...common, role: "client", port: port2 });
  }

  /** Closes connections in order, then ends both workers. */
  async close(): Promise<void> {
    const client: Remote<{ close(argument: undefined): void }> = this.client;
    const server: Remote<{ close(argument: undefined): void }> = this.server;
    try {
      await client.call("close", undefined);
      await server.call("close", undefined);
    } finally {
      await Promise.all([client.end(), server.end()]);
    }
  }
}
