/**
 * Receiving: the own ring, read through its consumer cursor.
 *
 * Bytes between the consumer and the producer cursor are the reader's; the peer may still rewrite them (it maps the same
 * pages), so they are copied out before anyone looks at them.
 */
import { cdcSampleProducer, signal, storeConsumer, updateDue } from "./cdc";
import { CURSOR_MASK, cursorAdvance, cursorCount } from "./cursor";
import { CONN_POISONED, EVENT_ILLEGAL, EVENT_SIGNAL, PROD_WRITE_BLOCKED } from "./shared/codes";
import {
  CDC_CONS_OFFSET,
  CONN_LOCAL_RING,
  CONN_LOCAL_SIZE,
  CONN_MODE,
  CONN_PEER,
  CONN_READABLE,
  CONN_RX_CONS,
  CONN_RX_FLAGS,
} from "./shared/layout";

/** Bytes to receive; samples the peer's cursor when none are known. May be stale: there can be more. */
@inline
export function rmbeReadable(conn: usize): u32 {
  const known = load<u32>(conn + CONN_READABLE);
  if (known != 0) return known;
  cdcSampleProducer(conn);
  return load<u32>(conn + CONN_READABLE);
}

/** Address of the first byte to receive. */
@inline
export function rmbeAddress(conn: usize): u32 {
  return load<u32>(conn + CONN_LOCAL_RING) + cursorCount(load<u64>(conn + CONN_RX_CONS));
}

/** Address of the ring's first byte: where the second run begins. */
@inline
export function rmbeStart(conn: usize): u32 {
  return load<u32>(conn + CONN_LOCAL_RING);
}

/** Bytes to receive at rmbeAddress before the end of the ring. */
@inline
export function rmbeRun(conn: usize): u32 {
  const toEnd = load<u32>(conn + CONN_LOCAL_SIZE) - cursorCount(load<u64>(conn + CONN_RX_CONS));
  return min(rmbeReadable(conn), toEnd);
}

/**
 * Gives `length` bytes back to the sender. Traps when that is more than are known to be readable.
 *
 * Returns: EVENT_SIGNAL (and EVENT_RING) when the silly-window rule made it tell the peer, else 0. Without a signal the
 *          cursor stays ours until the next publish or rmbeFlush.
 */
@inline
export function rmbeConsume(conn: usize, length: u32): u32 {
  const readable = load<u32>(conn + CONN_READABLE);
  if (length > readable) {
    if ((load<u32>(conn + CONN_MODE) & CONN_POISONED) != 0) return EVENT_ILLEGAL;
    unreachable();
  }
  const cons = cursorAdvance(load<u64>(conn + CONN_RX_CONS), length, load<u32>(conn + CONN_LOCAL_SIZE));
  store<u64>(conn + CONN_RX_CONS, cons);
  store<u32>(conn + CONN_READABLE, readable - length);
  const due = updateDue(conn);
  if (readable == length) {
    store<u32>(conn + CONN_RX_FLAGS, load<u32>(conn + CONN_RX_FLAGS) & ~PROD_WRITE_BLOCKED);
  }
  if (!due) return 0;
  storeConsumer(conn);
  return EVENT_SIGNAL | signal(conn);
}

/**
 * Shows the peer our consumer cursor without waking it: for a writer that happens to look, and for a survivor that has to
 * know whether we had read everything.
 * differs: the kernel writes CDC only with a signal; a word in shared memory costs no message.
 */
@inline
export function rmbeFlush(conn: usize): void {
  const peer = <usize>load<u32>(conn + CONN_PEER);
  if (peer == 0 || (load<u64>(peer + CDC_CONS_OFFSET) & CURSOR_MASK) == load<u64>(conn + CONN_RX_CONS)) return;
  storeConsumer(conn);
}
