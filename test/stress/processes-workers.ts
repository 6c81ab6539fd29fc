/**
 * The threads of a party: started, asked the same things as the party, ended.
 *
 * Owns the Workers. What one answers stands where the party's own answers do.
 */
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { happens, WATCHDOG_MS, within } from "../support/watchdog.js";
import type { Reply } from "./processes-verbs.js";

const workers: Worker[] = [];
let nextQuestion = 0;

export const threading = {
  /** Starts a thread. Returns: its number, for `inWorker`. */
  async addWorker(): Promise<number> {
    const worker = new Worker(new URL("../stress/processes.worker.mjs", import.meta.url));
    await happens(worker, "online", "a Worker to start");
    return workers.push(worker) - 1;
  },

  /** Asks a thread of this party. */
  async inWorker(index: number, verb: string, ...args: unknown[]): Promise<unknown> {
    const worker = workers[index]!;
    const id = nextQuestion++;
    worker.postMessage({ id, verb, args });
    const answered = async (): Promise<Reply> => {
      for (;;) {
        const [reply] = (await once(worker, "message")) as [Reply];
        if (reply.id === id) return reply;
      }
    };
    const { value, error } = await within(answered(), `a Worker's answer to "${verb}"`, 2 * WATCHDOG_MS);
    if (error !== undefined) throw new Error(`in a Worker: ${error}`);
    return value;
  },

  async endWorker(index: number): Promise<void> {
    await within(workers[index]!.terminate(), "the end of a Worker");
  },
};

/** Ends all of them. */
export function endWorkers(): void {
  for (const worker of workers) void worker.terminate();
}
