/**
 * The connection block: binds two DMBs and the peer's queue into one connection of a stack.
 *
 * Private to the owning stack. Addresses in it are computed here from checked indices, never taken from a peer.
 */
import { cdcSample, cdcSampleConsumer, cdcSampleProducer, signal, storeConsumer, storeProducer } from "./cdc";
import { bitsOf, summaryOf } from "./cq";
import { dmbBase, dmbLength, dmbOwner, dmbSlot, dmbTouch } from "./dmb";
import { doorbellArm, doorbellDisarm, doorbellWait } from "./doorbell";
import { cursorCount, cursorWrap } from "./cursor";
import {
  ARMED_NOTIFY,
  CONN_ATTACHED,
  CONN_COPY,
  EVENT_READABLE,
  STATUS_OK,
  STATUS_UNKNOWN,
} from "./shared/codes";
import {
  CDC_SIZE,
  CONN_CAPACITY,
  CONN_LOCAL,
  CONN_LOCAL_SIZE,
  CONN_MODE,
  CONN_PEER,
  CONN_PEER_ARMED,
  CONN_PEER_BITS,
  CONN_PEER_MASK,
  CONN_PEER_SIZE,
  CONN_PEER_SUMMARY,
  CONN_PEER_WINDOW,
  CONN_RX_CONFIRMED,
  CONN_RX_CONS,
  CONN_SIZE,
  CONN_SND,
  CONN_SND_SIZE,
  CONN_SND_SPACE,
  CONN_SUMMARY_MASK,
  CONN_TX_FLAGS,
  CONN_TX_PREP,
  CONN_UNSENT,
  STACK_ARMED,
  STACK_CAPACITY,
  STACK_CONNS,
  STACK_PEERS,
  STACK_SIZE,
  STACK_TABLE_OFFSET,
  SUMMARY_SPAN,
} from "./shared/layout";

/** Address of a stack block. */
@inline
export function stackAddress(slot: u32): usize {
  return <usize>(STACK_TABLE_OFFSET + slot * STACK_SIZE);
}

/** Address of a connection block. */
@inline
export function connAddress(stack: u32, slot: u32): usize {
  return stackAddress(stack) + <usize>(STACK_CONNS + slot * CONN_SIZE);
}

/** Clears the block of `slot` and gives it the receive ring `localDmb`. Receiving can start; sending needs connAttach. */
export function connOpen(stack: u32, slot: u32, localDmb: u32): u32 {
  const conn = connAddress(stack, slot);
  memory.fill(conn, 0, CONN_SIZE);
  store<u32>(conn + CONN_LOCAL, dmbBase(localDmb));
  store<u32>(conn + CONN_LOCAL_SIZE, dmbLength(localDmb) - CDC_SIZE);
  return <u32>conn;
}

/**
 * Binds the attached buffer `peerDmb` and, in copy mode, the private send buffer `sndDmb` (-1: attached mode).
 *
 * Returns: STATUS_OK; STATUS_UNKNOWN when the entry of the peer holds values that cannot be.
 */
export function connAttach(stack: u32, conn: u32, peerDmb: u32, sndDmb: i32): i32 {
  const base = dmbBase(peerDmb);
  const owner = dmbOwner(peerDmb);
  const slot = dmbSlot(peerDmb);
  const length = dmbLength(peerDmb);
  if (base == 0 || owner >= STACK_CAPACITY || slot >= CONN_CAPACITY || length < 2 * CDC_SIZE) return STATUS_UNKNOWN;
  const ring = length - CDC_SIZE;
  store<u32>(conn + CONN_PEER, base);
  store<u32>(conn + CONN_PEER_SIZE, ring);
  store<u32>(conn + CONN_PEER_WINDOW, ring);
  if (sndDmb < 0) {
    store<u32>(conn + CONN_MODE, CONN_ATTACHED);
    store<u32>(conn + CONN_SND, base + CDC_SIZE);
    store<u32>(conn + CONN_SND_SIZE, ring);
  } else {
    store<u32>(conn + CONN_MODE, CONN_COPY);
    store<u32>(conn + CONN_SND, dmbBase(sndDmb) + CDC_SIZE);
    store<u32>(conn + CONN_SND_SIZE, dmbLength(sndDmb) - CDC_SIZE);
  }
  store<u32>(conn + CONN_SND_SPACE, load<u32>(conn + CONN_SND_SIZE));
  const peer = stackAddress(owner);
  const word = slot / 64;
  const group = word / SUMMARY_SPAN;
  store<u32>(conn + CONN_PEER_BITS, <u32>bitsOf(peer, stack) + word * 8);
  store<u64>(conn + CONN_PEER_MASK, <u64>1 << <u64>(slot & 63));
  store<u32>(conn + CONN_PEER_SUMMARY, <u32>summaryOf(peer, stack));
  store<u64>(conn + CONN_SUMMARY_MASK, <u64>1 << <u64>group);
  store<u32>(conn + CONN_PEER_ARMED, <u32>peer + STACK_ARMED);
  const own = stackAddress(stack);
  store<u64>(own + STACK_PEERS, load<u64>(own + STACK_PEERS) | (<u64>1 << <u64>owner));
  return STATUS_OK;
}

/** Sets bits of our producer and state flags (producer | state << 8), publishes them with all cursors and signals. */
export function connSignal(conn: u32, flags: u32): u32 {
  store<u32>(conn + CONN_TX_FLAGS, load<u32>(conn + CONN_TX_FLAGS) | flags);
  storeProducer(conn);
  storeConsumer(conn);
  return signal(conn);
}

/** Samples both CDC words; EVENT_* bits. */
export function connSample(conn: u32): u32 {
  return cdcSample(conn);
}

/** Bytes that the peer had not yet consumed when it last showed its cursor; samples first. */
export function connPeerUnread(conn: u32): u32 {
  cdcSampleConsumer(conn);
  return load<u32>(conn + CONN_PEER_SIZE) - load<u32>(conn + CONN_PEER_WINDOW);
}

/** Notes in the peer's DMB entry how much of its ring we have written: before detaching. */
export function connTouched(conn: u32, peerDmb: u32): void {
  const prep = load<u64>(conn + CONN_TX_PREP);
  // Not exact in copy mode or after 65,536 wraps, so anything but a first, attached lap counts as the whole ring.
  const firstLap = cursorWrap(prep) == 0 && (load<u32>(conn + CONN_MODE) & CONN_ATTACHED) != 0;
  dmbTouch(peerDmb, firstLap ? cursorCount(prep) : load<u32>(conn + CONN_PEER_SIZE));
}

/** Whether all that was ever written either way has been consumed and shown: nothing in the send ring is alive. */
export function connDrained(conn: u32): bool {
  cdcSampleConsumer(conn);
  return load<u32>(conn + CONN_UNSENT) == 0 && load<u32>(conn + CONN_PEER_WINDOW) == load<u32>(conn + CONN_PEER_SIZE);
}

/**
 * Blocks the thread until the connection has news or the time is up: bytes to receive, send space, or a state flag.
 *
 * Takes:   timeoutNs < 0 for no limit.
 * Returns: EVENT_* bits; 0 after a wake-up that was not for this connection, or on expiry.
 * Order:   SYNC POINT doorbell: the armed word before the re-check; what was published before the look at the armed word.
 */
export function connWait(stack: u32, conn: u32, timeoutNs: f64): u32 {
  const armed = stackAddress(stack) + STACK_ARMED;
  storeConsumer(conn);
  store<u64>(conn + CONN_RX_CONFIRMED, load<u64>(conn + CONN_RX_CONS));
  doorbellArm(armed, ARMED_NOTIFY);
  let events = cdcSample(conn);
  if (events == 0) {
    doorbellWait(armed, timeoutNs < 0 ? -1 : <i64>timeoutNs);
    events = cdcSample(conn);
  }
  doorbellDisarm(armed);
  return events;
}

/** Spins for at most `turns` looks at both CDC words; EVENT_* bits of the first look that saw something, else 0. */
export function connSpin(conn: u32, turns: u32): u32 {
  for (let i: u32 = 0; i < turns; i++) {
    const events = cdcSample(conn);
    if (events != 0) return events;
  }
  return 0;
}

/** Spins for at most `turns` looks at the producer word; whether there are bytes to receive. */
export function connSpinReadable(conn: u32, turns: u32): bool {
  for (let i: u32 = 0; i < turns; i++) {
    const events = cdcSampleProducer(conn);
    if (events != 0) return (events & EVENT_READABLE) != 0;
  }
  return false;
}
