/**
 * The DMB table: register, attach, detach, unregister.
 *
 * Owns the entries. A state word names owner, attacher and generation together with the flags, so every step is one
 * compare-and-swap and a killed thread leaves nothing that cannot be found and finished by the reaper. The owner may go
 * first: the buffer stays until the attacher has let go as well, so no late write can reach somebody else's connection.
 *
 *   free ──register──▶ BUSY ──▶ REGISTERED ──attach──▶ REGISTERED|ATTACHED
 *                                   │                     │            │
 *                               unregister            unregister     detach
 *                                   ▼                     ▼            ▼
 *   free ◀── zero, give back ──── BUSY ◀────detach──── ATTACHED    REGISTERED
 */
import { blocksGive, blocksHold, blocksSweep, blocksTake } from "./arena";
import { DMB_ATTACHED, DMB_BUSY, DMB_HELD, DMB_REGISTERED, STATUS_BUSY, STATUS_NO_MEMORY, STATUS_OK, STATUS_UNKNOWN } from "./shared/codes";
import {
  ARENA_DMBS_OFFSET,
  BLOCK_SIZE,
  CDC_SIZE,
  DMB_BASE,
  DMB_CAPACITY,
  DMB_CDC,
  DMB_ENTRY_SIZE,
  DMB_LENGTH,
  DMB_SLOT,
  DMB_STATE,
  DMB_TABLE_OFFSET,
  DMB_TOKEN,
  DMB_TOUCHED,
} from "./shared/layout";

const FLAGS: u32 = 0xf;
const OWNER_SHIFT: u32 = 4;
const ATTACHER_SHIFT: u32 = 11;
const STACK_BITS: u32 = 0x7f;
const GENERATION_SHIFT: u32 = 18;

/** Where this thread looks first for a free entry; only a hint. */
let nextEntry: u32 = 0;

@inline
function entryOf(index: u32): usize {
  return <usize>(DMB_TABLE_OFFSET + index * DMB_ENTRY_SIZE);
}

@inline
function stateOf(generation: u32, attacher: u32, owner: u32, flags: u32): u32 {
  return (generation << GENERATION_SHIFT) | (attacher << ATTACHER_SHIFT) | (owner << OWNER_SHIFT) | flags;
}

@inline
function ownerOf(state: u32): u32 {
  return (state >> OWNER_SHIFT) & STACK_BITS;
}

@inline
function attacherOf(state: u32): u32 {
  return (state >> ATTACHER_SHIFT) & STACK_BITS;
}

function raiseHighWater(count: u32): void {
  let seen = atomic.load<u32>(ARENA_DMBS_OFFSET);
  while (seen < count) {
    const before = atomic.cmpxchg<u32>(ARENA_DMBS_OFFSET, seen, count);
    if (before == seen) return;
    seen = before;
  }
}

/**
 * Allocates and exposes a buffer of 16 KiB << sizeClass; zero-filled.
 *
 * Takes:   owner, stack slot; sizeClass 0..6; connSlot the peer will post to; 64 random bits for the token.
 * Returns: index of the entry, or STATUS_NO_MEMORY.
 */
export function dmbRegister(owner: u32, sizeClass: u32, connSlot: u32, randomLo: u32, randomHi: u32): i32 {
  for (let tries: u32 = 0; tries < DMB_CAPACITY; tries++) {
    if (nextEntry >= DMB_CAPACITY) nextEntry = 0;
    const index = nextEntry++;
    const entry = entryOf(index);
    const state = atomic.load<u32>(entry + DMB_STATE);
    if ((state & FLAGS) != 0) continue;
    // Before the entry is taken: the reaper looks no further than this.
    raiseHighWater(index + 1);
    const generation = (state >> GENERATION_SHIFT) + 1;
    const busy = stateOf(generation, 0, owner, DMB_BUSY);
    if (atomic.cmpxchg<u32>(entry + DMB_STATE, state, busy) != state) continue;
    const length = BLOCK_SIZE << sizeClass;
    const base = blocksTake(<u32>1 << sizeClass, index + 1);
    if (base == 0) {
      atomic.store<u32>(entry + DMB_STATE, stateOf(generation, 0, 0, 0));
      nextEntry = index;
      return STATUS_NO_MEMORY;
    }
    store<u32>(entry + DMB_BASE, base);
    store<u32>(entry + DMB_LENGTH, length);
    store<u32>(entry + DMB_SLOT, connSlot);
    store<u32>(entry + DMB_TOUCHED, 0);
    memory.fill(entry + DMB_CDC, 0, CDC_SIZE);
    // The token carries its index, so that attach needs no search; the other bits are random and checked whole.
    store<u64>(entry + DMB_TOKEN, (<u64>randomHi << 32) | <u64>((randomLo << 15) | index));
    // SYNC POINT dmb-register: the entry's fields before its state.
    atomic.store<u32>(entry + DMB_STATE, stateOf(generation, 0, owner, DMB_REGISTERED));
    return <i32>index;
  }
  return STATUS_NO_MEMORY;
}

@inline
export function dmbTokenLo(index: u32): u32 {
  return load<u32>(entryOf(index) + DMB_TOKEN);
}

@inline
export function dmbTokenHi(index: u32): u32 {
  return load<u32>(entryOf(index) + DMB_TOKEN + 4);
}

/** Length of the buffer, bytes, CDC area included. */
export function dmbLength(index: u32): u32 {
  return load<u32>(entryOf(index) + DMB_LENGTH);
}

/** Address of the CDC area. */
@inline
export function dmbCdc(index: u32): usize {
  return entryOf(index) + DMB_CDC;
}

/** Stack slot of the owner; may be stale once the owner has unregistered. */
export function dmbOwner(index: u32): u32 {
  return ownerOf(atomic.load<u32>(entryOf(index) + DMB_STATE));
}

/** The owner's connection slot, as the owner wrote it: check it before use. */
export function dmbSlot(index: u32): u32 {
  return load<u32>(entryOf(index) + DMB_SLOT);
}

/** Whether a peer holds the buffer now. */
export function dmbAttached(index: u32): bool {
  return (atomic.load<u32>(entryOf(index) + DMB_STATE) & DMB_ATTACHED) != 0;
}

/** Address | length << 32 of the buffer, each loaded once; 0 when entry and block table contradict each other. */
export function dmbRange(index: u32): u64 {
  const base = load<u32>(entryOf(index) + DMB_BASE);
  const length = dmbLength(index);
  return blocksHold(base, length, index + 1) ? <u64>base | (<u64>length << 32) : 0;
}

/** Address of the buffer, or 0 when entry and block table contradict each other. */
export function dmbBase(index: u32): u32 {
  return <u32>dmbRange(index);
}

/**
 * Takes hold of the peer's buffer. At most one attacher.
 *
 * Returns: index of the entry; STATUS_UNKNOWN for no such token or a dying entry; STATUS_BUSY when attached already.
 * Order:   SYNC POINT dmb-register: the entry's fields before its state.
 */
export function dmbAttach(stack: u32, tokenLo: u32, tokenHi: u32): i32 {
  const index = tokenLo & (DMB_CAPACITY - 1);
  const token = (<u64>tokenHi << 32) | <u64>tokenLo;
  const entry = entryOf(index);
  while (true) {
    const state = atomic.load<u32>(entry + DMB_STATE);
    if ((state & DMB_REGISTERED) == 0 || load<u64>(entry + DMB_TOKEN) != token) return STATUS_UNKNOWN;
    if ((state & DMB_ATTACHED) != 0) return STATUS_BUSY;
    const taken = stateOf(state >> GENERATION_SHIFT, stack, ownerOf(state), DMB_REGISTERED | DMB_ATTACHED | DMB_HELD);
    if (atomic.cmpxchg<u32>(entry + DMB_STATE, state, taken) == state) return <i32>index;
  }
}

/** Zeroes the buffer and frees blocks and entry. The caller has made the entry BUSY for itself. */
function release(index: u32, generation: u32): void {
  const entry = entryOf(index);
  const range = dmbRange(index);
  if (range != 0) {
    const base = <u32>range;
    const length = <u32>(range >> 32);
    let touched = load<u32>(entry + DMB_TOUCHED);
    if (touched > length - CDC_SIZE) touched = length - CDC_SIZE;
    memory.fill(base, 0, CDC_SIZE + touched);
    blocksGive(base, length, index + 1);
  } else blocksSweep(index + 1);
  atomic.store<u32>(entry + DMB_STATE, stateOf(generation, 0, 0, 0));
  if (index < nextEntry) nextEntry = index;
}

/** Drops the owner's (REGISTERED) or the attacher's (ATTACHED) hold; the last one frees. `actor` does the work. */
function drop(index: u32, hold: u32, holder: u32, actor: u32): i32 {
  const entry = entryOf(index);
  while (true) {
    const state = atomic.load<u32>(entry + DMB_STATE);
    if ((state & hold) == 0) return STATUS_UNKNOWN;
    if ((hold == DMB_REGISTERED ? ownerOf(state) : attacherOf(state)) != holder) return STATUS_UNKNOWN;
    const generation = state >> GENERATION_SHIFT;
    const rest = state & (DMB_REGISTERED | DMB_ATTACHED) & ~hold;
    const held = state & DMB_HELD;
    const after =
      rest == 0
        ? stateOf(generation, 0, actor, DMB_BUSY)
        : stateOf(generation, attacherOf(state), ownerOf(state), rest | held);
    if (atomic.cmpxchg<u32>(entry + DMB_STATE, state, after) != state) continue;
    if (rest == 0) release(index, generation);
    return STATUS_OK;
  }
}

/** Owner's side: no new attach; freed now, or when the attacher detaches. STATUS_UNKNOWN if it is not `owner`'s. */
export function dmbUnregister(owner: u32, index: u32): i32 {
  return drop(index, DMB_REGISTERED, owner, owner);
}

/** Attacher's side. STATUS_UNKNOWN if `stack` is not attached. */
export function dmbDetach(stack: u32, index: u32): i32 {
  return drop(index, DMB_ATTACHED, stack, stack);
}

/** Says that no peer will ever attach the buffer: it is a private send ring. */
export function dmbPrivate(index: u32): void {
  atomic.or<u32>(entryOf(index) + DMB_STATE, DMB_HELD);
}

/** Notes that ring bytes below `extent` may be non-zero: what release() has to clear. By the ring's only writer. */
export function dmbTouch(index: u32, extent: u32): void {
  const entry = entryOf(index);
  if (extent > load<u32>(entry + DMB_TOUCHED)) store<u32>(entry + DMB_TOUCHED, extent);
}

/**
 * Finishes what stack `dead` left in the table. By `actor`, after the dead thread has stopped for good.
 *
 * Takes:   spareFresh: keep buffers that nobody has attached yet. A server may be about to read the Confirm of the dead,
 *          and what the dead wrote before its end stands in the server's own buffer.
 * Returns: how many were spared.
 */
export function dmbReap(dead: u32, actor: u32, spareFresh: bool): u32 {
  let spared: u32 = 0;
  const used = min(atomic.load<u32>(ARENA_DMBS_OFFSET), DMB_CAPACITY);
  for (let index: u32 = 0; index < used; index++) {
    const entry = entryOf(index);
    const state = atomic.load<u32>(entry + DMB_STATE);
    const flags = state & FLAGS;
    if (flags == 0) continue;
    if (flags == DMB_BUSY) {
      if (ownerOf(state) != dead) continue;
      // Died while allocating or freeing: the base may be unwritten, so its blocks are found by their tag.
      blocksSweep(index + 1);
      atomic.store<u32>(entry + DMB_STATE, stateOf(state >> GENERATION_SHIFT, 0, 0, 0));
      continue;
    }
    if (spareFresh && (flags & DMB_HELD) == 0 && ownerOf(state) == dead) {
      spared++;
      continue;
    }
    // A killed writer may have been copying anywhere: the whole ring counts as touched.
    if (ownerOf(state) == dead || attacherOf(state) == dead) dmbTouch(index, <u32>-1);
    if ((flags & DMB_ATTACHED) != 0 && attacherOf(state) == dead) drop(index, DMB_ATTACHED, dead, actor);
    if ((flags & DMB_REGISTERED) != 0 && ownerOf(state) == dead) drop(index, DMB_REGISTERED, dead, actor);
  }
  return spared;
}
