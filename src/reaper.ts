/**
 * The reaper: what threads of this process leave behind that ended in the middle of something is given back by a stack that lives.
 *
 * Owns finding the dead and the order of reaping. Who hears of it, and when to look, is the stack's. A thread ends with its handles
 * closed, so nobody hears its bell any more: that tells of a death where no thread was told of it.
 */
import type { Worker } from "node:worker_threads";
import { STACK_CAPACITY } from "../assembly/shared/layout.js";
import type { Extents } from "./device/extents.js";
import { takeDown } from "./device/pair.js";
import type { Abi } from "./engine/abi.js";
import type { Arena } from "./engine/arena.js";
import type { PairTable } from "./engine/pair-table.js";
import { isHeard } from "./host/unix-socket.js";

/** A dead client's Confirm may still be unread at its server: so long its buffers are kept for it. */
const REAP_LATER_MS = 1000;
/** Heir of a reaper, where a thread without a slot reaps it: it does the work at once. */
const NOBODY = 0xffffffff;

export interface ReaperHost {
  readonly abi: Abi;
  readonly pairs: PairTable;
  /** Undefined where there is no FFI: then there are no pairs and no bells. */
  readonly extents: Extents | undefined;
  /** The stack that does the work; undefined for a thread that has found no free slot: it does so in the name of the dead. */
  readonly slot: number | undefined;
  /** Something was reaped: who waits for the dead looks again. */
  reaped(): void;
}

export class Reaper {
  readonly #host: ReaperHost;

  constructor(host: ReaperHost) {
    this.#host = host;
  }

  /** Reaps the stack of a thread that is no more, and those of its Workers, which died with it. */
  reap(thread: number): void {
    const { abi } = this.#host;
    this.#reapOne(thread);
    for (let child = abi.stackOfParent(thread); child >= 0; child = abi.stackOfParent(thread)) {
      this.reap(abi.stackThread(child));
      if (abi.stackOfParent(thread) === child) return;
    }
  }

  /** Reaps all whose bell nobody hears. One that is still about to make its bell, or makes none, is left alone. */
  sweep(): void {
    const { abi, slot: own, extents } = this.#host;
    if (extents === undefined) return;
    for (let slot = 0; slot < STACK_CAPACITY; slot++) {
      // The thread first: whoever takes the slot behind our back has another one.
      const thread = abi.stackThread(slot);
      const generation = abi.stackGeneration(slot);
      if (slot === own || generation === 0 || abi.stackBellOf(slot) !== generation) continue;
      if (!isHeard(abi.stackBell(slot) - 1)) this.reap(thread);
    }
  }

  #reapOne(thread: number): void {
    const { abi, slot } = this.#host;
    const dead = abi.stackOfThread(thread);
    if (dead < 0 || abi.stackCondemn(dead, thread, slot ?? dead) === 0) return;
    // Who has no slot needs that of the dead at once.
    if (!this.#bury(dead, slot !== undefined)) this.#buryLater(dead);
    this.#host.reaped();
  }

  /** Gives back what a condemned stack held, and what it was giving back itself. False where something was spared, and the slot with it. */
  #bury(dead: number, spareFresh: boolean): boolean {
    const { abi, slot } = this.#host;
    const actor = slot ?? dead;
    if (abi.stackReap(dead, actor, Number(spareFresh), 1) > 0) return false;
    this.#leavePairs(dead, actor);
    for (;;) {
      const left = abi.stackInherit(dead, slot ?? NOBODY);
      if (left < 0) break;
      if (slot === undefined) this.#bury(left, false);
      else this.#buryLater(left);
    }
    abi.stackReap(dead, actor);
    return true;
  }

  #buryLater(dead: number): void {
    setTimeout(() => this.#bury(dead, false), REAP_LATER_MS).unref();
  }

  /**
   * A dead stack uses no pair any more; one that nobody uses is taken down, and so is one that the dead was taking down or
   * claiming. While its slot is taken: its next stack may enter a pair.
   */
  #leavePairs(dead: number, actor: number): void {
    const { abi, pairs, extents } = this.#host;
    if (extents === undefined) return;
    const host = { abi, table: pairs, extents, slot: actor };
    for (const pair of pairs.inherit(dead, actor)) takeDown(host, pair);
    for (const pair of pairs.used()) if (pairs.leave(pair, dead, actor)) takeDown(host, pair);
  }
}

/**
 * Reaps the stacks of Workers that end, however they end: pages, table entries, listeners, claims.
 *
 * Every thread does it for the Workers it made; a thread that dies takes its own Workers along, so those are found by
 * their parent's id. Takes: own, the stack of this thread, made if there is none yet.
 */
export function reapDeadWorkers({ abi }: Arena, own: () => Pick<Reaper, "reap"> | undefined): void {
  process.on("worker", (worker: Worker) => {
    const thread = worker.threadId;
    worker.once("exit", () => {
      if (abi.stackOfThread(thread) >= 0 || abi.stackOfParent(thread) >= 0) own()?.reap(thread);
    });
  });
}
