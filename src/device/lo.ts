/**
 * The `lo` device: DMBs in the arena of this process, between its threads. What loopback-ism is to a kernel.
 *
 * CHID 0xFFFF, a 64-bit GID for the arena with the stack in its extension. Token → entry without search; attach takes the
 * one reference a peer may have. Nocopy and copy mode use it alike: copying is the connection's choice, not the device's.
 */
import { randomFillSync } from "node:crypto";
import type { Abi } from "../engine/abi.js";
import type { RegisteredDmb, SmcdDevice } from "./device.js";

/** Source: smc-protocol §5.6. */
export const LO_CHID = 0xffff;
const SMALLEST_DMB = 16384;
const LARGEST_CLASS = 6;

/** n for a DMB of at least `bytes`: 2^(14+n), at most 1 MiB. Source: smc-protocol §5.1. */
export function sizeClassFor(bytes: number): number {
  let sizeClass = 0;
  while (SMALLEST_DMB << sizeClass < bytes && sizeClass < LARGEST_CLASS) sizeClass++;
  return sizeClass;
}

/** Random words for tokens, drawn in bulk. */
class Randomness {
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

export class LoDevice implements SmcdDevice {
  readonly name = "lo";
  readonly chid = LO_CHID;
  readonly gid: bigint;
  readonly gidExt: bigint;
  readonly #abi: Abi;
  readonly #stack: number;
  readonly #random = new Randomness();

  /** Takes: gid, the arena's; stack, slot and generation of this stack in it. */
  constructor(abi: Abi, gid: bigint, stack: number, generation: number) {
    this.#abi = abi;
    this.#stack = stack;
    this.gid = gid;
    this.gidExt = (BigInt(generation) << 8n) | BigInt(stack);
  }

  reaches(gid: bigint, gidExt: bigint | undefined): boolean {
    if (gid !== this.gid) return false;
    if (gidExt === undefined) return true;
    return BigInt(this.#abi.stackGeneration(Number(gidExt & 0xffn))) === gidExt >> 8n;
  }

  register(slot: number, bytes: number): RegisteredDmb | undefined {
    for (let sizeClass = sizeClassFor(bytes); sizeClass >= 0; sizeClass--) {
      const index = this.#abi.dmbRegister(this.#stack, sizeClass, slot, this.#random.word(), this.#random.word());
      if (index < 0) continue;
      const token = (BigInt(this.#abi.dmbTokenHi(index) >>> 0) << 32n) | BigInt(this.#abi.dmbTokenLo(index) >>> 0);
      return { index, token, sizeClass };
    }
    return undefined;
  }

  unregister(index: number): void {
    this.#abi.dmbUnregister(this.#stack, index);
  }

  attach(token: bigint): number | undefined {
    const index = this.#abi.dmbAttach(this.#stack, Number(token & 0xffffffffn), Number(token >> 32n));
    return index < 0 ? undefined : index;
  }

  detach(index: number): void {
    this.#abi.dmbDetach(this.#stack, index);
  }
}
