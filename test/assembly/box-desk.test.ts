/**
 * The desk of a box, where a stack announces itself to acceptors of one other process; and what becomes of a box when its
 * stack ends.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ARMED_BELL, ARMED_NONE, CONTROL_DETACHED, EXTENT_BOX } from "../../assembly/shared/codes.js";
import {
  BLOCK_SIZE,
  BOX_BITS,
  BOX_BLOCKS,
  BOX_DESK,
  BOX_SUMMARY,
  CLAIM_SIZE,
  CLAIM_STATE,
  DESK_CLAIMS,
  PENDING_BYTES,
  STACK_ARMED,
  STACK_CONTROL,
} from "../../assembly/shared/layout.js";
import { keyView } from "../../src/engine/memory.js";
import { ALL, Board } from "./boxes.js";
import { Extent } from "./extents.js";
import type { Rig } from "./rig.js";

const desks = suite("desk of a box");

/** Writes the 4-tuple of client port `port` as the key argument of `stack`. */
function key(rig: Rig, stack: number, port: number): void {
  const view = keyView(rig.memory, stack);
  for (let i = 0; i < 40; i += 4) view.setUint32(i, 0, true);
  view.setUint16(32, port, true);
}

desks("a claim on a box's desk is matched there, once, and on no other desk", () => {
  const board = new Board();
  const { abi, rig, owner } = board;
  const peer = board.meet(4);
  const [desk, elsewhere] = [peer.word(BOX_DESK), board.meet(5).word(BOX_DESK)];
  key(rig, owner, 5000);
  const index = abi.claimMake(owner, desk);
  assert.ok(index >= 0);
  key(rig, peer.stack, 5000);
  for (const wrong of [elsewhere, abi.stackDesk(owner)]) assert.is(abi.claimMatch(peer.stack, wrong), 0);
  assert.is(abi.claimMatched(desk, index), 0);
  assert.is(abi.claimMatch(peer.stack, desk), 1);
  assert.is(abi.claimMatch(peer.stack, desk), 0);
  assert.is(abi.claimMatched(desk, index), 1);
  assert.is(abi.claimWithdraw(desk, index), 0);
  abi.claimFree(desk, index);
  assert.is(abi.claimMatched(desk, index), 0);
});

desks("an intent on a box's desk is open there alone", () => {
  const board = new Board();
  const { abi, owner } = board;
  const desk = board.meet(4).word(BOX_DESK);
  const sequence = abi.intentBegin(desk, 63);
  assert.is(abi.intentOpen(desk, 63, abi.intentBegun(desk, 63)), 1);
  for (const [where, acceptor] of [
    [desk, 62],
    [abi.stackDesk(owner), 63],
  ] as const)
    assert.is(abi.intentOpen(where, acceptor, abi.intentBegun(where, acceptor)), 0);
  abi.intentClosed(desk, 63, sequence);
  assert.is(abi.intentOpen(desk, 63, sequence), 0);
});

desks("the box is taken over by a later stack: claims and intents have ended, and a stale match fails", () => {
  const board = new Board();
  const { abi, rig, owner } = board;
  const peer = board.meet(4);
  const desk = peer.word(BOX_DESK);
  key(rig, owner, 5000);
  const index = abi.claimMake(owner, desk);
  const sequence = abi.intentBegin(desk, 7);
  const state = desk + DESK_CLAIMS + index * CLAIM_SIZE + CLAIM_STATE;
  const stale = rig.u32(state);
  abi.stackSetBox(owner, 4, peer.box);
  assert.is(abi.intentOpen(desk, 7, sequence), 0);
  key(rig, peer.stack, 5000);
  assert.is(abi.claimMatch(peer.stack, desk), 0);
  assert.is(abi.claimMake(owner, desk), index);
  assert.is(rig.u32(state) >>> 4, (stale >>> 4) + 1, "the generation goes on");
});

const reaping = suite("boxes of a dead stack");

reaping("posts, control bits, doorbell, claims and intents are gone; other stacks' boxes are not touched", () => {
  const board = new Board();
  const { abi, rig, owner } = board;
  const peer = board.meet(4);
  const actor = peer.stack;
  const others = new Extent(rig, EXTENT_BOX, BOX_BLOCKS, 4);
  abi.stackSetBox(actor, 4, others.base);
  key(rig, owner, 5000);
  const desk = peer.word(BOX_DESK);
  abi.claimMake(owner, desk);
  const sequence = abi.intentBegin(desk, actor);
  abi.stackArm(owner, ARMED_BELL);
  peer.post(5);
  rig.setU32(peer.word(STACK_ARMED), ARMED_BELL);
  for (const door of [peer.box, others.base]) abi.doorNudge(door, CONTROL_DETACHED);
  rig.setU32(others.base + STACK_ARMED, ARMED_BELL);
  abi.stackReap(owner, actor);
  for (const offset of [STACK_ARMED, STACK_CONTROL, BOX_SUMMARY]) assert.is(rig.u32(peer.word(offset)), 0, `${offset}`);
  assert.ok(rig.take(peer.word(BOX_BITS), PENDING_BYTES).every((byte) => byte === 0));
  assert.is(abi.intentOpen(desk, actor, sequence), 0);
  key(rig, actor, 5000);
  assert.is(abi.claimMatch(actor, desk), 0);
  assert.is(rig.u32(others.base + STACK_ARMED), ARMED_BELL);
  assert.is(abi.stackControl(actor), CONTROL_DETACHED);
});

reaping("the heir of the slot has no boxes", () => {
  const board = new Board();
  const peer = board.meet(4);
  board.abi.stackReap(board.owner, peer.stack);
  assert.is(board.rig.stack(77), board.owner);
  peer.post(5);
  peer.nudge(CONTROL_DETACHED);
  assert.equal(board.poll(), []);
  assert.is(board.abi.stackControl(board.owner), 0);
  assert.is(board.abi.stackArm(board.owner, ARMED_BELL), 1);
  assert.is(peer.armed(), ARMED_NONE);
});

reaping("a box that was given up before is not cleared, nor anything in its place", () => {
  const board = new Board();
  const peer = board.meet(4);
  board.abi.stackSetBox(board.owner, 4, 0);
  const before = board.rig.take(0, BLOCK_SIZE);
  peer.flood();
  board.abi.stackReap(board.owner, peer.stack);
  assert.equal(board.rig.take(0, BLOCK_SIZE), before, "the arena's header");
  assert.is(board.rig.u64(peer.word(BOX_SUMMARY)), ALL);
});

desks.run();
reaping.run();
