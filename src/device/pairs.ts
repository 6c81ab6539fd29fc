/**
 * The pairs that a stack has entered, and entering them: its own gifts to a peer process, and those that it is given.
 *
 * Owns which pairs there are and when one is left. Trust in the memory of a peer begins in `admit`: every descriptor is checked
 * before it is mapped or kept. Does not know how a frame comes or goes, nor whom to meet.
 */
import { randomFillSync } from "node:crypto";
import { EXTENT_BOX } from "../../assembly/shared/codes.js";
import { BOX_BLOCKS } from "../../assembly/shared/layout.js";
import { closeDescriptor } from "../host/libc.js";
import { duplicate, isUnixStream } from "../host/unix-socket.js";
import { type AnswerFrame, type ContactFrame, REFUSAL } from "../wire/contact.js";
import { type Door, Pair, type PairHost } from "./pair.js";

export interface PairsHost extends Omit<PairHost, "idle"> {
  /** After so long without a connection a pair is left, ms. */
  readonly idleMs: number;
  /** A peer process has gone, perhaps killed: what it left behind may be cleared away. */
  lost(): void;
}

/** A thread that ends closes its handles one by one: who lost a connection looks for other signs of it once more, ms later. */
const LOOK_AGAIN_MS = 500;

/** What a peer process needs of a stack: the write end of its bell, and the memfd of its box. */
export interface Gift {
  readonly bell: number;
  readonly box: number;
}

/** A pair that this stack is in. */
export interface Entered {
  readonly pair: Pair;
  /** It is new, and the peer process has not entered it yet. */
  readonly first: boolean;
  /** What the peer process needs to have of this stack, unless it has it already. */
  readonly gift: Gift | undefined;
}

/** A contact that comes to nothing, for a reason that the other side is told. */
export class Refusal extends Error {
  /** One of REFUSAL. */
  readonly code: number;
  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

const randomNonce = (): bigint => randomFillSync(new BigUint64Array(1))[0]!;

export class Pairs {
  readonly #host: PairsHost & PairHost;
  readonly #pairs = new Map<number, Pair>();
  #tidying: NodeJS.Timeout | undefined;

  constructor(host: PairsHost) {
    this.#host = { ...host, idle: () => this.#tidyLater(0, LOOK_AGAIN_MS) };
  }

  /** Those that new connections may go over. */
  *[Symbol.iterator](): Iterator<Pair> {
    for (const pair of this.#pairs.values()) if (!pair.closed) yield pair;
  }

  /** Every stack of other processes that we have met, or that has met a stack of this process. */
  *doors(): Iterable<Door> {
    for (const pair of this) yield* pair.doors();
  }

  /** The stack with this identity, if it was met and can see what we announce. */
  find(gid: bigint, slot: number, generation: number): Door | undefined {
    for (const pair of this.#pairs.values()) {
      const door = pair.gid === gid && pair.acknowledged ? pair.door(slot, generation) : undefined;
      if (door !== undefined) return door;
    }
    return undefined;
  }

  /** A stack that was met, in every pair: there are several where both processes made first contact at the same time. */
  findAll(gid: bigint, slot: number, generation: number): Door[] {
    const doors: Door[] = [];
    for (const pair of this.#pairs.values()) {
      const door = pair.gid === gid ? pair.door(slot, generation) : undefined;
      if (door !== undefined) doors.push(door);
    }
    return doors;
  }

  /**
   * Sees to it that this stack has entered a pair with the process `gid`: one it is in, one of another thread, a new one.
   *
   * Takes:   nonce, which of several, as the peer says; undefined for any, or a new one.
   * Returns: undefined where there is none like that, or no room for one.
   */
  enter(gid: bigint, nonce: bigint | undefined, first = nonce === undefined): Entered | undefined {
    const { table, slot } = this.#host;
    for (const pair of this) {
      const same = pair.gid === gid && (nonce === undefined || table.nonce(pair.index) === nonce);
      if (same && table.phase(pair.index) === "live") return { pair, first: false, gift: undefined };
    }
    const known = nonce !== undefined && first ? undefined : table.findLive(gid, nonce);
    if (known !== undefined) table.enter(known, slot);
    else if (!first) return undefined;
    const index = known ?? table.claim(gid, nonce ?? randomNonce(), slot);
    if (index === undefined) return undefined;
    const pair = new Pair(this.#host, index);
    // Whoever takes a pair down looks for users once more after it has said that it is dead.
    const gift = pair.gid === gid && table.phase(index) !== "dead" ? pair.open() : undefined;
    if (gift === undefined) {
      pair.leave();
      return undefined;
    }
    this.#pairs.set(index, pair);
    this.#tidyLater(this.#host.idleMs);
    return { pair, first: known === undefined, gift };
  }

  /** Enters a stack of the peer process in the table, by its gifts. Checks both before it maps one. */
  admit(pair: Pair, { slot, generation, gifts }: ContactFrame | AnswerFrame, descriptors: readonly number[]): void {
    const { table, libc, extents } = this.#host;
    if (!gifts) {
      if (table.door(pair.index, slot)?.generation !== generation) throw new Refusal(REFUSAL.unknownStack, "no bell");
      return;
    }
    const [bell, box] = descriptors;
    if (bell === undefined || box === undefined || descriptors.length !== 2)
      throw new Refusal(REFUSAL.notAllowed, `${descriptors.length} descriptors`);
    if (!isUnixStream(bell)) throw new Refusal(REFUSAL.notAllowed, "its bell is none");
    if (!pair.lock()) throw new Refusal(REFUSAL.noRoom, "another thread is busy with this peer");
    try {
      const before = table.door(pair.index, slot);
      if (before !== undefined) {
        // Its box stays. A bell takes over the number of the one before it: who still rings that wakes nobody wrong.
        if (!libc.replaceDescriptor(bell, before.bell)) throw new Refusal(REFUSAL.noRoom, "its bell cannot be kept");
        table.setDoor(pair.index, slot, { ...before, generation });
        return;
      }
      const kept = duplicate(bell);
      const extent = extents.adopt(box, BOX_BLOCKS, { kind: EXTENT_BOX, pair: pair.index, number: slot });
      if (typeof extent === "string") {
        closeDescriptor(kept);
        throw new Refusal(REFUSAL.notAllowed, `its box: ${extent}`);
      }
      table.setDoor(pair.index, slot, { extent, generation, bell: kept });
    } finally {
      pair.unlock();
    }
  }

  /** The peer may not have got our gifts: leaves the pair, so that the next contact brings them again. */
  withdraw(pair: Pair): void {
    if (pair.busy) return;
    this.#pairs.delete(pair.index);
    pair.leave();
  }

  /** Not from inside a caller, and once for many. */
  #tidyLater(delayMs: number, nextMs = this.#host.idleMs): void {
    clearTimeout(this.#tidying);
    this.#tidying = setTimeout(() => this.#tidy(nextMs), delayMs);
    this.#tidying.unref();
  }

  /** Leaves pairs whose process is gone or that nobody has used for long, where they hold no connection of ours. */
  #tidy(nextMs: number): void {
    const { idleMs } = this.#host;
    for (const [index, pair] of this.#pairs) {
      const idle = Date.now() - pair.idleSince >= idleMs;
      if (!pair.busy && !pair.gone) pair.look();
      // First: who waits for the dead keeps the pair busy.
      if (pair.gone) this.#host.lost();
      if (pair.busy || !(pair.closed || idle)) continue;
      this.#pairs.delete(index);
      pair.leave();
    }
    if (this.#pairs.size > 0) this.#tidyLater(Math.min(nextMs, idleMs));
  }
}
