/**
 * The entries of the DMB table: their state word, and taking and freeing them.
 *
 * Owns the layout of that word, which is drawn in README.md, and the high-water mark. Every step on an entry is one
 * compare-and-swap of the word. Knows no blocks and no heads: what an entry holds is dmb.ts's.
 */
import { DMB_BUSY, DMB_HELD } from "./shared/codes";
import {
  ARENA_DMBS_OFFSET,
  DMB_CAPACITY,
  DMB_ENTRY_SIZE,
  DMB_LENGTH,
  DMB_SLOT,
  DMB_STATE,
  DMB_TABLE_OFFSET,
  DMB_TOKEN,
  DMB_TOUCHED,
  DMB_ZONE,
} from "./shared/layout";

const FLAGS: u32 = 0xf;
const OWNER_SHIFT: u32 = 4;
const ATTACHER_SHIFT: u32 = 11;
const STACK_BITS: u32 = 0x7f;
const GENERATION_SHIFT: u32 = 18;

/** Where this thread looks first for a free entry; only a hint. */
let nextEntry: u32 = 0;

@inline
export function entryOf(index: u32): usize {
  return <usize>(DMB_TABLE_OFFSET + index * DMB_ENTRY_SIZE);
}

/** Loads the state word of an entry. */
@inline
export function loadState(index: u32): u32 {
  return atomic.load<u32>(entryOf(index) + DMB_STATE);
}

/** Moves an entry from one state to the next; false when somebody was faster. */
@inline
export function swapState(index: u32, from: u32, to: u32): bool {
  return atomic.cmpxchg<u32>(entryOf(index) + DMB_STATE, from, to) == from;
}

@inline
export function stateOf(generation: u32, attacher: u32, owner: u32, flags: u32): u32 {
  return (generation << GENERATION_SHIFT) | (attacher << ATTACHER_SHIFT) | (owner << OWNER_SHIFT) | flags;
}

@inline
export function generationOf(state: u32): u32 {
  return state >> GENERATION_SHIFT;
}

@inline
export function attacherOf(state: u32): u32 {
  return (state >> ATTACHER_SHIFT) & STACK_BITS;
}

@inline
export function ownerOf(state: u32): u32 {
  return (state >> OWNER_SHIFT) & STACK_BITS;
}

@inline
export function flagsOf(state: u32): u32 {
  return state & FLAGS;
}

/** Entries that may be in use: the first so many. */
export function entriesUsed(): u32 {
  return min(atomic.load<u32>(ARENA_DMBS_OFFSET), DMB_CAPACITY);
}

function raiseHighWater(count: u32): void {
  let seen = atomic.load<u32>(ARENA_DMBS_OFFSET);
  while (seen < count) {
    const before = atomic.cmpxchg<u32>(ARENA_DMBS_OFFSET, seen, count);
    if (before == seen) return;
    seen = before;
  }
}

/** Takes a free entry for `owner`: its index, with the state BUSY of a new generation; or -1 when the table is full. */
export function takeEntry(owner: u32): i32 {
  for (let tries: u32 = 0; tries < DMB_CAPACITY; tries++) {
    if (nextEntry >= DMB_CAPACITY) nextEntry = 0;
    const index = nextEntry++;
    const state = loadState(index);
    if (flagsOf(state) != 0) continue;
    // Before the entry is taken: the reaper looks no further than this.
    raiseHighWater(index + 1);
    if (swapState(index, state, stateOf(generationOf(state) + 1, 0, owner, DMB_BUSY))) return <i32>index;
  }
  return -1;
}

/** Frees an entry that is BUSY for the caller, or was for a dead thread. */
export function freeEntry(index: u32): void {
  const entry = entryOf(index);
  store<u32>(entry + DMB_ZONE, 0);
  atomic.store<u32>(entry + DMB_STATE, stateOf(generationOf(loadState(index)), 0, 0, 0));
  if (index < nextEntry) nextEntry = index;
}

@inline
export function tokenOf(index: u32): u64 {
  return load<u64>(entryOf(index) + DMB_TOKEN);
}

@inline
export function dmbTokenLo(index: u32): u32 {
  return load<u32>(entryOf(index) + DMB_TOKEN);
}

@inline
export function dmbTokenHi(index: u32): u32 {
  return load<u32>(entryOf(index) + DMB_TOKEN + 4);
}

/** Extent that the ring of an entry lies in, or -1 for blocks of this arena. */
@inline
export function dmbZone(index: u32): i32 {
  return <i32>load<u32>(entryOf(index) + DMB_ZONE) - 1;
}

/** Length of the buffer, bytes, CDC area included. */
export function dmbLength(index: u32): u32 {
  return load<u32>(entryOf(index) + DMB_LENGTH);
}

/** Stack slot of the owner, in the owner's process; may be stale once the owner has unregistered. */
export function dmbOwner(index: u32): u32 {
  return ownerOf(loadState(index));
}

/** The owner's connection slot, as the owner wrote it: check it before use. */
export function dmbSlot(index: u32): u32 {
  return load<u32>(entryOf(index) + DMB_SLOT);
}

/** Says that no peer will ever attach the buffer: it is a private send ring. */
export function dmbPrivate(index: u32): void {
  atomic.or<u32>(entryOf(index) + DMB_STATE, DMB_HELD);
}

/** Notes that ring bytes below `extent` may be non-zero: what has to be cleared in the end. By the ring's only writer. */
export function dmbTouch(index: u32, extent: u32): void {
  const entry = entryOf(index);
  if (extent > load<u32>(entry + DMB_TOUCHED)) store<u32>(entry + DMB_TOUCHED, extent);
}
