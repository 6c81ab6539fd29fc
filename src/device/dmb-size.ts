/**
 * Sizes and tokens of DMBs: what both devices draw them from.
 */
import { randomFillSync } from "node:crypto";

export const SMALLEST_DMB = 16384;
const LARGEST_CLASS = 6;

/** n for a DMB of at least `bytes`: 2^(14+n), at most 1 MiB. Source: smc-protocol §5.1. */
export function sizeClassFor(bytes: number): number {
  let sizeClass = 0;
  while (SMALLEST_DMB << sizeClass < bytes && sizeClass < LARGEST_CLASS) sizeClass++;
  return sizeClass;
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
