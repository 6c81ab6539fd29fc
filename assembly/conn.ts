/**
 * The connection block: binds two DMBs and the peer's queue into one connection of a stack.
 *
 * Private to the owning stack. Addresses in it are computed here from checked indices, never taken from a peer.
 */
import { cdcSample, cdcSampleConsumer, signal, storeConsumer, storeProducer } from "./cdc";
import { bitsOf, summaryOf } from "./cq";
import { cursorCount } from "./cursor";
import { dmbCdc, dmbRange } from "./dmb";
import { dmbOwner, dmbPrivate, dmbSlot, dmbTouch, dmbZone } from "./dmb-table";
import { doorbellArm, doorbellDisarm, doorbellWait } from "./doorbell";
import {
  ARMED_BELL,
  ARMED_NOTIFY,
  CONN_ATTACHED,
  CONN_COPY,
  CONN_WRAPPED,
  STATUS_OK,
  STATUS_UNKNOWN,
} from "./shared/codes";
import {
  BOX_BITS,
  BOX_SUMMARY,
  CDC_SIZE,
  CDC_TYPE,
  CONN_CAPACITY,
  CONN_LOCAL,
  CONN_LOCAL_RING,
  CONN_LOCAL_SIZE,
  CONN_MODE,
  CONN_PEER,
  CONN_PEER_ARMED,
  CONN_PEER_BIT,
  CONN_PEER_BITS,
  CONN_PEER_RING,
  CONN_PEER_SIZE,
  CONN_PEER_SUMMARY,
  CONN_PEER_WINDOW,
  CONN_SIZE,
  CONN_SND,
  CONN_SND_SIZE,
  CONN_SND_SPACE,
  CONN_SUMMARY_BIT,
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

/** Clears the block of `slot` and gives it the receive ring `localDmb`; 0 when that entry contradicts the arena. */
export function connOpen(stack: u32, slot: u32, localDmb: u32): u32 {
  const conn = connAddress(stack, slot);
  const range = dmbRange(localDmb);
  if (range == 0) return 0;
  memory.fill(conn, 0, CONN_SIZE);
  store<u32>(conn + CONN_LOCAL, <u32>dmbCdc(localDmb));
  store<u32>(conn + CONN_LOCAL_RING, <u32>range + CDC_SIZE);
  store<u32>(conn + CONN_LOCAL_SIZE, <u32>(range >> 32) - CDC_SIZE);
  return <u32>conn;
}

/**
 * Binds the attached buffer `peerDmb` and, in copy mode, the private send buffer `sndDmb` (-1: attached mode).
 *
 * Takes:   box, the box of the peer's stack where it lives in another process, else 0.
 * Returns: STATUS_OK; STATUS_UNKNOWN when the entry of the peer holds values that cannot be.
 */
export function connAttach(stack: u32, conn: u32, peerDmb: u32, sndDmb: i32, box: u32): i32 {
  const range = dmbRange(peerDmb);
  const owner = dmbOwner(peerDmb);
  const slot = dmbSlot(peerDmb);
  if (range == 0 || owner >= STACK_CAPACITY || slot >= CONN_CAPACITY) return STATUS_UNKNOWN;
  if (dmbZone(peerDmb) < 0 != (box == 0)) return STATUS_UNKNOWN;
  const start = <u32>range + CDC_SIZE;
  const ring = <u32>(range >> 32) - CDC_SIZE;
  const cdc = dmbCdc(peerDmb);
  store<u8>(cdc, CDC_TYPE);
  store<u32>(conn + CONN_PEER, <u32>cdc);
  store<u32>(conn + CONN_PEER_RING, start);
  store<u32>(conn + CONN_PEER_SIZE, ring);
  store<u32>(conn + CONN_PEER_WINDOW, ring);
  if (sndDmb < 0) {
    store<u32>(conn + CONN_MODE, CONN_ATTACHED);
    store<u32>(conn + CONN_SND, start);
    store<u32>(conn + CONN_SND_SIZE, ring);
  } else {
    const own = dmbRange(sndDmb);
    if (own == 0) return STATUS_UNKNOWN;
    const size = <u32>(own >> 32) - CDC_SIZE;
    dmbTouch(sndDmb, size);
    dmbPrivate(sndDmb);
    store<u32>(conn + CONN_MODE, CONN_COPY);
    store<u32>(conn + CONN_SND, <u32>own + CDC_SIZE);
    store<u32>(conn + CONN_SND_SIZE, size);
  }
  store<u32>(conn + CONN_SND_SPACE, load<u32>(conn + CONN_SND_SIZE));
  const peer = box == 0 ? stackAddress(owner) : <usize>box;
  const word = slot / 64;
  const bits = box == 0 ? bitsOf(peer, stack) : peer + BOX_BITS;
  store<u32>(conn + CONN_PEER_BITS, <u32>bits + word * 8);
  store<u32>(conn + CONN_PEER_BIT, slot & 63);
  store<u32>(conn + CONN_PEER_SUMMARY, <u32>(box == 0 ? summaryOf(peer, stack) : peer + BOX_SUMMARY));
  store<u32>(conn + CONN_SUMMARY_BIT, word / SUMMARY_SPAN);
  store<u32>(conn + CONN_PEER_ARMED, <u32>peer + STACK_ARMED);
  if (box == 0) {
    const own = stackAddress(stack);
    store<u64>(own + STACK_PEERS, load<u64>(own + STACK_PEERS) | (<u64>1 << <u64>owner));
  }
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
  // The send cursor is the peer's only in attached mode, so anything but a first, attached lap counts as the whole ring.
  const firstLap = (load<u32>(conn + CONN_MODE) & (CONN_WRAPPED | CONN_ATTACHED)) == CONN_ATTACHED;
  dmbTouch(peerDmb, firstLap ? cursorCount(prep) : load<u32>(conn + CONN_PEER_SIZE));
}

/** Whether all that was ever written either way has been consumed and shown: nothing in the send ring is alive. */
export function connDrained(conn: u32): bool {
  cdcSampleConsumer(conn);
  return load<u32>(conn + CONN_UNSENT) == 0 && load<u32>(conn + CONN_PEER_WINDOW) == load<u32>(conn + CONN_PEER_SIZE);
}

/**
 * Blocks the thread until the connection has news of the kinds in `wanted`, or the time is up.
 *
 * Takes:   timeoutNs < 0 for no limit; wanted, EVENT_* bits.
 * Returns: EVENT_* bits, wanted or not; none wanted after a wake-up that was not for this connection, or on expiry.
 * Order:   SYNC POINT doorbell: the armed word before the re-check; what was published before the look at the armed word.
 */
export function connWait(stack: u32, conn: u32, timeoutNs: f64, wanted: u32): u32 {
  const armed = stackAddress(stack) + STACK_ARMED;
  storeConsumer(conn);
  doorbellArm(armed, ARMED_NOTIFY);
  let events = cdcSample(conn);
  if ((events & wanted) == 0) {
    doorbellWait(armed, timeoutNs < 0 ? -1 : <i64>timeoutNs);
    events |= cdcSample(conn);
  }
  doorbellDisarm(armed);
  return events;
}

/**
 * Arms the doorbell of the own box for a thread that is about to sleep on the bell of that box, and looks once more.
 *
 * Takes:   box, own box for the peer's process. doorDisarm ends it.
 * Returns: EVENT_* bits: the thread sleeps only if there is nothing that it wants.
 * Order:   SYNC POINT doorbell: the armed word before the re-check; what was published before the look at the armed word.
 */
export function connArm(conn: u32, box: u32): u32 {
  storeConsumer(conn);
  doorbellArm(<usize>box + STACK_ARMED, ARMED_BELL);
  return cdcSample(conn);
}

/** Spins for at most `turns` looks at both CDC words, until one sees something `wanted`; all EVENT_* bits seen. */
export function connSpin(conn: u32, turns: u32, wanted: u32): u32 {
  let events: u32 = 0;
  for (let i: u32 = 0; i < turns; i++) {
    events |= cdcSample(conn);
    if ((events & wanted) != 0) break;
  }
  return events;
}
