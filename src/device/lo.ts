/**
 * The `lo` device: DMBs in the arena of this process, between its threads. What loopback-ism is to a kernel.
 *
 * CHID 0xFFFF, a 64-bit GID for the arena with the stack in its extension. Token → entry without search; attach takes the
 * one reference a peer may have. Nocopy and copy mode use it alike: copying is the connection's choice, not the device's.
 */
import type { Abi } from "../engine/abi.js";
import type { PeerStack, RegisteredDmb, SmcdDevice, SmcdPath } from "./device.js";
import { Randomness, registerLargest, sizeClassFor } from "./dmb-size.js";

/** Source: smc-protocol §5.6. */
export const LO_CHID = 0xffff;

/** A stack of this process. */
class LoPeer implements PeerStack {
  readonly remote = false;
  readonly box = 0;
  readonly #abi: Abi;
  /** Our own slot. */
  readonly #stack: number;
  readonly #slot: number;
  readonly #generation: number;
  readonly #ring: (slot: number) => void;

  constructor(abi: Abi, stack: number, slot: number, generation: number, ring: (slot: number) => void) {
    this.#abi = abi;
    this.#stack = stack;
    this.#slot = slot;
    this.#generation = generation;
    this.#ring = ring;
  }

  get gone(): boolean {
    return this.#generation === 0 || this.#abi.stackGeneration(this.#slot) !== this.#generation;
  }

  isOf(slot: number, generation: number): boolean {
    return slot === this.#slot && generation === this.#generation;
  }

  ring(): void {
    this.#ring(this.#slot);
  }

  wait(conn: number, timeoutMs: number, wanted: number): number {
    const timeoutNs = timeoutMs === Number.POSITIVE_INFINITY ? -1 : timeoutMs * 1e6;
    return this.#abi.connWait(this.#stack, conn, timeoutNs, wanted);
  }

  detached(): void {
    // Owner and attacher share one table entry: whoever lets go last frees.
  }

  hold(_change: 1 | -1): void {
    // The arena is there for as long as the process is.
  }
}

export class LoDevice implements SmcdDevice, SmcdPath {
  readonly name = "lo";
  readonly chid = LO_CHID;
  readonly v1 = true;
  readonly full = false;
  readonly gid: bigint;
  readonly gidExt: bigint;
  readonly #abi: Abi;
  readonly #stack: number;
  readonly #ring: (slot: number) => void;
  readonly #random = new Randomness();
  readonly #peers: LoPeer[] = [];

  /** Takes: gid, the arena's; stack, slot and generation of this stack in it; ring, rings the bell of a slot. */
  constructor(abi: Abi, gid: bigint, stack: number, generation: number, ring: (slot: number) => void) {
    this.#abi = abi;
    this.#stack = stack;
    this.#ring = ring;
    this.gid = gid;
    this.gidExt = (BigInt(generation) << 8n) | BigInt(stack);
  }

  toward(gid: bigint, gidExt: bigint | undefined): SmcdPath | undefined {
    if (gid !== this.gid) return undefined;
    const alive = gidExt === undefined || BigInt(this.#abi.stackGeneration(Number(gidExt & 0xffn))) === gidExt >> 8n;
    return alive ? this : undefined;
  }

  register(slot: number, bytes: number): RegisteredDmb | undefined {
    return registerLargest(this.#abi, sizeClassFor(bytes), (sizeClass) =>
      this.#abi.dmbRegister(this.#stack, sizeClass, slot, this.#random.word(), this.#random.word()),
    );
  }

  attach(token: bigint): number | undefined {
    const index = this.#abi.dmbAttach(this.#stack, Number(token & 0xffffffffn), Number(token >> 32n));
    return index < 0 ? undefined : index;
  }

  peerOf(dmb: number): PeerStack {
    const slot = this.#abi.dmbOwner(dmb);
    const generation = this.#abi.stackGeneration(slot);
    const known = this.#peers[slot];
    if (known?.isOf(slot, generation)) return known;
    const peer = new LoPeer(this.#abi, this.#stack, slot, generation, this.#ring);
    this.#peers[slot] = peer;
    return peer;
  }

  hold(_change: 1 | -1): void {
    // The arena is there for as long as the process is.
  }
}
