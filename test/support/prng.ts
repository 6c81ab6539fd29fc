/**
 * Seeded random numbers for the tests: the same seed gives the same run, in every thread and process of it.
 *
 * Owns the seed of the run and the generator. Knows nothing of what the numbers are used for. Not for secrets.
 * The seed is taken from SMC_TEST_SEED, else drawn once, and is handed down to Workers and children by the environment.
 */
import { isMainThread } from "node:worker_threads";

function seedOfRun(): number {
  const given = process.env["SMC_TEST_SEED"];
  if (given !== undefined) {
    const seed = Number(given);
    if (!Number.isInteger(seed) || seed < 0 || seed > 0xffffffff)
      throw new RangeError(`SMC_TEST_SEED = ${given}: allowed is an integer from 0 to 4294967295`);
    return seed;
  }
  const drawn = Math.floor(Math.random() * 0x1_0000_0000);
  process.env["SMC_TEST_SEED"] = String(drawn);
  if (isMainThread) process.stdout.write(`replay with SMC_TEST_SEED=${drawn}\n`);
  return drawn;
}

/** Seed of this run, u32. */
export const RUN_SEED = seedOfRun();

/** Generator with 32 bits of state (a Weyl sequence through a finaliser): period 2^32, fast, equal on every platform. */
export class Prng {
  #state: number;

  /** Takes: seed, u32. */
  constructor(readonly seed: number) {
    this.#state = seed >>> 0;
  }

  /** Next u32. */
  u32(): number {
    this.#state = (this.#state + 0x9e3779b9) >>> 0;
    let z = this.#state;
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
    return (z ^ (z >>> 16)) >>> 0;
  }

  /** Integer from 0 to `limit` - 1. */
  below(limit: number): number {
    return Math.floor((this.u32() / 0x1_0000_0000) * limit);
  }

  /** Integer from `least` to `most`, both possible. */
  between(least: number, most: number): number {
    return least + this.below(most - least + 1);
  }

  /** One item of a list that is not empty. */
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }

  /** True once in `n` draws on average. */
  oneIn(n: number): boolean {
    return this.below(n) === 0;
  }

  /** Fill `target` with random bytes and return it. */
  fill(target: Uint8Array): Uint8Array {
    for (let i = 0; i < target.length; i += 4) {
      const word = this.u32();
      target[i] = word;
      if (i + 1 < target.length) target[i + 1] = word >>> 8;
      if (i + 2 < target.length) target[i + 2] = word >>> 16;
      if (i + 3 < target.length) target[i + 3] = word >>> 24;
    }
    return target;
  }
}

/** The generator that belongs to `name` in this run: independent of which other tests ran before. */
export function prngFor(name: string): Prng {
  let hash = RUN_SEED ^ 0x811c9dc5;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  return new Prng(hash >>> 0);
}
