/**
 * DMBs: register, attach, detach, unregister.
 *
 * Owns the life of a buffer and its token. The state word of its entry (dmb-table.ts) names owner, attacher and generation
 * together with the flags, so every step is one compare-and-swap and a killed thread leaves nothing that cannot be found and
 * finished by the reaper. The owner may go first: the buffer stays until the attacher has let go as well, so no late write
 * can reach somebody else's connection.
 *
 *   free ──register──▶ BUSY ──▶ REGISTERED ──attach──▶ REGISTERED|ATTACHED
 *                                   │                     │            │
 *                               unregister            unregister     detach
 *                                   ▼                     ▼            ▼
 *   free ◀── zero, give back ──── BUSY ◀────detach──── ATTACHED    REGISTERED
 */
import { blocksGive, blocksHold, blocksSweep, blocksTake, blocksTakeIn } from "./arena";
import {
  headAttach,
  headClear,
  headDetach,
  headLink,
  headOffers,
  headShow,
  heldElsewhere,
  wasAttached,
} from "./dmb-head";
import {
  attacherOf,
  dmbLength,
  dmbZone,
  entryOf,
  freeEntry,
  generationOf,
  loadState,
  ownerOf,
  stateOf,
  swapState,
  takeEntry,
  tokenOf,
} from "./dmb-table";
import { extentBase, extentBlocks, extentHolds, extentKind, extentNumber, headOf } from "./extent";
import {
  DMB_ATTACHED,
  DMB_BUSY,
  DMB_HELD,
  DMB_REGISTERED,
  DMB_REMOTE,
  EXTENT_OWN,
  EXTENT_PEER,
  STATUS_BUSY,
  STATUS_NO_MEMORY,
  STATUS_OK,
  STATUS_UNKNOWN,
} from "./shared/codes";
import {
  BLOCK_SIZE,
  CDC_SIZE,
  CONN_CAPACITY,
  DMB_BASE,
  DMB_CAPACITY,
  DMB_CDC,
  DMB_LENGTH,
  DMB_SLOT,
  DMB_STATE,
  DMB_TOKEN,
  DMB_TOUCHED,
  DMB_ZONE,
  EXTENT_MOST_BLOCKS,
  EXTENT_TAG,
  HEAD_LENGTH,
  HEAD_SLOT,
  HEAD_STACK,
  STACK_CAPACITY,
} from "./shared/layout";

/** Bits of a token that name the block in its extent, and the extent; or the entry. */
const BLOCK_BITS: u32 = 10;
const NUMBER_BITS: u32 = 6;
const INDEX_BITS: u32 = 15;

/** Whether the entry is our hold on a DMB of another process. */
@inline
export function foreign(zone: i32): bool {
  return zone >= 0 && extentKind(<u32>zone) == EXTENT_PEER;
}

/** Word of a free block where the ring of an entry lies. */
@inline
export function freeWord(zone: i32): u32 {
  return zone < 0 ? 0 : EXTENT_TAG | <u32>zone;
}

/** Head of the DMB; only where it lies in an extent. */
@inline
export function headAt(index: u32, zone: i32): usize {
  return headOf(<u32>zone, load<u32>(entryOf(index) + DMB_BASE));
}

/** Writes the fields of a BUSY entry, but its zone: that stands there since before anything was allocated. */
@inline
function fill(index: u32, base: u32, length: u32, connSlot: u32, token: u64): void {
  const entry = entryOf(index);
  store<u32>(entry + DMB_BASE, base);
  store<u32>(entry + DMB_LENGTH, length);
  store<u32>(entry + DMB_SLOT, connSlot);
  store<u32>(entry + DMB_TOUCHED, 0);
  store<u64>(entry + DMB_TOKEN, token);
}

/**
 * Allocates and exposes a buffer of 16 KiB << sizeClass; zero-filled.
 *
 * Takes:   owner, stack slot; sizeClass 0..6; connSlot the peer will post to; 64 random bits for the token; zone, extent + 1
 *          to allocate in, 0 for the arena's own blocks.
 * Returns: index of the entry, or STATUS_NO_MEMORY.
 */
export function dmbRegister(owner: u32, sizeClass: u32, connSlot: u32, randomLo: u32, randomHi: u32, zone: u32): i32 {
  const extent = <i32>zone - 1;
  if (extent >= 0 && extentKind(<u32>extent) != EXTENT_OWN) return STATUS_NO_MEMORY;
  const taken = takeEntry(owner);
  if (taken < 0) return STATUS_NO_MEMORY;
  const index = <u32>taken;
  const count = <u32>1 << sizeClass;
  // Before the blocks: whoever finishes after a kill has to know what a free block looks like there.
  store<u32>(entryOf(index) + DMB_ZONE, zone);
  const base =
    extent < 0
      ? blocksTake(count, index + 1)
      : blocksTakeIn(extentBase(extent), extentBlocks(extent), count, index + 1, EXTENT_TAG | <u32>extent);
  if (base == 0) {
    freeEntry(index);
    return STATUS_NO_MEMORY;
  }
  // The token carries where to look, so that attach needs no search; the other bits are random and checked whole.
  let place = index;
  let bits = INDEX_BITS;
  if (extent >= 0) {
    place = (extentNumber(extent) << BLOCK_BITS) | ((base - extentBase(extent)) / BLOCK_SIZE);
    bits = BLOCK_BITS + NUMBER_BITS;
  }
  const token = (<u64>randomHi << 32) | <u64>((randomLo << bits) | place);
  const length = BLOCK_SIZE << sizeClass;
  fill(index, base, length, connSlot, token);
  memory.fill(dmbCdc(index), 0, CDC_SIZE);
  if (extent >= 0) headShow(headAt(index, extent), token, owner, connSlot, length);
  const generation = generationOf(loadState(index));
  // SYNC POINT dmb-register: the entry's fields before its state.
  atomic.store<u32>(entryOf(index) + DMB_STATE, stateOf(generation, 0, owner, DMB_REGISTERED));
  return <i32>index;
}

/** Address of the CDC area. */
export function dmbCdc(index: u32): usize {
  const zone = dmbZone(index);
  return zone < 0 ? entryOf(index) + DMB_CDC : headAt(index, zone);
}

/** Whether a peer holds the buffer now, or has held it in another process. */
export function dmbAttached(index: u32): bool {
  const zone = dmbZone(index);
  if (zone >= 0 && !foreign(zone)) return wasAttached(headLink(headAt(index, zone)));
  return (loadState(index) & DMB_ATTACHED) != 0;
}

/** Address | length << 32 of the buffer, each loaded once; 0 when entry and block table contradict each other. */
export function dmbRange(index: u32): u64 {
  const base = load<u32>(entryOf(index) + DMB_BASE);
  const length = dmbLength(index);
  const zone = dmbZone(index);
  const whole = foreign(zone) ? extentHolds(<u32>zone, base, length) : blocksHold(base, length, index + 1);
  return whole ? <u64>base | (<u64>length << 32) : 0;
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
  while (true) {
    const state = loadState(index);
    if ((state & DMB_REGISTERED) == 0 || tokenOf(index) != token) return STATUS_UNKNOWN;
    if ((state & DMB_ATTACHED) != 0) return STATUS_BUSY;
    const taken = stateOf(generationOf(state), stack, ownerOf(state), DMB_REGISTERED | DMB_ATTACHED | DMB_HELD);
    if (swapState(index, state, taken)) return <i32>index;
  }
}

/**
 * Takes hold of a buffer of another process, in `extent`, whose memory that process writes as well: every field of the head
 * is loaded once and checked.
 *
 * Returns: index of an entry of our own; STATUS_UNKNOWN for no such token or a head that cannot be; STATUS_BUSY when attached
 *          already, or when the token is replayed; STATUS_NO_MEMORY when the table is full.
 * Order:   SYNC POINT dmb-register: the head's fields before its link.
 */
export function dmbAttachPeer(stack: u32, extent: u32, tokenLo: u32, tokenHi: u32): i32 {
  if (extentKind(extent) != EXTENT_PEER) return STATUS_UNKNOWN;
  const block = tokenLo & (EXTENT_MOST_BLOCKS - 1);
  const token = (<u64>tokenHi << 32) | <u64>tokenLo;
  if (block >= extentBlocks(extent)) return STATUS_UNKNOWN;
  const base = extentBase(extent) + block * BLOCK_SIZE;
  const head = headOf(extent, base);
  const link = headLink(head);
  if (wasAttached(link)) return STATUS_BUSY;
  if (!headOffers(head, link, token)) return STATUS_UNKNOWN;
  const length = load<u32>(head + HEAD_LENGTH);
  const slot = load<u32>(head + HEAD_SLOT);
  const owner = load<u32>(head + HEAD_STACK);
  if (!extentHolds(extent, base, length) || length > BLOCK_SIZE << 6) return STATUS_UNKNOWN;
  if (slot >= CONN_CAPACITY || owner >= STACK_CAPACITY) return STATUS_UNKNOWN;
  const taken = takeEntry(stack);
  if (taken < 0) return STATUS_NO_MEMORY;
  const index = <u32>taken;
  store<u32>(entryOf(index) + DMB_ZONE, extent + 1);
  fill(index, base, length, slot, token);
  if (!headAttach(head, link, token)) {
    freeEntry(index);
    return STATUS_BUSY;
  }
  const generation = generationOf(loadState(index));
  atomic.store<u32>(entryOf(index) + DMB_STATE, stateOf(generation, stack, owner, DMB_ATTACHED | DMB_HELD));
  return <i32>index;
}

/**
 * Zeroes the buffer and frees blocks and entry; or lets go of a buffer of another process. The caller has made the entry BUSY
 * for itself. Returns: STATUS_TELL when that process waits for it, else STATUS_OK.
 */
export function dmbRelease(index: u32): i32 {
  let status = STATUS_OK;
  const range = dmbRange(index);
  const zone = dmbZone(index);
  let touched = load<u32>(entryOf(index) + DMB_TOUCHED);
  if (foreign(zone)) status = headDetach(headAt(index, zone), tokenOf(index), touched);
  else if (range != 0) {
    const base = <u32>range;
    const length = <u32>(range >> 32);
    if (zone >= 0) touched = max(touched, headClear(headAt(index, zone)));
    if (touched > length - CDC_SIZE) touched = length - CDC_SIZE;
    memory.fill(base, 0, CDC_SIZE + touched);
    blocksGive(base, length, index + 1, freeWord(zone));
  } else blocksSweep(index + 1, freeWord(zone));
  freeEntry(index);
  return status;
}

/** Drops the owner's (REGISTERED) or the attacher's (ATTACHED) hold; the last one frees. `actor` does the work. */
export function dmbDrop(index: u32, hold: u32, holder: u32, actor: u32): i32 {
  while (true) {
    const state = loadState(index);
    if ((state & hold) == 0) return STATUS_UNKNOWN;
    if ((hold == DMB_REGISTERED ? ownerOf(state) : attacherOf(state)) != holder) return STATUS_UNKNOWN;
    const generation = generationOf(state);
    const rest = state & (DMB_REGISTERED | DMB_ATTACHED) & ~hold;
    const held = state & DMB_HELD;
    const zone = dmbZone(index);
    if (rest == 0 && hold == DMB_REGISTERED && zone >= 0 && heldElsewhere(headAt(index, zone), tokenOf(index))) {
      const lingering = stateOf(generation, DMB_REMOTE, ownerOf(state), DMB_ATTACHED | DMB_HELD);
      if (swapState(index, state, lingering)) return STATUS_OK;
      continue;
    }
    const after =
      rest == 0
        ? stateOf(generation, 0, actor, DMB_BUSY)
        : stateOf(generation, attacherOf(state), ownerOf(state), rest | held);
    if (!swapState(index, state, after)) continue;
    return rest == 0 ? dmbRelease(index) : STATUS_OK;
  }
}

/** Owner's side: no new attach; freed now, or when the attacher detaches. STATUS_UNKNOWN if it is not `owner`'s. */
export function dmbUnregister(owner: u32, index: u32): i32 {
  return dmbDrop(index, DMB_REGISTERED, owner, owner);
}

/** Attacher's side. STATUS_UNKNOWN if `stack` is not attached; STATUS_TELL if the owner, in another process, waits for it. */
export function dmbDetach(stack: u32, index: u32): i32 {
  return dmbDrop(index, DMB_ATTACHED, stack, stack);
}
