/**
 * Rendezvous: who listens where, and which TCP connection is whose, before a CLC byte is sent.
 *
 * Owns the listener registry, intents and claims. A client writes only its own stack block; an acceptor changes a claim
 * by one compare-and-swap. Addresses are 16 bytes; IPv4 as ::ffff:a.b.c.d.
 *
 *   client:   intent begun → SYN … connected → claim CLAIMED → intent closed ……………… sees MATCHED → Proposal
 *   acceptor:                     accept → looks its 4-tuple up → CLAIMED → MATCHED, nudge the client
 */
import { stackAddress } from "./conn";
import {
  CLAIM_CLAIMED,
  CLAIM_FREE,
  CLAIM_MATCHED,
  LISTENER_ANY4,
  LISTENER_ANY6,
  LISTENER_BUSY,
  LISTENER_FREE,
  LISTENER_LIVE,
  STATUS_NO_MEMORY,
} from "./shared/codes";
import {
  ARENA_LISTENERS_OFFSET,
  CLAIM_CAPACITY,
  CLAIM_KEY,
  CLAIM_PROBES,
  CLAIM_SIZE,
  CLAIM_STATE,
  DESK_CLAIMS,
  DESK_INTENTS,
  KEY_SIZE,
  LISTENER_ADDRESS,
  LISTENER_CAPACITY,
  LISTENER_PORT,
  LISTENER_SIZE,
  LISTENER_STATE,
  LISTENER_TABLE_OFFSET,
  LISTENER_WILDCARD,
  STACK_CAPACITY,
  STACK_DESK,
  STACK_KEY,
} from "./shared/layout";

const PHASE: u32 = 0xf;
const V4_MAPPED: u64 = 0xffff0000; // bytes 8-11 of ::ffff:0:0/96, as the low half of a little-endian u64

@inline
function listenerOf(index: u32): usize {
  return <usize>(LISTENER_TABLE_OFFSET + index * LISTENER_SIZE);
}

/** A client's desk for the stacks of its own process. In a box lies another one for those of one peer process. */
export function stackDesk(stack: u32): u32 {
  return <u32>stackAddress(stack) + STACK_DESK;
}

@inline
function claimOf(desk: u32, index: u32): usize {
  return <usize>(desk + DESK_CLAIMS + (index & (CLAIM_CAPACITY - 1)) * CLAIM_SIZE);
}

@inline
function intentOf(desk: u32, acceptor: u32): usize {
  return <usize>(desk + DESK_INTENTS + (acceptor & (STACK_CAPACITY - 1)) * 8);
}

/** Ends all intents and claims of a desk whose client is gone. */
export function deskReset(desk: usize): void {
  for (let acceptor: u32 = 0; acceptor < STACK_CAPACITY; acceptor++) {
    // An intent that was open is closed: begun is what it was, closed catches up.
    const intent = intentOf(<u32>desk, acceptor);
    atomic.store<u32>(intent + 4, atomic.load<u32>(intent));
  }
  for (let index: u32 = 0; index < CLAIM_CAPACITY; index++) {
    const state = claimOf(<u32>desk, index) + CLAIM_STATE;
    // The generation stays, so that an acceptor half way through a match cannot hit a later claim.
    const word = load<u32>(state);
    if ((word & PHASE) != 0) atomic.store<u32>(state, word & ~PHASE);
  }
}

/** Registers a listener of `stack` at the address in its key area (server address) and `port`; its index or a status. */
export function listenerEnter(stack: u32, port: u32, wildcard: u32): i32 {
  const key = stackAddress(stack) + STACK_KEY + 16;
  for (let index: u32 = 0; index < LISTENER_CAPACITY; index++) {
    const entry = listenerOf(index);
    const state = atomic.load<u32>(entry + LISTENER_STATE);
    if ((state & PHASE) != LISTENER_FREE) continue;
    const generation = (state >> 16) + 1;
    const busy = (generation << 16) | (stack << 8) | LISTENER_BUSY;
    if (atomic.cmpxchg<u32>(entry + LISTENER_STATE, state, busy) != state) continue;
    store<u32>(entry + LISTENER_PORT, port);
    store<u64>(entry + LISTENER_ADDRESS, load<u64>(key));
    store<u64>(entry + LISTENER_ADDRESS + 8, load<u64>(key + 8));
    store<u32>(entry + LISTENER_WILDCARD, wildcard);
    // SYNC POINT listener: the entry's fields before its state.
    atomic.store<u32>(entry + LISTENER_STATE, (generation << 16) | (stack << 8) | LISTENER_LIVE);
    let used = atomic.load<u32>(ARENA_LISTENERS_OFFSET);
    while (used < index + 1) {
      const before = atomic.cmpxchg<u32>(ARENA_LISTENERS_OFFSET, used, index + 1);
      if (before == used) break;
      used = before;
    }
    return <i32>index;
  }
  return STATUS_NO_MEMORY;
}

/** Closes an entry of `stack`. */
export function listenerLeave(stack: u32, index: u32): void {
  const entry = listenerOf(index);
  const state = atomic.load<u32>(entry + LISTENER_STATE);
  if (((state >> 8) & 0xff) != stack) return;
  atomic.cmpxchg<u32>(entry + LISTENER_STATE, state, (state & 0xffff0000) | LISTENER_FREE);
}

/** Closes every entry of a dead stack. */
export function listenersReap(stack: u32): void {
  for (let index: u32 = 0; index < LISTENER_CAPACITY; index++) {
    const state = atomic.load<u32>(listenerOf(index) + LISTENER_STATE);
    if ((state & PHASE) != LISTENER_FREE) listenerLeave(stack, index);
  }
}

/**
 * Which stack listens at the server address in the key area of `stack`, looking at entries from `from` on.
 *
 * Returns: index << 8 | stack slot of the first match, or -1. Call again with index + 1 for the next.
 * Order:   SYNC POINT listener: the entry's fields before its state.
 */
export function listenerFind(stack: u32, port: u32, from: u32): i32 {
  const key = stackAddress(stack) + STACK_KEY + 16;
  const high = load<u64>(key);
  const low = load<u64>(key + 8);
  const v4 = high == 0 && (low & 0xffffffff) == V4_MAPPED;
  const used = min(atomic.load<u32>(ARENA_LISTENERS_OFFSET), LISTENER_CAPACITY);
  for (let index = from; index < used; index++) {
    const entry = listenerOf(index);
    const state = atomic.load<u32>(entry + LISTENER_STATE);
    if ((state & PHASE) != LISTENER_LIVE || load<u32>(entry + LISTENER_PORT) != port) continue;
    const any = load<u32>(entry + LISTENER_WILDCARD);
    const wild = v4 ? (any & LISTENER_ANY4) != 0 : (any & LISTENER_ANY6) != 0;
    const exact = load<u64>(entry + LISTENER_ADDRESS) == high && load<u64>(entry + LISTENER_ADDRESS + 8) == low;
    if (wild || exact) return <i32>((index << 8) | ((state >> 8) & 0xff));
  }
  return -1;
}

/** Opens an intent to connect to `acceptor`; its sequence number. */
export function intentBegin(desk: u32, acceptor: u32): u32 {
  return atomic.add<u32>(intentOf(desk, acceptor), 1) + 1;
}

/** Says that all intents towards `acceptor` up to `sequence` are closed. By the owner, in order. */
export function intentClosed(desk: u32, acceptor: u32, sequence: u32): void {
  atomic.store<u32>(intentOf(desk, acceptor) + 4, sequence);
}

/** Sequence number of the newest intent towards `acceptor`. */
export function intentBegun(desk: u32, acceptor: u32): u32 {
  return atomic.load<u32>(intentOf(desk, acceptor));
}

/** Whether an intent towards `acceptor` up to `sequence` is still open. */
export function intentOpen(desk: u32, acceptor: u32, sequence: u32): bool {
  return <i32>(sequence - atomic.load<u32>(intentOf(desk, acceptor) + 4)) > 0;
}

/** Mixes a 4-tuple into a first probe position. */
function bucketOf(key: usize): u32 {
  let hash: u64 = 0xcbf29ce484222325;
  for (let offset: usize = 0; offset < <usize>KEY_SIZE; offset += 8) {
    hash = (hash ^ load<u64>(key + offset)) * 0x9e3779b97f4a7c15;
    hash ^= hash >> 29;
  }
  return <u32>hash & (CLAIM_CAPACITY - 1);
}

function sameKey(a: usize, b: usize): bool {
  for (let offset: usize = 0; offset < <usize>KEY_SIZE; offset += 8) {
    if (load<u64>(a + offset) != load<u64>(b + offset)) return false;
  }
  return true;
}

/** Claims, on one of its desks, the 4-tuple in the key area of `stack` as its own; the claim's index, or STATUS_NO_MEMORY. */
export function claimMake(stack: u32, desk: u32): i32 {
  const key = stackAddress(stack) + STACK_KEY;
  const bucket = bucketOf(key);
  for (let probe: u32 = 0; probe < CLAIM_PROBES; probe++) {
    const index = (bucket + probe) & (CLAIM_CAPACITY - 1);
    const claim = claimOf(desk, index);
    const state = atomic.load<u32>(claim + CLAIM_STATE);
    if ((state & PHASE) != CLAIM_FREE) continue;
    memory.copy(claim + CLAIM_KEY, key, KEY_SIZE);
    // SYNC POINT claim: the key before the phase.
    atomic.store<u32>(claim + CLAIM_STATE, (((state >> 4) + 1) << 4) | CLAIM_CLAIMED);
    return <i32>index;
  }
  return STATUS_NO_MEMORY;
}

/** Whether an acceptor has matched the claim. */
export function claimMatched(desk: u32, index: u32): bool {
  return (atomic.load<u32>(claimOf(desk, index) + CLAIM_STATE) & PHASE) == CLAIM_MATCHED;
}

/** Takes the claim back; false when an acceptor was faster: then it is matched and the Proposal is due. */
export function claimWithdraw(desk: u32, index: u32): bool {
  const claim = claimOf(desk, index) + CLAIM_STATE;
  const state = atomic.load<u32>(claim);
  if ((state & PHASE) != CLAIM_CLAIMED) return false;
  return atomic.cmpxchg<u32>(claim, state, state & ~PHASE) == state;
}

/** Frees a matched claim; by the client, once it has seen the match. */
export function claimFree(desk: u32, index: u32): void {
  const claim = claimOf(desk, index) + CLAIM_STATE;
  atomic.store<u32>(claim, atomic.load<u32>(claim) & ~PHASE);
}

/**
 * Matches the 4-tuple in the key area of `acceptor` with a claim on a client's desk.
 *
 * Returns: true when the connection is the client's and now matched.
 * Order:   SYNC POINT claim: the key before the phase. The generation in the state word makes the compare-and-swap fail
 *          when the claim was reused between look and swap.
 */
export function claimMatch(acceptor: u32, desk: u32): bool {
  const key = stackAddress(acceptor) + STACK_KEY;
  const bucket = bucketOf(key);
  for (let probe: u32 = 0; probe < CLAIM_PROBES; probe++) {
    const claim = claimOf(desk, bucket + probe);
    const state = atomic.load<u32>(claim + CLAIM_STATE);
    if ((state & PHASE) != CLAIM_CLAIMED || !sameKey(claim + CLAIM_KEY, key)) continue;
    const matched = (state & ~PHASE) | CLAIM_MATCHED;
    if (atomic.cmpxchg<u32>(claim + CLAIM_STATE, state, matched) == state) return true;
  }
  return false;
}
