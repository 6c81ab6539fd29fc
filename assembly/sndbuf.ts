/**
 * Sending: the send ring, its cursors, and the mover.
 *
 * In attached mode (nocopy) the send ring *is* the peer's ring: bytes prepared are in place, and space returns only with
 * the peer's consumer cursor. In copy mode it is a private ring, and the mover copies into the peer's ring as far as its
 * window reaches. Everything else is the same code. Source: smc-protocol §4.5-4.6, 5.7.
 */
import { cdcProduce, cdcSampleConsumer } from "./cdc";
import { cursorAdvance, cursorCount, cursorWrap } from "./cursor";
import { CONN_COPY, CONN_POISONED, CONN_WRAPPED, EVENT_ILLEGAL, PROD_WRITE_BLOCKED } from "./shared/codes";
import {
  CONN_MODE,
  CONN_PEER_RING,
  CONN_PEER_SIZE,
  CONN_PEER_WINDOW,
  CONN_SND,
  CONN_SND_SIZE,
  CONN_SND_SPACE,
  CONN_TX_FLAGS,
  CONN_TX_PREP,
  CONN_TX_SENT,
  CONN_UNSENT,
} from "./shared/layout";

/** Free bytes of the send ring; looks at the peer's cursor when fewer than `wanted` are known. */
@inline
export function sndbufSpace(conn: usize, wanted: u32): u32 {
  const space = load<u32>(conn + CONN_SND_SPACE);
  if (space >= wanted) return space;
  cdcSampleConsumer(conn);
  return load<u32>(conn + CONN_SND_SPACE);
}

/** Address of the next byte to prepare. */
@inline
export function sndbufAddress(conn: usize): u32 {
  return load<u32>(conn + CONN_SND) + cursorCount(load<u64>(conn + CONN_TX_PREP));
}

/** Free bytes at sndbufAddress before the end of the ring, at most `wanted`. */
@inline
export function sndbufRun(conn: usize, wanted: u32): u32 {
  const space = sndbufSpace(conn, wanted);
  const toEnd = load<u32>(conn + CONN_SND_SIZE) - cursorCount(load<u64>(conn + CONN_TX_PREP));
  return min(min(space, wanted), toEnd);
}

/** Counts `length` bytes at sndbufAddress as prepared. Traps when that is more than the space known; poisoned: nothing. */
@inline
export function sndbufPrepare(conn: usize, length: u32): void {
  const space = load<u32>(conn + CONN_SND_SPACE);
  if (length > space) {
    if ((load<u32>(conn + CONN_MODE) & CONN_POISONED) != 0) return;
    unreachable();
  }
  const prep = cursorAdvance(load<u64>(conn + CONN_TX_PREP), length, load<u32>(conn + CONN_SND_SIZE));
  if (cursorWrap(prep) != cursorWrap(load<u64>(conn + CONN_TX_PREP))) {
    store<u32>(conn + CONN_MODE, load<u32>(conn + CONN_MODE) | CONN_WRAPPED);
  }
  store<u64>(conn + CONN_TX_PREP, prep);
  store<u32>(conn + CONN_SND_SPACE, space - length);
  store<u32>(conn + CONN_UNSENT, load<u32>(conn + CONN_UNSENT) + length);
}

/** Copies `length` unsent bytes of the private ring into the peer's: at most two pieces on either side. */
function moveData(conn: usize, length: u32): void {
  const source = <usize>load<u32>(conn + CONN_SND);
  const sourceSize = load<u32>(conn + CONN_SND_SIZE);
  const target = <usize>load<u32>(conn + CONN_PEER_RING);
  const targetSize = load<u32>(conn + CONN_PEER_SIZE);
  let to = cursorCount(load<u64>(conn + CONN_TX_SENT));
  // The unsent bytes end at prep, so they begin that far before it.
  const prep = cursorCount(load<u64>(conn + CONN_TX_PREP));
  const unsent = load<u32>(conn + CONN_UNSENT);
  let from = prep >= unsent ? prep - unsent : prep + sourceSize - unsent;
  while (length > 0) {
    const piece = min(length, min(sourceSize - from, targetSize - to));
    memory.copy(target + <usize>to, source + <usize>from, <usize>piece);
    from = from + piece == sourceSize ? 0 : from + piece;
    to = to + piece == targetSize ? 0 : to + piece;
    length -= piece;
  }
}

/**
 * The mover: brings what is prepared to the peer as far as its window reaches, publishes and signals.
 *
 * The window counts as exhausted, and the write-blocked flag goes along, when nothing of it is left.
 * Returns: EVENT_RING | EVENT_ILLEGAL bits, or 0.
 */
@inline
export function sndbufMove(conn: usize): u32 {
  if ((load<u32>(conn + CONN_MODE) & CONN_POISONED) != 0) return EVENT_ILLEGAL;
  const unsent = load<u32>(conn + CONN_UNSENT);
  if (unsent == 0) return 0;
  let events: u32 = 0;
  if (load<u32>(conn + CONN_PEER_WINDOW) < unsent) events = cdcSampleConsumer(conn) & EVENT_ILLEGAL;
  const window = load<u32>(conn + CONN_PEER_WINDOW);
  if (window == 0) return events;
  const length = min(unsent, window);
  const copy = (load<u32>(conn + CONN_MODE) & CONN_COPY) != 0;
  if (copy) moveData(conn, length);
  store<u32>(conn + CONN_UNSENT, unsent - length);
  store<u32>(conn + CONN_PEER_WINDOW, window - length);
  if (copy) store<u32>(conn + CONN_SND_SPACE, load<u32>(conn + CONN_SND_SPACE) + length);
  const flags = load<u32>(conn + CONN_TX_FLAGS) & ~PROD_WRITE_BLOCKED;
  return events | cdcProduce(conn, length, unsent >= window ? flags | PROD_WRITE_BLOCKED : flags);
}
