/**
 * Extents: runs of arena blocks over which the host has mapped a memfd, shared with one peer process and nobody else.
 *
 * Owns the extent table and the arithmetic of heads. A free block of an own extent carries EXTENT_TAG | index instead of 0,
 * so that DMBs are allocated in it by the same compare-and-swaps as anywhere; the blocks under the heads belong to nobody.
 * Does not know what a memfd is: the host maps after extentTake and before anybody is told, and maps back before extentGive.
 */
import { arenaBlocks, blocksSweep, blocksTake } from "./arena";
import { EXTENT_BUSY, EXTENT_FREE, EXTENT_GIVING, EXTENT_OWN, STATUS_NO_MEMORY } from "./shared/codes";
import {
  BLOCK_SIZE,
  BLOCK_TABLE_OFFSET,
  BLOCKS_OFFSET,
  EXTENT_BASE,
  EXTENT_BLOCKS,
  EXTENT_CAPACITY,
  EXTENT_SIZE,
  EXTENT_STATE,
  EXTENT_TABLE_OFFSET,
  EXTENT_TAG,
  HEAD_SIZE,
} from "./shared/layout";

const KIND: u32 = 0xff;
const PAIR_SHIFT: u32 = 8;
const NUMBER_SHIFT: u32 = 16;

@inline
function extentOf(index: u32): usize {
  return <usize>(EXTENT_TABLE_OFFSET + index * EXTENT_SIZE);
}

/**
 * EXTENT_* kind.
 *
 * Order: SYNC POINT extent: base and length before the kind.
 */
@inline
export function extentKind(index: u32): u32 {
  return index < EXTENT_CAPACITY ? atomic.load<u32>(extentOf(index) + EXTENT_STATE) & KIND : EXTENT_FREE;
}

@inline
export function extentPair(index: u32): u32 {
  return (atomic.load<u32>(extentOf(index) + EXTENT_STATE) >> PAIR_SHIFT) & 0xff;
}

/** Its number among the extents of its side of the pair. */
@inline
export function extentNumber(index: u32): u32 {
  return atomic.load<u32>(extentOf(index) + EXTENT_STATE) >> NUMBER_SHIFT;
}

@inline
export function extentBase(index: u32): u32 {
  return load<u32>(extentOf(index) + EXTENT_BASE);
}

@inline
export function extentBlocks(index: u32): u32 {
  return load<u32>(extentOf(index) + EXTENT_BLOCKS);
}

/** Blocks at the beginning of an extent that its heads take. */
@inline
export function headBlocks(blocks: u32): u32 {
  return (blocks * HEAD_SIZE + BLOCK_SIZE - 1) / BLOCK_SIZE;
}

/** Address of the head of the DMB at `address` in extent `index`. */
@inline
export function headOf(index: u32, address: u32): usize {
  const base = extentBase(index);
  return <usize>(base + ((address - base) / BLOCK_SIZE) * HEAD_SIZE);
}

/** Whether [address, address + length) is a run of whole blocks behind the heads of an extent. */
export function extentHolds(index: u32, address: u32, length: u32): bool {
  const base = extentBase(index);
  const blocks = extentBlocks(index);
  if (address < base || ((address | length) & (BLOCK_SIZE - 1)) != 0 || length == 0) return false;
  const first = (address - base) / BLOCK_SIZE;
  return first >= headBlocks(blocks) && first < blocks && length / BLOCK_SIZE <= blocks - first;
}

/** Word of a block of extent `index` that no DMB is allocated in. */
@inline
function nobodys(index: u32): u32 {
  return EXTENT_TAG | (index + EXTENT_CAPACITY);
}

/**
 * Takes a run of `blocks` (a power of two) for a memfd.
 *
 * Takes:   kind, EXTENT_OWN, EXTENT_PEER or EXTENT_BOX; pair, index of the peer process; number of the extent on its side.
 * Returns: index, or STATUS_NO_MEMORY. No DMB is allocated in it before extentOpen.
 */
export function extentTake(blocks: u32, kind: u32, pair: u32, number: u32): i32 {
  for (let index: u32 = 0; index < EXTENT_CAPACITY; index++) {
    const extent = extentOf(index);
    // Whose it is from the first step on: a taker that is killed has left it to whoever ends the pair.
    const whose = (pair << PAIR_SHIFT) | (number << NUMBER_SHIFT);
    if (atomic.cmpxchg<u32>(extent + EXTENT_STATE, EXTENT_FREE, EXTENT_BUSY | whose) != EXTENT_FREE) continue;
    const base = blocksTake(blocks, nobodys(index));
    if (base == 0) {
      atomic.store<u32>(extent + EXTENT_STATE, EXTENT_FREE);
      return STATUS_NO_MEMORY;
    }
    store<u32>(extent + EXTENT_BASE, base);
    store<u32>(extent + EXTENT_BLOCKS, blocks);
    // SYNC POINT extent: base and length before the kind.
    atomic.store<u32>(extent + EXTENT_STATE, kind | whose);
    return <i32>index;
  }
  return STATUS_NO_MEMORY;
}

/** The memfd is mapped: lets DMBs be allocated behind the heads of an own extent. */
export function extentOpen(index: u32): void {
  if (extentKind(index) != EXTENT_OWN) return;
  const blocks = extentBlocks(index);
  const first = (extentBase(index) - BLOCKS_OFFSET) / BLOCK_SIZE;
  for (let i = headBlocks(blocks); i < blocks; i++) {
    atomic.store<u32>(BLOCK_TABLE_OFFSET + (first + i) * 4, EXTENT_TAG | index);
  }
}

/**
 * Gives all its blocks back to the arena, whoever has them. By whoever knows that nobody uses them, after mapping back.
 *
 * Also to be called where somebody was killed in the middle of this or of extentTake: it goes on from there. What was given back
 * before may be anybody's by now, so it is told by its word what was not.
 */
export function extentGive(index: u32): void {
  const kind = extentKind(index);
  if (kind == EXTENT_FREE) return;
  const extent = extentOf(index);
  const first = (extentBase(index) - BLOCKS_OFFSET) / BLOCK_SIZE;
  const blocks = extentBlocks(index);
  if (kind == EXTENT_BUSY) blocksSweep(nobodys(index), 0);
  else if (first + blocks <= arenaBlocks()) {
    const words: usize = BLOCK_TABLE_OFFSET + first * 4;
    if (kind != EXTENT_GIVING) {
      for (let i: u32 = 0; i < blocks; i++) atomic.store<u32>(words + i * 4, nobodys(index));
      atomic.store<u32>(extent + EXTENT_STATE, (atomic.load<u32>(extent + EXTENT_STATE) & ~KIND) | EXTENT_GIVING);
    }
    for (let i: u32 = 0; i < blocks; i++) atomic.cmpxchg<u32>(words + i * 4, nobodys(index), 0);
  }
  atomic.store<u32>(extent + EXTENT_STATE, EXTENT_FREE);
}
