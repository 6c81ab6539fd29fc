/**
 * What a party can be asked: all its verbs, and how a question is answered.
 *
 * Owns the way out of a party that leaves. Who asks, and what the answers mean, is the test's.
 */
import { WATCHDOG_MS } from "../support/watchdog.js";
import { counting } from "./processes-census.js";
import { closeConnections, connecting } from "./processes-connections.js";
import { dying } from "./processes-exits.js";
import { speaking } from "./processes-speech.js";
import { endWorkers, threading } from "./processes-workers.js";

const verbs = {
  ...connecting,
  ...speaking,
  ...dying,
  ...counting,
  ...threading,

  /** Closes what there is; the process then has to end by itself. */
  leave(): void {
    process.exitCode = 0;
    closeConnections();
    endWorkers();
    process.disconnect();
    // Then nobody may have to wait for it, or to clear up after it.
    setTimeout(() => process.kill(process.pid, "SIGKILL"), WATCHDOG_MS).unref();
  },
};

export type Verbs = typeof verbs;
export type Verb = keyof Verbs;

/** A question, and its answer. */
export interface Asked {
  readonly id: number;
  readonly verb: Verb;
  readonly args: unknown[];
}
export interface Reply {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: string;
}

export async function answer({ id, verb, args }: Asked): Promise<Reply> {
  try {
    const value = await (verbs[verb] as (...given: unknown[]) => unknown)(...args);
    return { id, value };
  } catch (error) {
    return { id, error: String((error as Error).stack) };
  }
}
