/**
 * Connection data control: publishing our cursors and flags in the peer's CDC area, sampling the peer's in ours.
 *
 * Each side writes the CDC area of the *peer's* DMB and reads its own: one writer a word, no lock. What is sampled is
 * hostile input: loaded once into a local, checked, and only then believed; a word that no honest peer writes poisons the
 * connection for good. Source: smc-protocol §4.2-4.3, 4.7-4.8.
 */
import { cqPost } from "./cq";
import { CURSOR_MASK, cursorAdvance, cursorDistance, DISTANCE_ILLEGAL } from "./cursor";
import { doorbellRing } from "./doorbell";
import {
  CONN_ATTACHED,
  CONN_POISONED,
  EVENT_ILLEGAL,
  EVENT_READABLE,
  EVENT_STATE,
  EVENT_URGENT,
  EVENT_WRITABLE,
  PROD_CONS_UPDATE_REQUESTED,
  PROD_FLAGS_MASK,
  PROD_URGENT_PRESENT,
  PROD_WRITE_BLOCKED,
  STATE_FLAGS_MASK,
} from "./shared/codes";
import {
  CDC_CONS_OFFSET,
  CDC_PROD_OFFSET,
  CONN_LOCAL,
  CONN_LOCAL_SIZE,
  CONN_MODE,
  CONN_PEER,
  CONN_PEER_ARMED,
  CONN_PEER_SIZE,
  CONN_PEER_WINDOW,
  CONN_READABLE,
  CONN_RX_CONFIRMED,
  CONN_RX_CONS,
  CONN_RX_FLAGS,
  CONN_RX_PROD,
  CONN_SND_SPACE,
  CONN_TX_CONS,
  CONN_TX_FLAGS,
  CONN_TX_SENT,
} from "./shared/layout";

/** Floor of the consumer-update limit, bytes. Source: smc-protocol §4.7. */
const UPDATE_FLOOR: u32 = 2304;

/** Stores our consumer cursor and flags where the peer reads them. */
@inline
export function storeConsumer(conn: usize): void {
  const peer = <usize>load<u32>(conn + CONN_PEER);
  const flags = <u64>load<u32>(conn + CONN_TX_FLAGS);
  // SYNC POINT rmbe-consume: ring bytes are copied out before the consumer cursor frees them.
  atomic.store<u64>(peer + CDC_CONS_OFFSET, load<u64>(conn + CONN_RX_CONS) | (flags << 48));
}

/** Stores our producer cursor where the peer reads it. */
@inline
export function storeProducer(conn: usize): void {
  const peer = <usize>load<u32>(conn + CONN_PEER);
  // SYNC POINT rmbe-produce: data stores before the producer cursor.
  atomic.store<u64>(peer + CDC_PROD_OFFSET, load<u64>(conn + CONN_TX_SENT));
}

/** Posts the connection and rings; EVENT_RING when the host has to. A signal confirms the consumer cursor as well. */
@inline
export function signal(conn: usize): u32 {
  store<u64>(conn + CONN_RX_CONFIRMED, load<u64>(conn + CONN_RX_CONS));
  cqPost(conn);
  return doorbellRing(<usize>load<u32>(conn + CONN_PEER_ARMED));
}

/**
 * Whether the peer has to be told of our consumer cursor now: silly-window avoidance.
 *
 * limit = max(R/10, 2304). Due when the peer asked for it, or when more than limit is unconfirmed and the sender believes
 * at most half the ring free or is write blocked. Source: smc-protocol §4.7.
 */
@inline
export function updateDue(conn: usize): bool {
  const size = load<u32>(conn + CONN_LOCAL_SIZE);
  const flags = load<u32>(conn + CONN_RX_FLAGS);
  if ((flags & PROD_CONS_UPDATE_REQUESTED) != 0) return true;
  const confirmed = load<u64>(conn + CONN_RX_CONFIRMED);
  const toConfirm = cursorDistance(confirmed, load<u64>(conn + CONN_RX_CONS), size);
  // Flushed cursors may have let the sender go on: more than a ring unconfirmed is a full ring in its eyes.
  if (toConfirm == DISTANCE_ILLEGAL) return true;
  if (toConfirm <= max(size / 10, UPDATE_FLOOR)) return false;
  if ((flags & PROD_WRITE_BLOCKED) != 0) return true;
  // Everything received since the last confirmation counts as occupied in the sender's eyes, at most the whole ring.
  const senderUsed = min(toConfirm + load<u32>(conn + CONN_READABLE), size);
  return size - senderUsed <= size / 2;
}

@inline
function poison(conn: usize): u32 {
  store<u32>(conn + CONN_MODE, load<u32>(conn + CONN_MODE) | CONN_POISONED);
  store<u32>(conn + CONN_READABLE, 0);
  store<u32>(conn + CONN_PEER_WINDOW, 0);
  store<u32>(conn + CONN_SND_SPACE, 0);
  return EVENT_ILLEGAL;
}

/** Takes in the consumer word: window, flags. */
@inline
function sampleConsumer(conn: usize, word: u64): u32 {
  const flags = <u32>(word >> 48);
  const before = load<u32>(conn + CONN_RX_FLAGS);
  if (flags == before && ((word ^ load<u64>(conn + CONN_TX_CONS)) & CURSOR_MASK) == 0) return 0;
  const producer = flags & 0xff;
  const state = flags >> 8;
  if ((producer & ~PROD_FLAGS_MASK) != 0 || (state & ~STATE_FLAGS_MASK) != 0) return poison(conn);
  if (((before >> 8) & ~state) != 0) return poison(conn);
  let events: u32 = 0;
  const size = load<u32>(conn + CONN_PEER_SIZE);
  const old = load<u64>(conn + CONN_TX_CONS);
  const fresh = word & CURSOR_MASK;
  const moved = cursorDistance(old, fresh, size);
  const inFlight = size - load<u32>(conn + CONN_PEER_WINDOW);
  if (moved == DISTANCE_ILLEGAL || moved > inFlight) return poison(conn);
  if (moved != 0) {
    store<u64>(conn + CONN_TX_CONS, fresh);
    store<u32>(conn + CONN_PEER_WINDOW, load<u32>(conn + CONN_PEER_WINDOW) + moved);
    if ((load<u32>(conn + CONN_MODE) & CONN_ATTACHED) != 0) {
      store<u32>(conn + CONN_SND_SPACE, load<u32>(conn + CONN_SND_SPACE) + moved);
    }
    events |= EVENT_WRITABLE;
  }
  if (state != before >> 8) events |= EVENT_STATE;
  if ((producer & ~before & PROD_URGENT_PRESENT) != 0) events |= EVENT_URGENT;
  store<u32>(conn + CONN_RX_FLAGS, flags);
  return events;
}

/** Takes in the producer word: bytes to receive. */
@inline
function sampleProducer(conn: usize, word: u64): u32 {
  if (word == load<u64>(conn + CONN_RX_PROD)) return load<u32>(conn + CONN_READABLE) != 0 ? EVENT_READABLE : 0;
  if ((word & ~CURSOR_MASK) != 0) return poison(conn);
  const readable = cursorDistance(load<u64>(conn + CONN_RX_CONS), word, load<u32>(conn + CONN_LOCAL_SIZE));
  if (readable == DISTANCE_ILLEGAL || readable < load<u32>(conn + CONN_READABLE)) return poison(conn);
  store<u64>(conn + CONN_RX_PROD, word);
  store<u32>(conn + CONN_READABLE, readable);
  return EVENT_READABLE;
}

/**
 * Samples the producer word alone: what a reader needs.
 *
 * Returns: EVENT_READABLE while there are bytes to receive, EVENT_ILLEGAL, or 0.
 * Order:   SYNC POINT rmbe-produce: data stores before the producer cursor.
 */
@inline
export function cdcSampleProducer(conn: usize): u32 {
  if ((load<u32>(conn + CONN_MODE) & CONN_POISONED) != 0) return EVENT_ILLEGAL;
  const local = <usize>load<u32>(conn + CONN_LOCAL);
  return sampleProducer(conn, atomic.load<u64>(local + CDC_PROD_OFFSET));
}

/**
 * Samples the consumer word alone: what a writer out of space needs.
 *
 * Order: SYNC POINT rmbe-consume: ring bytes are copied out before the consumer cursor frees them.
 */
@inline
export function cdcSampleConsumer(conn: usize): u32 {
  if ((load<u32>(conn + CONN_MODE) & CONN_POISONED) != 0) return EVENT_ILLEGAL;
  const local = <usize>load<u32>(conn + CONN_LOCAL);
  return sampleConsumer(conn, atomic.load<u64>(local + CDC_CONS_OFFSET));
}

/**
 * Samples both words. The consumer word (with the close flags) first: a peer that closes writes its last producer cursor
 * before the flag, so a flag seen here never comes with an older cursor. Source: smc-protocol §4.2, torn pair.
 *
 * Returns: EVENT_* bits.
 */
@inline
export function cdcSample(conn: usize): u32 {
  const events = cdcSampleConsumer(conn);
  if ((events & EVENT_ILLEGAL) != 0) return events;
  const more = cdcSampleProducer(conn);
  return (more & EVENT_ILLEGAL) != 0 ? more : events | more;
}

/** Moves the producer cursor on by `length` bytes, already in the peer's ring, and publishes it; EVENT_RING or 0. */
@inline
export function cdcProduce(conn: usize, length: u32, flags: u32): u32 {
  const sent = cursorAdvance(load<u64>(conn + CONN_TX_SENT), length, load<u32>(conn + CONN_PEER_SIZE));
  store<u64>(conn + CONN_TX_SENT, sent);
  const unconfirmed = load<u64>(conn + CONN_RX_CONS) != load<u64>(conn + CONN_RX_CONFIRMED);
  const changed = flags != load<u32>(conn + CONN_TX_FLAGS);
  store<u32>(conn + CONN_TX_FLAGS, flags);
  storeProducer(conn);
  if (unconfirmed || changed) storeConsumer(conn);
  return signal(conn);
}
