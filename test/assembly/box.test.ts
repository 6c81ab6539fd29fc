/**
 * Boxes: what stacks of another process write for one of this process. Posts, doorbell and control bits work as in a stack
 * block; whatever a peer writes into its box, it wakes its own connections for nothing and keeps nobody else waiting.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  ARMED_BELL,
  ARMED_NONE,
  ARMED_NOTIFY,
  CONTROL_DETACHED,
  CONTROL_RENDEZVOUS,
  EVENT_READABLE,
  EVENT_RING,
} from "../../assembly/shared/codes.js";
import {
  BOX_BITS,
  BOX_SUMMARY,
  CONN_CAPACITY,
  PENDING_BYTES,
  STACK_ARMED,
  STACK_CONTROL,
  STACK_READY,
  STACK_SUMMARY,
} from "../../assembly/shared/layout.js";
import { stackWord } from "../../src/engine/memory.js";
import { prngFor } from "../support/prng.js";
import { ALL, Board } from "./boxes.js";
import { connectPair } from "./rig.js";

const posts = suite("posts through a box");

posts("polled once, at the slot that the buffer names, by the owner of the box alone", () => {
  const board = new Board();
  const peer = board.meet(0);
  const bystander = board.meet(63);
  const edges = [0, 63, 64, 255, 256, 511, CONN_CAPACITY - 257, CONN_CAPACITY - 1];
  for (const slot of edges) {
    peer.post(slot);
    peer.post(slot);
    for (const other of [peer, bystander]) assert.is(board.abi.cqPoll(other.stack), 0);
    assert.equal(board.poll(), [slot]);
    assert.equal(board.poll(), []);
  }
  for (const slot of edges) peer.post(slot);
  assert.equal(board.drain(), edges);
});

posts("of several processes and of stacks of this one: each is ready", () => {
  const board = new Board();
  const peers = [board.meet(3), board.meet(40), board.meet(7)];
  const pair = connectPair(board.rig, { mode: "attached" }, board.rig.stack(99), board.owner);
  peers.forEach((peer, i) => void peer.post(10_000 + i));
  pair.left.write(Buffer.from("x"));
  assert.equal(board.drain(), [pair.right.slot, 10_000, 10_001, 10_002]);
});

posts("a box that is gone is not looked at any more, nor armed; one in its place begins empty", () => {
  const board = new Board();
  const peer = board.meet(5);
  board.abi.stackSetBox(board.owner, 5, 0);
  peer.post(7);
  peer.nudge(CONTROL_DETACHED);
  assert.equal(board.poll(), []);
  assert.is(board.abi.stackControl(board.owner), 0);
  assert.is(board.abi.stackArm(board.owner, ARMED_BELL), 1);
  assert.is(peer.armed(), ARMED_NONE);
  board.rig.setU32(peer.word(STACK_ARMED), ARMED_BELL);
  board.abi.stackSetBox(board.owner, 5, peer.box);
  assert.equal(board.poll(), [], "posts to the stack before");
  assert.is(board.abi.stackControl(board.owner), 0);
  assert.is(peer.armed(), ARMED_NONE);
  peer.post(8);
  assert.equal(board.poll(), [8]);
});

posts("one of many boxes goes: the others stay", () => {
  const board = new Board();
  const peers = [0, 1, 31, 32, 63].map((n) => board.meet(n));
  board.abi.stackSetBox(board.owner, 31, 0);
  peers.forEach((peer, i) => void peer.post(100 + i));
  assert.equal(board.drain(), [100, 101, 103, 104]);
});

posts("a summary without bits is ready with nothing; bits without a summary are left alone", () => {
  const board = new Board();
  const peer = board.meet(1);
  board.rig.setU64(peer.word(BOX_SUMMARY), ALL);
  assert.equal(board.poll(), []);
  assert.is(board.rig.u64(peer.word(BOX_SUMMARY)), 0n);
  peer.flood();
  board.rig.setU64(peer.word(BOX_SUMMARY), 0n);
  assert.equal(board.poll(), []);
});

posts(
  "every bit of every box is set: the ready list ends where it ends, and the rest comes with the next polls",
  () => {
    const board = new Board();
    const peers = [board.meet(2), board.meet(50), board.meet(63)];
    const untouched = stackWord(board.owner, STACK_READY) + CONN_CAPACITY * 4;
    board.rig.bytes.fill(0x5a, untouched, untouched + 64);
    const after = peers.map((peer) => peer.word(BOX_BITS + PENDING_BYTES));
    for (const address of after) board.rig.bytes.fill(0xa5, address, address + 64);
    for (const peer of peers) peer.flood();
    const slots = board.drain();
    assert.is(slots.length, 3 * CONN_CAPACITY);
    for (let i = 0; i < slots.length; i++) assert.is(slots[i], Math.floor(i / 3), "each slot once for each box");
    assert.ok(board.rig.take(untouched, 64).every((byte) => byte === 0x5a));
    for (const address of after)
      assert.ok(
        board.rig.take(address, 64).every((byte) => byte === 0xa5),
        "behind the bits",
      );
  },
);

posts("a box that is flooded keeps neither another box nor a stack of this process from being served", () => {
  const board = new Board();
  const [low, flooder, high] = [board.meet(1), board.meet(20), board.meet(60)];
  const pair = connectPair(board.rig, { mode: "attached" }, board.rig.stack(99), board.owner);
  for (const honest of [low, high]) honest.post(9);
  pair.left.write(Buffer.from("x"));
  for (let poll = 0; poll < 8; poll++) {
    flooder.flood();
    board.poll();
  }
  for (const honest of [low, high]) assert.is(board.rig.u64(honest.word(BOX_SUMMARY)), 0n, `box ${honest.pair}`);
  assert.is(board.rig.u64(stackWord(board.owner, STACK_SUMMARY) + pair.left.stack * 64), 0n);
});

const doors = suite("doorbell of a box");

doors("arming arms the stack and every box; disarming disarms them", () => {
  const board = new Board();
  const peers = [board.meet(0), board.meet(33), board.meet(63)];
  assert.is(board.abi.stackArm(board.owner, ARMED_BELL), 1);
  assert.equal([board.armed(), ...peers.map((peer) => peer.armed())], [2, 2, 2, 2]);
  assert.is(board.abi.stackDisarm(board.owner), 1);
  assert.equal([board.armed(), ...peers.map((peer) => peer.armed())], [0, 0, 0, 0]);
});

doors("news in any box: it must not sleep, and all is disarmed again", () => {
  const board = new Board();
  const peers = [board.meet(0), board.meet(33), board.meet(63)];
  const disarmed = (): void =>
    assert.equal([board.armed(), ...peers.map((peer) => peer.armed())], [0, 0, 0, 0], "awake");
  for (const peer of peers) {
    peer.post(1);
    assert.is(board.abi.stackArm(board.owner, ARMED_BELL), 0);
    disarmed();
    board.poll();
    peer.nudge(CONTROL_RENDEZVOUS);
    assert.is(board.abi.stackArm(board.owner, ARMED_NOTIFY), 0);
    disarmed();
    assert.is(board.abi.stackControl(board.owner), CONTROL_RENDEZVOUS);
    assert.is(board.abi.stackArm(board.owner, ARMED_BELL), 1, "taken: no news any more");
    board.abi.stackDisarm(board.owner);
  }
});

doors("each process that has news for a sleeper rings once; one that finds it awake does not", () => {
  const board = new Board();
  const [left, right] = [board.meet(4), board.meet(5)];
  assert.is(left.post(1), 0);
  board.poll();
  board.abi.stackArm(board.owner, ARMED_BELL);
  assert.is(left.post(1), EVENT_RING);
  assert.is(left.post(2), 0, "its ring is under way");
  assert.is(left.nudge(CONTROL_DETACHED), 0);
  assert.is(right.nudge(CONTROL_DETACHED), EVENT_RING, "it has a bell of its own");
  assert.is(board.abi.stackDisarm(board.owner), 1, "no stack of this process had rung");
});

doors("control bits of the stack and of all boxes are taken together, once", () => {
  const board = new Board();
  const [left, right] = [board.meet(4), board.meet(5)];
  left.nudge(CONTROL_DETACHED);
  right.nudge(CONTROL_RENDEZVOUS);
  assert.is(board.abi.stackControl(board.owner), CONTROL_DETACHED | CONTROL_RENDEZVOUS);
  assert.is(board.abi.stackControl(board.owner), 0);
  left.nudge(CONTROL_DETACHED);
  board.abi.doorNudge(board.abi.stackDoor(board.owner), CONTROL_RENDEZVOUS);
  assert.is(board.abi.stackControl(board.owner), CONTROL_DETACHED | CONTROL_RENDEZVOUS);
});

doors("news behind a door that is still armed is stuck; behind one that was rung it is not", () => {
  const board = new Board();
  const [left, right] = [board.meet(4), board.meet(5)];
  board.abi.stackArm(board.owner, ARMED_BELL);
  assert.is(board.abi.stackStuck(board.owner), 0);
  left.post(1);
  assert.is(board.abi.stackStuck(board.owner), 0, "it has rung");
  board.rig.setU64(right.word(BOX_SUMMARY), 1n);
  assert.is(board.abi.stackStuck(board.owner), 1, "it has not");
  board.abi.stackDisarm(board.owner);
  assert.is(board.abi.stackStuck(board.owner), 0);
});

doors("a thread that sleeps on one box's bell arms that box alone, and shows what it has consumed", () => {
  const board = new Board();
  const [left, right] = [board.meet(4), board.meet(5)];
  const pair = connectPair(board.rig, { mode: "attached" }, board.rig.stack(99), board.owner);
  const { conn } = pair.right;
  assert.is(board.abi.connArm(conn, left.box), 0);
  assert.equal([left.armed(), right.armed(), board.armed()], [ARMED_BELL, ARMED_NONE, ARMED_NONE]);
  board.abi.doorDisarm(left.box);
  assert.is(left.armed(), ARMED_NONE);
  pair.left.write(Buffer.alloc(100));
  assert.is(board.abi.connArm(conn, left.box), EVENT_READABLE, "looked at after arming");
  pair.right.read(100);
  board.abi.connArm(conn, left.box);
  pair.left.abi.txRefresh(pair.left.conn);
  assert.is(pair.left.abi.connDrained(pair.left.conn), 1);
});

doors("random words in a box: polls give slots in range, and nothing traps or spreads", () => {
  const board = new Board();
  const { abi, rig } = board;
  const hostile = board.meet(4);
  const honest = board.meet(5);
  const prng = prngFor("hostile box");
  const u64 = (): bigint => (BigInt(prng.u32()) << 32n) | BigInt(prng.u32());
  for (let attempt = 0; attempt < 50_000; attempt++) {
    switch (prng.below(4)) {
      case 0:
        rig.setU64(hostile.word(BOX_BITS) + prng.below(PENDING_BYTES / 8) * 8, u64());
        break;
      case 1:
        rig.setU64(hostile.word(BOX_SUMMARY), u64());
        break;
      case 2:
        rig.setU32(hostile.word(STACK_ARMED), prng.u32());
        break;
      default:
        rig.setU32(hostile.word(STACK_CONTROL), prng.u32());
    }
    abi.stackArm(board.owner, ARMED_BELL);
    abi.stackStuck(board.owner);
    for (const slot of board.poll()) assert.ok(slot < CONN_CAPACITY);
    abi.stackControl(board.owner);
    abi.stackDisarm(board.owner);
  }
  assert.equal([honest.armed(), board.armed()], [ARMED_NONE, ARMED_NONE]);
  abi.stackArm(board.owner, ARMED_BELL);
  assert.is(honest.post(3), EVENT_RING);
  assert.ok(board.drain().includes(3));
});

posts.run();
doors.run();
