/**
 * Extents for tests of the bare data plane: own ones to allocate in, and a peer's, whose heads are written by hand.
 *
 * Two arenas cannot share memory here, so the other process is played by whoever writes the words it would write. Owns the
 * arithmetic of heads as a peer does it, apart from the code under test; what must hold is said in the tests.
 */
import * as assert from "uvu/assert";
import { EXTENT_OWN, EXTENT_PEER, HEAD_REGISTERED, HEAD_STATE } from "../../assembly/shared/codes.js";
import {
  BLOCK_SIZE,
  BLOCK_TABLE_OFFSET,
  BLOCKS_OFFSET,
  EXTENT_TAG,
  HEAD_LENGTH,
  HEAD_LINK,
  HEAD_SIZE,
  HEAD_SLOT,
  HEAD_STACK,
  HEAD_TOKEN,
} from "../../assembly/shared/layout.js";
import type { Abi } from "../../src/engine/abi.js";
import type { Rig } from "./rig.js";

/** HEAD_LINK in this state, for the registration with this token: bits of it stand above the state. */
export const linkOf = (state: number, token: bigint): number =>
  ((Number(token >> 32n) & ~HEAD_STATE) | (state & HEAD_STATE)) >>> 0;

/** What an own DMB, or one that a peer offers, says of itself. */
export interface Offer {
  readonly link?: number;
  readonly token?: bigint;
  readonly length?: number;
  readonly slot?: number;
  readonly stack?: number;
}

export class Extent {
  readonly index: number;
  readonly base: number;
  #random = 1;

  constructor(
    readonly rig: Rig,
    readonly kind: number,
    readonly blocks: number,
    readonly pair = 0,
    readonly number = 0,
  ) {
    this.index = rig.abi.extentTake(blocks, kind, pair, number);
    assert.ok(this.index >= 0, `room for an extent of ${blocks} blocks`);
    this.base = rig.abi.extentBase(this.index) >>> 0;
    rig.abi.extentOpen(this.index);
  }

  /** Argument `zone` of dmbRegister. */
  get zone(): number {
    return this.index + 1;
  }

  /** Address after its last byte. */
  get end(): number {
    return this.base + this.blocks * BLOCK_SIZE;
  }

  /** Address of the head of the DMB that begins with block `block`. */
  head(block: number): number {
    return this.base + block * HEAD_SIZE;
  }

  /** Block of the extent in which an own DMB begins. */
  blockOf(dmb: number): number {
    return (this.rig.base(dmb) - this.base) / BLOCK_SIZE;
  }

  /** HEAD_* state of a head. */
  link(block: number): number {
    return this.rig.u32(this.head(block) + HEAD_LINK) & HEAD_STATE;
  }

  /** Moves a head to another state of the same registration, as whoever attached it does. */
  setLink(block: number, state: number): void {
    const token = this.rig.u64(this.head(block) + HEAD_TOKEN);
    this.rig.setU32(this.head(block) + HEAD_LINK, linkOf(state, token));
  }

  /** Blocks in which a DMB could be allocated now. */
  free(): number {
    const first = (this.base - BLOCKS_OFFSET) / BLOCK_SIZE;
    let free = 0;
    for (let i = 0; i < this.blocks; i++)
      if (this.rig.u32(BLOCK_TABLE_OFFSET + (first + i) * 4) === EXTENT_TAG + this.index) free++;
    return free;
  }

  /** Registers an own DMB in it; its index, or a status. */
  register(owner: number, sizeClass = 0, connSlot = 0, abi: Abi = this.rig.abi): number {
    return abi.dmbRegister(owner, sizeClass, connSlot, 0x5eed, this.#random++ << 3, this.zone);
  }

  /** Writes the head of block `block` as the peer's process does for a DMB of `length` bytes; its token. */
  offer(
    block: number,
    { link = HEAD_REGISTERED, token, length = BLOCK_SIZE, slot = 0, stack = 0 }: Offer = {},
  ): bigint {
    const head = this.head(block);
    const given = token ?? (BigInt(this.#random++) << 35n) | BigInt((this.number << 10) | block);
    this.rig.setU32(head + HEAD_SLOT, slot);
    this.rig.setU64(head + HEAD_TOKEN, given);
    this.rig.setU32(head + HEAD_STACK, stack);
    this.rig.setU32(head + HEAD_LENGTH, length);
    this.rig.setU32(head + HEAD_LINK, linkOf(link, given));
    return given;
  }

  /** Attaches the peer's DMB with this token; our entry's index, or a status. */
  attach(stack: number, token: bigint, abi: Abi = this.rig.abi): number {
    return abi.dmbAttachPeer(stack, this.index, Number(token & 0xffff_ffffn), Number(token >> 32n));
  }
}

export const ownExtent = (rig: Rig, blocks: number, pair = 0, number = 0): Extent =>
  new Extent(rig, EXTENT_OWN, blocks, pair, number);

export const peerExtent = (rig: Rig, blocks: number, pair = 0, number = 0): Extent =>
  new Extent(rig, EXTENT_PEER, blocks, pair, number);
