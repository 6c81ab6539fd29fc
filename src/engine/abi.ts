/**
 * The typed face of assembly/index.ts. Arguments and results are u32 (as numbers) unless said otherwise; `conn` is the
 * address of a connection block, as connOpen returned it. What each function does stands at its definition.
 */
export interface Abi {
  readonly memory: WebAssembly.Memory;
  layoutVersion(): number;

  arenaInit(gidLo: number, gidHi: number): number;
  arenaBlocks(): number;
  arenaFreeBlocks(): number;

  /** Results below are i32: an index, or a negative STATUS_*. */
  dmbRegister(
    owner: number,
    sizeClass: number,
    connSlot: number,
    randomLo: number,
    randomHi: number,
    zone?: number,
  ): number;
  dmbAttach(stack: number, tokenLo: number, tokenHi: number): number;
  dmbAttachPeer(stack: number, extent: number, tokenLo: number, tokenHi: number): number;
  dmbReclaim(actor: number, gone: number): number;
  dmbZone(index: number): number;
  dmbAttached(index: number): number;
  dmbDetach(stack: number, index: number): number;
  dmbUnregister(owner: number, index: number): number;
  dmbTokenLo(index: number): number;
  dmbTokenHi(index: number): number;
  dmbBase(index: number): number;
  dmbLength(index: number): number;
  dmbOwner(index: number): number;
  dmbSlot(index: number): number;

  extentTake(blocks: number, kind: number, pair: number, number: number): number;
  extentOpen(index: number): void;
  extentGive(index: number): void;
  extentKind(index: number): number;
  extentPair(index: number): number;
  extentNumber(index: number): number;
  extentBase(index: number): number;
  extentBlocks(index: number): number;

  stackAcquire(thread: number, parent: number): number;
  stackCondemn(slot: number, thread: number, actor: number): number;
  stackInherit(dead: number, heir: number): number;
  stackReap(slot: number, actor: number, spareFresh?: number, keepSlot?: number): number;
  stackGeneration(slot: number): number;
  stackOfThread(thread: number): number;
  stackOfParent(parent: number): number;
  stackThread(slot: number): number;
  stackDoor(slot: number): number;
  stackSetBox(slot: number, n: number, box: number): void;
  doorNudge(door: number, bits: number): number;
  doorDisarm(door: number): void;
  stackControl(slot: number): number;
  stackBell(slot: number): number;
  stackBellOf(slot: number): number;
  stackSetBell(slot: number, descriptorPlusOne: number): void;
  stackArm(slot: number, how: number): number;
  stackDisarm(slot: number): number;
  stackStuck(slot: number): number;

  connAddress(stack: number, slot: number): number;
  connOpen(stack: number, slot: number, localDmb: number): number;
  connAttach(stack: number, conn: number, peerDmb: number, sndDmb: number, box?: number): number;
  connSignal(conn: number, flags: number): number;
  connSample(conn: number): number;
  connPeek(conn: number, offset: number): number;
  connPeerState(conn: number): number;
  connPeerUnread(conn: number): number;
  connTouched(conn: number, peerDmb: number): void;
  connDrained(conn: number): number;
  connArm(conn: number, box: number): number;
  connWait(stack: number, conn: number, timeoutNs: number, wanted: number): number;
  connSpin(conn: number, turns: number, wanted: number): number;

  cqPoll(stack: number): number;

  txSpace(conn: number, wanted: number): number;
  txRun(conn: number, wanted: number): number;
  txAddress(conn: number): number;
  txPrepare(conn: number, length: number): void;
  txPublish(conn: number): number;
  txSend(conn: number, length: number): number;
  txRefresh(conn: number): number;
  txUnsent(conn: number): number;

  rxReadable(conn: number): number;
  rxRun(conn: number): number;
  rxAddress(conn: number): number;
  rxStart(conn: number): number;
  rxConsume(conn: number, length: number): number;
  rxFlush(conn: number): void;

  listenerEnter(stack: number, port: number, wildcard: number): number;
  listenerLeave(stack: number, index: number): void;
  listenerFind(stack: number, port: number, from: number): number;
  /** A desk is an address: stackDesk(), or one in a box. */
  stackDesk(slot: number): number;
  intentBegin(desk: number, acceptor: number): number;
  intentClosed(desk: number, acceptor: number, sequence: number): void;
  intentBegun(desk: number, acceptor: number): number;
  intentOpen(desk: number, acceptor: number, sequence: number): number;
  claimMake(stack: number, desk: number): number;
  claimMatched(desk: number, index: number): number;
  claimWithdraw(desk: number, index: number): number;
  claimFree(desk: number, index: number): void;
  claimMatch(acceptor: number, desk: number): number;

  moveInside(target: number, source: number, length: number): void;
}
