/**
 * Sizes and tokens of DMBs: what both devices draw them from.
 */
import { randomFillSync } from "node:crypto";
import type { Abi } from "../engine/abi.js";
import type { RegisteredDmb } from "./device.js";

export const SMALLEST_DMB = 16384;
const LARGEST_CLASS = 6;

/** n for a DMB of at least `bytes`: 2^(14+n), at most 1 MiB. Source: smc-protocol §5.1. */
export function sizeClassFor(bytes: number): number {
  let sizeClass = 0;
  while (SMALLEST_DMB << sizeClass < bytes && sizeClass < LARGEST_CLASS) sizeClass++;
  return sizeClass;
}

/**
 * The first DMB to be had: of the wanted size class, else of the next smaller one, and so on.
 *
 * Takes: register, which allocates one of 16 KiB << sizeClass; index of its entry, or a negative status.
 */
export function registerLargest(
  abi: Abi,
  wanted: number,
  register: (sizeClass: number) => number,
): RegisteredDmb | undefined {
  for (let sizeClass = wanted; sizeClass >= 0; sizeClass--) {
    const index = register(sizeClass);
    if (index < 0) continue;
    const token = (BigInt(abi.dmbTokenHi(index) >>> 0) << 32n) | BigInt(abi.dmbTokenLo(index) >>> 0);
    return { index, token, sizeClass };
  }
  return undefined;
}

/** Random words for tokens, drawn in bulk. */
export class Randomness {
  readonly #words = new Uint32Array(256);
  #next = this.#words.length;

  word(): number {
    if (this.#next === this.#words.length) {
      randomFillSync(this.#words);
      this.#next = 0;
    }
    return this.#words[this.#next++]!;
  }
}
