/**
 * What a ring scenario is: two sides written once as generators, run by turns in one thread or in two Workers.
 *
 * Owns the shape of a scenario and the baton that passes the turn. Knows nothing of what the sides do. `yield` hands the turn to the
 * other side and goes on when that one yields or ends, so what a side sees does not depend on time; a side that never yields is a plain
 * function. A scenario marked `free` is not played by turns: its sides run at once and block in `ring.wait`; it needs two Workers.
 */
import { CDC_SIZE } from "../../assembly/shared/layout.js";
import type { Ring, RingOptions } from "../../src/ring/index.js";
import { type Prng, prngFor } from "../support/prng.js";
import { Sequence, Verifier } from "../support/sequence.js";
import { WATCHDOG_MS } from "../support/watchdog.js";

const BUFFER = 65_536;
/** Sizes of the buffers of every connection here: the scenarios count bytes up to the last one. */
export const SIZES = { rmem: BUFFER, wmem: BUFFER };
/** Bytes of one ring of that size. */
export const RING = BUFFER - CDC_SIZE;

export type Mode = "nocopy" | "copy";
export type Role = "client" | "server";
/** What a side saw: plain values. */
export type Seen = Record<string, unknown>;

export interface SideTools {
  readonly ring: Ring;
  readonly mode: Mode;
  /** Whether this thread has FFI. */
  readonly ffi: boolean;
  /** Says that this side is where it is to be killed; in a scenario of deaths only. */
  ready(): void;
  /** The same numbers, the same stream at both sides for the same label. */
  prng(label: string): Prng;
  sequence(label: string): Sequence;
  verifier(label: string): Verifier;
}
type Steps = Generator<void, Seen, void>;
export type Side = (tools: SideTools) => Steps | Seen;

export interface RingScenario {
  readonly name: string;
  readonly free?: boolean;
  readonly ring?: RingOptions;
  readonly client: Side;
  readonly server: Side;
  /** Checks what both saw, beyond what the sides themselves assert. */
  readonly check?: (client: Seen, server: Seen, mode: Mode) => void;
}

export function toolsFor(ring: Ring, mode: Mode, ffi: boolean, scenario: string, ready = (): void => {}): SideTools {
  const prng = (label: string) => prngFor(`${scenario} ${label}`);
  return {
    ring,
    mode,
    ffi,
    ready,
    prng,
    sequence: (label) => new Sequence(prng(label).seed),
    verifier: (label) => new Verifier(prng(label).seed),
  };
}

/** A side as steps; it begins with the first of them. */
export function* stepsOf(side: Side, tools: SideTools): Steps {
  const result = side(tools);
  return typeof result["next"] === "function" ? yield* result as Steps : (result as Seen);
}

/** Both sides in this thread. */
export function playHere(scenario: RingScenario, client: SideTools, server: SideTools): { client: Seen; server: Seen } {
  const sides = { client: stepsOf(scenario.client, client), server: stepsOf(scenario.server, server) };
  const seen: { client?: Seen; server?: Seen } = {};
  for (let role: Role = "client"; seen.client === undefined || seen.server === undefined; ) {
    if (seen[role] === undefined) {
      const step = sides[role].next();
      if (step.done === true) seen[role] = step.value;
    }
    role = role === "client" ? "server" : "client";
  }
  return { client: seen.client, server: seen.server };
}

/** Words of the baton: whose turn it is, who has ended, and whether the one to be killed is where it is to be killed. */
const TURN = 0;
const CLIENT = 1;
const SERVER = 2;
export const READY = 3;
export const BATON_BYTES = 16;

/** One side of the baton, in its own thread. */
export class Baton {
  readonly #words: Int32Array;
  readonly #own: number;
  readonly #other: number;

  /** Takes: free, for a side that plays without turns. */
  constructor(
    words: Int32Array,
    role: Role,
    readonly free = false,
  ) {
    this.#words = words;
    this.#own = role === "client" ? 0 : 1;
    this.#other = 1 - this.#own;
  }

  #await(): void {
    if (this.free) return;
    const deadline = performance.now() + WATCHDOG_MS;
    while (Atomics.load(this.#words, TURN) !== this.#own) {
      if (performance.now() > deadline) throw new Error("the other side kept the turn");
      Atomics.wait(this.#words, TURN, this.#other, WATCHDOG_MS);
    }
  }

  #pass(): void {
    if (Atomics.load(this.#words, this.#own === 0 ? SERVER : CLIENT) === 1) return;
    Atomics.store(this.#words, TURN, this.#other);
    Atomics.notify(this.#words, TURN);
  }

  /** This side from its first turn to its end; the other one goes on alone after it. */
  play(side: Steps): Seen {
    try {
      for (;;) {
        this.#await();
        const step = side.next();
        if (step.done === true) return step.value;
        this.#pass();
      }
    } finally {
      Atomics.store(this.#words, this.#own === 0 ? CLIENT : SERVER, 1);
      Atomics.store(this.#words, TURN, this.#other);
      Atomics.notify(this.#words, TURN);
    }
  }
}
