/**
 * The reaper: what the stacks of dead Workers held comes back, however they ended: pages, table entries, listeners, claims and
 * their part in pairs.
 *
 * Owns who reaps whom, and when. Telling the living is the stack's.
 */
import type { Worker } from "node:worker_threads";
import { type TakeDownHost, takeDown } from "./device/pair.js";
import type { Arena } from "./engine/arena.js";

/** A dead client's Confirm may still be unread at its server: so long its buffers are kept for it. */
const REAP_LATER_MS = 1000;

/** Frees what stack `dead` held, part of it later. `host` is that of a living stack. */
export function reapStack(host: TakeDownHost, dead: number): void {
  const { abi, slot } = host;
  if (abi.stackReap(dead, slot, 1) === 0) leavePairs(host, dead);
  else {
    const again = (): void => {
      abi.stackReap(dead, slot, 0);
      leavePairs(host, dead);
    };
    setTimeout(again, REAP_LATER_MS).unref();
  }
}

/** A dead stack uses no pair any more; a pair that nobody uses is taken down. */
function leavePairs(host: TakeDownHost, dead: number): void {
  for (const pair of host.table.used()) if (host.table.leave(pair, dead)) takeDown(host, pair);
}

/**
 * Reaps the stacks of Workers that end.
 *
 * Every thread does it for the Workers it made; a thread that dies takes its own Workers along, so those are found by
 * their parent's id. Takes: own, the stack of this thread, made if there is none yet.
 */
export function reapDeadWorkers({ abi }: Arena, own: () => { reap(dead: number): void } | undefined): void {
  const reap = (thread: number): void => {
    const dead = abi.stackOfThread(thread);
    const actor = dead < 0 ? undefined : own();
    if (actor !== undefined) actor.reap(dead);
    for (let child = abi.stackOfParent(thread); child >= 0; child = abi.stackOfParent(thread)) {
      const before = abi.stackThread(child);
      reap(before);
      if (abi.stackOfParent(thread) === child) return;
    }
  };
  process.on("worker", (worker: Worker) => {
    const thread = worker.threadId;
    worker.once("exit", () => reap(thread));
  });
}
