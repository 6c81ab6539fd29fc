/**
 * The ABI: the only file that exports to the host. Integers in, integers out; the list with types is in README.md.
 */
import { cdcSampleConsumer } from "./cdc";
import {
  connAddress,
  connArm,
  connAttach,
  connDrained,
  connOpen,
  connPeerUnread,
  connSample,
  connSignal,
  connSpin,
  connTouched,
  connWait,
  stackAddress,
} from "./conn";
import { cqPoll as poll } from "./cq";
import { rmbeAddress, rmbeConsume, rmbeFlush, rmbeReadable, rmbeRun, rmbeStart } from "./rmbe";
import { CONN_RX_FLAGS, CONN_SIZE, CONN_UNSENT, LAYOUT_VERSION } from "./shared/layout";
import { sndbufAddress, sndbufMove, sndbufPrepare, sndbufRun, sndbufSpace } from "./sndbuf";

export { arenaBlocks, arenaFreeBlocks, arenaInit } from "./arena";
export { dmbAttach, dmbAttachPeer, dmbAttached, dmbBase, dmbDetach, dmbRegister, dmbUnregister } from "./dmb";
export { dmbReclaim } from "./dmb-reap";
export { dmbLength, dmbOwner, dmbSlot, dmbTokenHi, dmbTokenLo, dmbZone } from "./dmb-table";
export { extentBase, extentBlocks, extentGive, extentKind, extentNumber, extentOpen, extentPair, extentTake } from "./extent";
export {
  claimFree,
  claimMake,
  claimMatch,
  claimMatched,
  claimWithdraw,
  intentBegin,
  intentBegun,
  intentClosed,
  intentOpen,
  listenerEnter,
  listenerFind,
  listenerLeave,
  stackDesk,
} from "./rendezvous";
export {
  doorDisarm,
  doorNudge,
  stackAcquire,
  stackArm,
  stackBell,
  stackBellOf,
  stackCondemn,
  stackControl,
  stackDisarm,
  stackDoor,
  stackGeneration,
  stackInherit,
  stackOfParent,
  stackOfThread,
  stackReap,
  stackSetBox,
  stackSetBell,
  stackStuck,
  stackThread,
} from "./stack";
export {
  connAddress,
  connArm,
  connAttach,
  connDrained,
  connOpen,
  connPeerUnread,
  connSample,
  connSignal,
  connSpin,
  connTouched,
  connWait,
};

export function layoutVersion(): u32 {
  return LAYOUT_VERSION;
}

export function cqPoll(stack: u32): u32 {
  return poll(stackAddress(stack));
}

/** Free bytes of the send ring, in one or two runs. */
export function txSpace(conn: u32, wanted: u32): u32 {
  return sndbufSpace(conn, wanted);
}

export function txRun(conn: u32, wanted: u32): u32 {
  return sndbufRun(conn, wanted);
}

export function txAddress(conn: u32): u32 {
  return sndbufAddress(conn);
}

export function txPrepare(conn: u32, length: u32): void {
  sndbufPrepare(conn, length);
}

export function txPublish(conn: u32): u32 {
  return sndbufMove(conn);
}

/** txPrepare and txPublish in one crossing: the way of a message in one piece. */
export function txSend(conn: u32, length: u32): u32 {
  sndbufPrepare(conn, length);
  return sndbufMove(conn);
}

/** Bytes prepared and not yet in the peer's ring: only in copy mode, while the peer's window is closed. */
export function txUnsent(conn: u32): u32 {
  return load<u32>(conn + CONN_UNSENT);
}

export function rxReadable(conn: u32): u32 {
  return rmbeReadable(conn);
}

export function rxRun(conn: u32): u32 {
  return rmbeRun(conn);
}

export function rxAddress(conn: u32): u32 {
  return rmbeAddress(conn);
}

export function rxStart(conn: u32): u32 {
  return rmbeStart(conn);
}

export function rxConsume(conn: u32, length: u32): u32 {
  return rmbeConsume(conn, length);
}

/** Takes in the peer's consumer cursor and flags; EVENT_* bits. */
export function txRefresh(conn: u32): u32 {
  return cdcSampleConsumer(conn);
}

/** The peer's state-flag byte as last sampled. */
export function connPeerState(conn: u32): u32 {
  return load<u32>(conn + CONN_RX_FLAGS) >> 8;
}

export function rxFlush(conn: u32): void {
  rmbeFlush(conn);
}

/** Copies within the arena: the second half of a staged copy where no plain alias exists. */
export function moveInside(target: u32, source: u32, length: u32): void {
  memory.copy(<usize>target, <usize>source, <usize>length);
}

/** The u32 at `offset` of a connection block, or 0 outside it: for diagnosis. */
export function connPeek(conn: u32, offset: u32): u32 {
  return offset <= CONN_SIZE - 4 ? load<u32>(conn + offset) : 0;
}
