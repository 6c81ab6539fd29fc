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
import { blocksGive, blocksHold, blocksSweep, blocksTake, blocksTakeIn } from "./arena";
import { extentBase, extentBlocks, extentKind, extentNumber, extentPair, headBlocks, headOf } from "./extent";
import {
  DMB_ATTACHED,
  DMB_BUSY,
  DMB_HELD,
  DMB_REGISTERED,
  DMB_REMOTE,
  EXTENT_OWN,
  EXTENT_PEER,
  HEAD_ATTACHED,
  HEAD_DETACHED,
  HEAD_FREE,
  HEAD_REGISTERED,
  HEAD_STATE,
  HEAD_UNWANTED,
  STATUS_BUSY,
  STATUS_NO_MEMORY,
  STATUS_OK,
  STATUS_TELL,
  STATUS_UNKNOWN,
} from "./shared/codes";
import {
  ARENA_DMBS_OFFSET,
  BLOCK_SIZE,
  CDC_SIZE,
  CONN_CAPACITY,
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
  DMB_ZONE,
  EXTENT_MOST_BLOCKS,
  EXTENT_TAG,
  HEAD_LENGTH,
  HEAD_LINK,
  HEAD_SIZE,
  HEAD_SLOT,
  HEAD_STACK,
  HEAD_TOKEN,
  HEAD_TOUCHED,
  STACK_CAPACITY,
} from "./shared/layout";

const FLAGS: u32 = 0xf;
const OWNER_SHIFT: u32 = 4;
const ATTACHER_SHIFT: u32 = 11;
const STACK_BITS: u32 = 0x7f;
const GENERATION_SHIFT: u32 = 18;
/** Bits of a token that name the block in its extent, and the extent. */
const BLOCK_BITS: u32 = 10;
const NUMBER_BITS: u32 = 6;

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

/** Extent that the ring of an entry lies in, or -1 for blocks of this arena. */
@inline
export function dmbZone(index: u32): i32 {
  return <i32>load<u32>(entryOf(index) + DMB_ZONE) - 1;
}

/** Whether the entry is our hold on a DMB of another process. */
@inline
function foreign(zone: i32): bool {
  return zone >= 0 && extentKind(<u32>zone) == EXTENT_PEER;
}

/** Word of a free block where the ring of an entry lies. */
@inline
function freeWord(zone: i32): u32 {
  return zone < 0 ? 0 : EXTENT_TAG | <u32>zone;
}

/** Head of the DMB; only where it lies in an extent. */
@inline
function headAt(index: u32, zone: i32): usize {
  return headOf(<u32>zone, load<u32>(entryOf(index) + DMB_BASE));
}

/**
 * HEAD_LINK in `state`, for the registration with this token. With bits of the token in the word, an attacher that was stopped
 * between look and swap cannot take hold of a later registration in the same place.
 */
@inline
function linkOf(state: u32, token: u64): u32 {
  return (<u32>(token >> 32) & ~HEAD_STATE) | state;
}

@inline
function tokenOf(index: u32): u64 {
  return load<u64>(entryOf(index) + DMB_TOKEN);
}

function raiseHighWater(count: u32): void {
  let seen = atomic.load<u32>(ARENA_DMBS_OFFSET);
  while (seen < count) {
    const before = atomic.cmpxchg<u32>(ARENA_DMBS_OFFSET, seen, count);
    if (before == seen) return;
    seen = before;
  }
}

/** The entry that takeEntry took last. */
let takenEntry: u32 = 0;

/** Takes a free entry for `owner`; its state word, BUSY with a new generation, or 0 when the table is full. */
function takeEntry(owner: u32): u32 {
  for (let tries: u32 = 0; tries < DMB_CAPACITY; tries++) {
    if (nextEntry >= DMB_CAPACITY) nextEntry = 0;
    const index = nextEntry++;
    const entry = entryOf(index);
    const state = atomic.load<u32>(entry + DMB_STATE);
    if ((state & FLAGS) != 0) continue;
    // Before the entry is taken: the reaper looks no further than this.
    raiseHighWater(index + 1);
    const busy = stateOf((state >> GENERATION_SHIFT) + 1, 0, owner, DMB_BUSY);
    if (atomic.cmpxchg<u32>(entry + DMB_STATE, state, busy) != state) continue;
    takenEntry = index;
    return busy;
  }
  return 0;
}

/** Makes an entry free again that takeEntry gave. */
function dropEntry(index: u32, busy: u32): void {
  store<u32>(entryOf(index) + DMB_ZONE, 0);
  atomic.store<u32>(entryOf(index) + DMB_STATE, stateOf(busy >> GENERATION_SHIFT, 0, 0, 0));
  if (index < nextEntry) nextEntry = index;
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
  const busy = takeEntry(owner);
  if (busy == 0) return STATUS_NO_MEMORY;
  const index = takenEntry;
  const entry = entryOf(index);
  const count = <u32>1 << sizeClass;
  // Before the blocks: whoever finishes after a kill has to know what a free block looks like there.
  store<u32>(entry + DMB_ZONE, zone);
  const base =
    extent < 0
      ? blocksTake(count, index + 1)
      : blocksTakeIn(extentBase(extent), extentBlocks(extent), count, index + 1, EXTENT_TAG | <u32>extent);
  if (base == 0) {
    dropEntry(index, busy);
    return STATUS_NO_MEMORY;
  }
  const length = BLOCK_SIZE << sizeClass;
  store<u32>(entry + DMB_BASE, base);
  store<u32>(entry + DMB_LENGTH, length);
  store<u32>(entry + DMB_SLOT, connSlot);
  store<u32>(entry + DMB_TOUCHED, 0);
  // The token carries where to look, so that attach needs no search; the other bits are random and checked whole.
  let place = index;
  let bits: u32 = 15;
  if (extent >= 0) {
    place = (extentNumber(extent) << BLOCK_BITS) | ((base - extentBase(extent)) / BLOCK_SIZE);
    bits = BLOCK_BITS + NUMBER_BITS;
  }
  const token = (<u64>randomHi << 32) | <u64>((randomLo << bits) | place);
  store<u64>(entry + DMB_TOKEN, token);
  memory.fill(dmbCdc(index), 0, CDC_SIZE);
  if (extent >= 0) {
    const head = headAt(index, extent);
    store<u32>(head + HEAD_SLOT, connSlot);
    store<u64>(head + HEAD_TOKEN, token);
    store<u32>(head + HEAD_STACK, owner);
    store<u32>(head + HEAD_LENGTH, length);
    store<u32>(head + HEAD_TOUCHED, 0);
    // SYNC POINT dmb-register: the head's fields before its link.
    atomic.store<u32>(head + HEAD_LINK, linkOf(HEAD_REGISTERED, token));
  }
  // SYNC POINT dmb-register: the entry's fields before its state.
  atomic.store<u32>(entry + DMB_STATE, stateOf(busy >> GENERATION_SHIFT, 0, owner, DMB_REGISTERED));
  return <i32>index;
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
export function dmbCdc(index: u32): usize {
  const zone = dmbZone(index);
  return zone < 0 ? entryOf(index) + DMB_CDC : headAt(index, zone);
}

/** Stack slot of the owner, in the owner's process; may be stale once the owner has unregistered. */
export function dmbOwner(index: u32): u32 {
  return ownerOf(atomic.load<u32>(entryOf(index) + DMB_STATE));
}

/** The owner's connection slot, as the owner wrote it: check it before use. */
export function dmbSlot(index: u32): u32 {
  return load<u32>(entryOf(index) + DMB_SLOT);
}

/** Whether a peer holds the buffer now, or has held it in another process. */
export function dmbAttached(index: u32): bool {
  const zone = dmbZone(index);
  if (zone >= 0 && !foreign(zone)) {
    const link = atomic.load<u32>(headAt(index, zone) + HEAD_LINK) & HEAD_STATE;
    return link == HEAD_ATTACHED || link == HEAD_DETACHED || link == HEAD_UNWANTED;
  }
  return (atomic.load<u32>(entryOf(index) + DMB_STATE) & DMB_ATTACHED) != 0;
}

/** Address | length << 32 of the buffer, each loaded once; 0 when entry and block table contradict each other. */
export function dmbRange(index: u32): u64 {
  const base = load<u32>(entryOf(index) + DMB_BASE);
  const length = dmbLength(index);
  const zone = dmbZone(index);
  const whole = foreign(zone) ? liesIn(<u32>zone, base, length) : blocksHold(base, length, index + 1);
  return whole ? <u64>base | (<u64>length << 32) : 0;
}

/** Whether [address, address + length) is a run of whole blocks behind the heads of an extent. */
function liesIn(extent: u32, address: u32, length: u32): bool {
  const base = extentBase(extent);
  const blocks = extentBlocks(extent);
  if (address < base || ((address | length) & (BLOCK_SIZE - 1)) != 0 || length == 0) return false;
  const first = (address - base) / BLOCK_SIZE;
  return first >= headBlocks(blocks) && first < blocks && length / BLOCK_SIZE <= blocks - first;
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
  const link = atomic.load<u32>(head + HEAD_LINK);
  const state = link & HEAD_STATE;
  if (state == HEAD_ATTACHED || state == HEAD_DETACHED || state == HEAD_UNWANTED) return STATUS_BUSY;
  if (link != linkOf(HEAD_REGISTERED, token) || load<u64>(head + HEAD_TOKEN) != token) return STATUS_UNKNOWN;
  const length = load<u32>(head + HEAD_LENGTH);
  const slot = load<u32>(head + HEAD_SLOT);
  const owner = load<u32>(head + HEAD_STACK);
  if (!liesIn(extent, base, length) || length > BLOCK_SIZE << 6) return STATUS_UNKNOWN;
  if (slot >= CONN_CAPACITY || owner >= STACK_CAPACITY) return STATUS_UNKNOWN;
  const busy = takeEntry(stack);
  if (busy == 0) return STATUS_NO_MEMORY;
  const index = takenEntry;
  const entry = entryOf(index);
  store<u32>(entry + DMB_ZONE, extent + 1);
  store<u32>(entry + DMB_BASE, base);
  store<u32>(entry + DMB_LENGTH, length);
  store<u32>(entry + DMB_SLOT, slot);
  store<u32>(entry + DMB_TOUCHED, 0);
  store<u64>(entry + DMB_TOKEN, token);
  if (atomic.cmpxchg<u32>(head + HEAD_LINK, link, linkOf(HEAD_ATTACHED, token)) != link) {
    dropEntry(index, busy);
    return STATUS_BUSY;
  }
  atomic.store<u32>(
    entry + DMB_STATE,
    stateOf(busy >> GENERATION_SHIFT, stack, owner, DMB_ATTACHED | DMB_HELD),
  );
  return <i32>index;
}

/**
 * Zeroes the buffer and frees blocks and entry; or lets go of a buffer of another process. The caller has made the entry BUSY
 * for itself. Returns: STATUS_TELL when that process waits for it, else STATUS_OK.
 */
function release(index: u32, generation: u32): i32 {
  let status = STATUS_OK;
  const entry = entryOf(index);
  const range = dmbRange(index);
  const zone = dmbZone(index);
  let touched = load<u32>(entry + DMB_TOUCHED);
  if (foreign(zone)) {
    const head = headAt(index, zone);
    store<u32>(head + HEAD_TOUCHED, touched);
    // SYNC POINT dmb-detach: the last access before the link.
    const before = atomic.xchg<u32>(head + HEAD_LINK, HEAD_DETACHED);
    if (before == linkOf(HEAD_UNWANTED, tokenOf(index))) status = STATUS_TELL;
  } else if (range != 0) {
    const base = <u32>range;
    const length = <u32>(range >> 32);
    if (zone >= 0) {
      const head = headAt(index, zone);
      touched = max(touched, load<u32>(head + HEAD_TOUCHED));
      atomic.store<u32>(head + HEAD_LINK, HEAD_FREE);
    }
    if (touched > length - CDC_SIZE) touched = length - CDC_SIZE;
    memory.fill(base, 0, CDC_SIZE + touched);
    blocksGive(base, length, index + 1, freeWord(zone));
  } else blocksSweep(index + 1, freeWord(zone));
  store<u32>(entry + DMB_ZONE, 0);
  atomic.store<u32>(entry + DMB_STATE, stateOf(generation, 0, 0, 0));
  if (index < nextEntry) nextEntry = index;
  return status;
}

/**
 * The owner lets go of a buffer in an extent: whether a peer process still holds it. No peer can take hold afterwards.
 *
 * Order: SYNC POINT dmb-detach: the last access before the link.
 */
function heldElsewhere(index: u32, zone: i32): bool {
  const link = headAt(index, zone) + HEAD_LINK;
  const token = tokenOf(index);
  const registered = linkOf(HEAD_REGISTERED, token);
  if (atomic.cmpxchg<u32>(link, registered, HEAD_FREE) == registered) return false;
  // A peer that writes nonsense here lets go too early, and harms nobody but the two of us.
  const attached = linkOf(HEAD_ATTACHED, token);
  const unwanted = linkOf(HEAD_UNWANTED, token);
  const before = atomic.cmpxchg<u32>(link, attached, unwanted);
  // UNWANTED already: an owner that was killed right behind this step, whose work the reaper does again.
  return before == attached || before == unwanted;
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
    const zone = dmbZone(index);
    if (rest == 0 && hold == DMB_REGISTERED && zone >= 0 && heldElsewhere(index, zone)) {
      const lingering = stateOf(generation, DMB_REMOTE, ownerOf(state), DMB_ATTACHED | DMB_HELD);
      if (atomic.cmpxchg<u32>(entry + DMB_STATE, state, lingering) != state) continue;
      return STATUS_OK;
    }
    const after =
      rest == 0
        ? stateOf(generation, 0, actor, DMB_BUSY)
        : stateOf(generation, attacherOf(state), ownerOf(state), rest | held);
    if (atomic.cmpxchg<u32>(entry + DMB_STATE, state, after) != state) continue;
    return rest == 0 ? release(index, generation) : STATUS_OK;
  }
}

/** Owner's side: no new attach; freed now, or when the attacher detaches. STATUS_UNKNOWN if it is not `owner`'s. */
export function dmbUnregister(owner: u32, index: u32): i32 {
  return drop(index, DMB_REGISTERED, owner, owner);
}

/** Attacher's side. STATUS_UNKNOWN if `stack` is not attached; STATUS_TELL if the owner, in another process, waits for it. */
export function dmbDetach(stack: u32, index: u32): i32 {
  return drop(index, DMB_ATTACHED, stack, stack);
}

/**
 * Frees what owners have unregistered and a peer process held on to, where it has let go since.
 *
 * Takes:   actor, who does the work; pair + 1 whose process is gone, so that nothing of it is held any more, or 0.
 * Returns: how many are still held.
 * Order:   SYNC POINT dmb-detach: the last access before the link.
 */
export function dmbReclaim(actor: u32, gone: u32): u32 {
  let held: u32 = 0;
  const used = min(atomic.load<u32>(ARENA_DMBS_OFFSET), DMB_CAPACITY);
  for (let index: u32 = 0; index < used; index++) {
    const entry = entryOf(index);
    const state = atomic.load<u32>(entry + DMB_STATE);
    if ((state & (FLAGS & ~DMB_HELD)) != DMB_ATTACHED || attacherOf(state) != DMB_REMOTE) continue;
    const zone = dmbZone(index);
    if (zone < 0) continue;
    const over = gone != 0 && extentPair(zone) == gone - 1;
    const link = headAt(index, zone) + HEAD_LINK;
    if (!over && atomic.load<u32>(link) == linkOf(HEAD_UNWANTED, tokenOf(index))) {
      held++;
      continue;
    }
    const generation = state >> GENERATION_SHIFT;
    if (atomic.cmpxchg<u32>(entry + DMB_STATE, state, stateOf(generation, 0, actor, DMB_BUSY)) != state) continue;
    release(index, generation);
  }
  return held;
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
      // Died while taking hold of a peer's buffer: whether it had is not known, so that buffer stays until the pair ends.
      if (!foreign(dmbZone(index))) blocksSweep(index + 1, freeWord(dmbZone(index)));
      store<u32>(entry + DMB_ZONE, 0);
      atomic.store<u32>(entry + DMB_STATE, stateOf(state >> GENERATION_SHIFT, 0, 0, 0));
      continue;
    }
    const zone = dmbZone(index);
    const mine = (flags & DMB_REGISTERED) != 0 && ownerOf(state) == dead;
    const fresh = zone < 0 ? (flags & DMB_HELD) == 0 : mine && !dmbAttached(index);
    if (spareFresh && fresh && mine) {
      spared++;
      continue;
    }
    // A killed writer may have been copying anywhere: the whole ring counts as touched.
    // The owner of a foreign one is a number of another process.
    if ((ownerOf(state) == dead && !foreign(zone)) || attacherOf(state) == dead) dmbTouch(index, <u32>-1);
    if ((flags & DMB_ATTACHED) != 0 && attacherOf(state) == dead) drop(index, DMB_ATTACHED, dead, actor);
    if ((flags & DMB_REGISTERED) != 0 && ownerOf(state) == dead) drop(index, DMB_REGISTERED, dead, actor);
  }
  return spared;
}
