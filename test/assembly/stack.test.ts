/** Stack slots: taken and freed; and reaping, whatever the dead thread was in the middle of. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  ARMED_BELL,
  CONTROL_RENDEZVOUS,
  DMB_BUSY,
  EVENT_RING,
  LISTENER_BUSY,
  STATUS_NO_MEMORY,
  STATUS_OK,
  STATUS_UNKNOWN,
} from "../../assembly/shared/codes.js";
import {
  ARENA_DMBS_OFFSET,
  BLOCK_SIZE,
  BLOCK_TABLE_OFFSET,
  BLOCKS_OFFSET,
  LISTENER_STATE,
  LISTENER_TABLE_OFFSET,
  STACK_ARMED,
  STACK_CAPACITY,
  STACK_OWNER,
  STACK_STATE,
} from "../../assembly/shared/layout.js";
import { stackWord } from "../../src/engine/memory.js";
import { connectPair, Rig } from "./rig.js";

const NOBODY = 0xffffffff;

const slots = suite("stack slots");

slots("given out one by one, then STATUS_NO_MEMORY; a reaped slot is free again, under the next generation", () => {
  const { abi } = new Rig();
  for (let slot = 0; slot < STACK_CAPACITY; slot++) assert.is(abi.stackAcquire(100 + slot, NOBODY), slot);
  assert.is(abi.stackAcquire(999, NOBODY), STATUS_NO_MEMORY);
  assert.is(abi.stackGeneration(17), 1);
  abi.stackReap(17, 0);
  assert.is(abi.stackGeneration(17), 0);
  assert.is(abi.stackAcquire(999, NOBODY), 17);
  assert.is(abi.stackGeneration(17), 2);
});

slots("found by the thread that has them, as long as they live", () => {
  const { abi } = new Rig();
  abi.stackAcquire(7, NOBODY);
  abi.stackAcquire(8, NOBODY);
  assert.is(abi.stackOfThread(8), 1);
  assert.is(abi.stackOfThread(9), -1);
  abi.stackReap(1, 0);
  assert.is(abi.stackOfThread(8), -1);
  assert.is(abi.stackGeneration(STACK_CAPACITY), 0, "no such slot");
});

slots("two threads never get the same one", () => {
  const rig = new Rig();
  const other = rig.instance();
  const taken = new Set<number>();
  for (let i = 0; i < STACK_CAPACITY; i++) taken.add((i % 2 === 0 ? rig.abi : other).stackAcquire(i, NOBODY));
  assert.is(taken.size, STACK_CAPACITY);
});

slots("found by the ancestor of the thread that has them, and told apart by their thread", () => {
  const { abi } = new Rig();
  abi.stackAcquire(0, NOBODY);
  abi.stackAcquire(7, 0);
  abi.stackAcquire(8, 7);
  assert.equal(
    [0, 7, 8].map((thread) => abi.stackOfParent(thread)),
    [1, 2, -1],
  );
  assert.equal(
    [0, 1, 2].map((slot) => abi.stackThread(slot)),
    [0, 7, 8],
  );
  assert.is(abi.stackOfThread(0), 0, "an owner word of 0 is nobody, thread 0 is somebody");
  abi.stackReap(0, 1);
  assert.is(abi.stackOfThread(0), -1);
});

const reaping = suite("reaping");

/** Leaves `slot` as a thread does that was killed with its name on it, before it lived there. */
function leaveHalfTaken(rig: Rig, slot: number, thread: number, parent: number): void {
  rig.setU64(stackWord(slot, STACK_OWNER), BigInt(thread) | (BigInt(parent) << 32n));
}

reaping(
  "killed while taking a slot: nobody else takes it or sees it live, its reaper finds it and gives it back",
  () => {
    const rig = new Rig();
    const { abi } = rig;
    const actor = rig.stack(1);
    abi.stackReap(rig.stack(5), actor);
    leaveHalfTaken(rig, 1, 9, 4);
    assert.is(abi.stackGeneration(1), 0);
    assert.is(abi.stackAcquire(6, NOBODY), 2, "the next free one");
    assert.equal([abi.stackOfThread(9), abi.stackOfParent(4), abi.stackThread(1)], [1, 1, 9]);
    assert.is(abi.stackReap(1, actor), 0);
    assert.equal([abi.stackOfThread(9), abi.stackOfParent(4)], [-1, -1]);
    assert.is(abi.stackAcquire(7, NOBODY), 1);
    assert.is(abi.stackGeneration(1), 2, "a generation is given once, and none is left out");
  },
);

reaping("one of all that want to reap a thread's stack does; a stack of another thread is nobody's to reap", () => {
  const rig = new Rig();
  const elsewhere = rig.instance();
  const [one, other] = [rig.stack(1), rig.stack(2)];
  const dead = rig.stack(3);
  for (const thread of [1, 2, 4]) assert.is(rig.abi.stackCondemn(dead, thread, one), 0);
  assert.equal([rig.abi.stackCondemn(dead, 3, one), elsewhere.stackCondemn(dead, 3, other)], [1, 0]);
  assert.equal([rig.abi.stackGeneration(dead), rig.abi.stackOfThread(3)], [0, -1]);
  assert.is(rig.abi.stackReap(dead, one), 0);
  assert.is(rig.abi.stackCondemn(dead, 3, other), 0, "it is over");
  assert.is(rig.stack(5), dead);
  assert.is(rig.abi.stackCondemn(dead, 3, other), 0, "somebody else's by now");
  assert.is(rig.abi.stackGeneration(dead), 2);
});

reaping("a slot that was only taken is given back by who would reap it", () => {
  const rig = new Rig();
  const actor = rig.stack(1);
  leaveHalfTaken(rig, 1, 9, 4);
  assert.is(rig.abi.stackCondemn(1, 9, actor), 0);
  assert.is(rig.stack(5), 1);
});

reaping("a slot is kept until whoever asked for that frees it", () => {
  const rig = new Rig();
  const actor = rig.stack(1);
  const dead = rig.stack(2);
  rig.register(dead, 0);
  rig.abi.stackCondemn(dead, 2, actor);
  const before = rig.abi.arenaFreeBlocks();
  assert.is(rig.abi.stackReap(dead, actor, 0, 1), 0);
  assert.is(rig.abi.arenaFreeBlocks(), before + 1, "all but the slot is free");
  assert.is(rig.stack(3), dead + 1);
  rig.abi.stackReap(dead, actor);
  assert.is(rig.stack(4), dead);
});

reaping("what a dead reaper was about to reap goes to its heir, each once, and nothing of another's", () => {
  const rig = new Rig();
  const { abi } = rig;
  const [one, other, heir] = [rig.stack(1), rig.stack(2), rig.stack(3)];
  const [first, second, foreign, living] = [rig.stack(4), rig.stack(5), rig.stack(6), rig.stack(7)];
  for (const [slot, thread, actor] of [
    [first, 4, one],
    [second, 5, one],
    [foreign, 6, other],
  ] as const)
    assert.is(abi.stackCondemn(slot, thread, actor), 1);
  abi.stackCondemn(one, 1, heir);
  assert.equal(
    [1, 2, 3].map(() => abi.stackInherit(one, heir)),
    [first, second, -1],
  );
  abi.stackCondemn(heir, 3, other);
  assert.equal([abi.stackInherit(heir, other), abi.stackInherit(heir, other)], [one, first].sort());
  assert.ok(abi.stackGeneration(living) > 0);
});

reaping("a bell is known to be another stack's until the one in the slot has made its own", () => {
  const rig = new Rig();
  const { abi } = rig;
  const actor = rig.stack(1);
  const slot = rig.stack(2);
  assert.is.not(abi.stackBellOf(slot), abi.stackGeneration(slot));
  abi.stackSetBell(slot, 42);
  assert.is(abi.stackBellOf(slot), abi.stackGeneration(slot));
  abi.stackReap(slot, actor);
  assert.is(rig.stack(3), slot);
  assert.equal([abi.stackBell(slot), abi.stackBellOf(slot), abi.stackGeneration(slot)], [42, 1, 2]);
});

reaping("a slot whose reaper has not finished is neither taken nor found", () => {
  const rig = new Rig();
  const { abi } = rig;
  const actor = rig.stack(1);
  const dead = abi.stackAcquire(2, 1);
  rig.register(dead, 0);
  assert.is(abi.stackReap(dead, actor, 1), 1, "its buffer is spared");
  assert.equal([abi.stackOfThread(2), abi.stackOfParent(1), abi.stackGeneration(dead)], [-1, -1, 0]);
  assert.is(abi.stackAcquire(3, NOBODY), 2);
  assert.is(abi.stackReap(dead, actor, 0), 0);
  assert.is(abi.stackAcquire(4, NOBODY), dead);
});

reaping("a slot is free only when all of it is: who takes it finds its last generation", () => {
  const rig = new Rig();
  const { abi } = rig;
  const actor = rig.stack(1);
  const dead = rig.stack(2);
  // As a reaper leaves it between its last two steps.
  rig.setU32(stackWord(dead, STACK_STATE), 1 << 8);
  assert.is(abi.stackAcquire(3, NOBODY), 2);
  abi.stackReap(dead, actor);
  assert.is(abi.stackAcquire(4, NOBODY), dead);
  assert.is(abi.stackGeneration(dead), 2);
});

reaping("listeners, claims, intents, control bits and doorbell of the dead are gone", () => {
  const { abi } = new Rig();
  const actor = abi.stackAcquire(1, NOBODY);
  const dead = abi.stackAcquire(2, NOBODY);
  abi.listenerEnter(dead, 80, 0);
  const desk = abi.stackDesk(dead);
  assert.ok(abi.claimMake(dead, desk) >= 0);
  const sequence = abi.intentBegin(desk, actor);
  assert.is(abi.doorNudge(abi.stackDoor(dead), CONTROL_RENDEZVOUS), 0);
  abi.stackArm(dead, ARMED_BELL);
  abi.stackReap(dead, actor);
  assert.is(abi.listenerFind(actor, 80, 0), -1);
  assert.is(abi.claimMatch(actor, desk), 0);
  assert.is(abi.intentOpen(desk, actor, sequence), 0);
  assert.is(abi.stackAcquire(3, NOBODY), dead);
  assert.is(abi.stackControl(dead), 0);
  assert.is(abi.stackDisarm(dead), 0);
  assert.is(abi.cqPoll(dead), 0);
});

reaping("a sleeper that is told by way of its bell can still be woken afterwards", () => {
  const rig = new Rig();
  const actor = rig.stack(1);
  const sleeper = rig.stack(2);
  const dead = rig.stack(3);
  rig.abi.stackArm(sleeper, ARMED_BELL);
  rig.abi.stackReap(dead, actor);
  const armed = rig.u32(stackWord(sleeper, STACK_ARMED));
  assert.is(armed, ARMED_BELL, "its arming was taken, and nobody was asked to ring");
  assert.is(rig.abi.doorNudge(rig.abi.stackDoor(sleeper), CONTROL_RENDEZVOUS), EVENT_RING);
});

reaping("the bell's descriptor stays with the slot", () => {
  const { abi } = new Rig();
  abi.stackAcquire(1, NOBODY);
  abi.stackSetBell(0, 42);
  abi.stackReap(0, 1);
  assert.is(abi.stackBell(0), 42);
});

reaping("a stack is reaped once: the second time nothing happens to its successor", () => {
  const rig = new Rig();
  const { abi } = rig;
  const actor = rig.stack(1);
  const dead = rig.stack(2);
  abi.stackReap(dead, actor);
  const dmb = rig.register(actor, 0);
  abi.stackReap(dead, actor);
  assert.is(abi.dmbUnregister(actor, dmb), STATUS_OK);
});

reaping("buffers in every phase: the dead one's holds are dropped, others' are kept", () => {
  const rig = new Rig();
  const { abi } = rig;
  const actor = rig.stack(1);
  const dead = rig.stack(2);
  const free = abi.arenaFreeBlocks();
  const alone = rig.register(dead, 3);
  const attached = rig.register(dead, 2);
  rig.attach(actor, attached);
  const foreign = rig.register(actor, 1);
  rig.attach(dead, foreign);
  const orphan = rig.register(actor, 0);
  rig.attach(dead, orphan);
  abi.dmbUnregister(actor, orphan);
  const selfish = rig.register(dead, 0);
  rig.attach(dead, selfish);
  const bystander = rig.register(actor, 0);
  abi.stackReap(dead, actor);
  assert.is(abi.arenaFreeBlocks(), free - 4 - 2 - 1, "what others still hold");
  assert.is(abi.dmbDetach(actor, attached), STATUS_OK);
  assert.is(abi.dmbUnregister(actor, foreign), STATUS_OK);
  assert.is(abi.dmbUnregister(actor, bystander), STATUS_OK);
  for (const gone of [alone, orphan, selfish]) assert.is(abi.dmbUnregister(dead, gone), STATUS_UNKNOWN);
  assert.is(abi.arenaFreeBlocks(), free);
});

/** Leaves entry `index` as a thread does that was killed while it allocated or freed for stack `owner`. */
function leaveBusy(rig: Rig, index: number, owner: number, blocks: readonly number[]): void {
  rig.setU32(rig.entry(index), (1 << 18) | (owner << 4) | DMB_BUSY);
  for (const block of blocks) {
    rig.setU32(BLOCK_TABLE_OFFSET + block * 4, index + 1);
    rig.bytes.fill(0xee, BLOCKS_OFFSET + block * BLOCK_SIZE, BLOCKS_OFFSET + (block + 1) * BLOCK_SIZE);
  }
}

reaping(
  "killed while allocating or freeing: its blocks are found by their tag, zeroed and freed, and the entry is",
  () => {
    const rig = new Rig();
    const { abi } = rig;
    const actor = rig.stack(1);
    const dead = rig.stack(2);
    const free = abi.arenaFreeBlocks();
    rig.setU32(ARENA_DMBS_OFFSET, 8);
    leaveBusy(rig, 5, dead, [100, 101, 107]);
    leaveBusy(rig, 6, actor, [200]);
    abi.stackReap(dead, actor);
    assert.is(rig.u32(rig.entry(5)) & 0xf, 0);
    assert.is(rig.u32(rig.entry(6)) & 0xf, DMB_BUSY, "a living stack's work is left alone");
    assert.is(abi.arenaFreeBlocks(), free - 1);
    for (const block of [100, 101, 107])
      assert.ok(rig.take(BLOCKS_OFFSET + block * BLOCK_SIZE, BLOCK_SIZE).every((byte) => byte === 0));
  },
);

reaping("killed while entering a listener: the entry is free again", () => {
  const rig = new Rig();
  const actor = rig.stack(1);
  const dead = rig.stack(2);
  rig.setU32(LISTENER_TABLE_OFFSET + LISTENER_STATE, (1 << 16) | (dead << 8) | LISTENER_BUSY);
  rig.abi.stackReap(dead, actor);
  assert.is(rig.abi.listenerEnter(actor, 80, 0), 0);
});

reaping("the survivor of a connection can go on publishing into the dead one's buffer until it lets go", () => {
  const rig = new Rig();
  const free = rig.abi.arenaFreeBlocks();
  const left = rig.stack(1);
  const dead = rig.stack(2);
  const pair = connectPair(rig, { mode: "attached" }, left, dead);
  pair.left.write(Buffer.alloc(1000, 1));
  rig.abi.stackReap(dead, left);
  const heir = rig.stack(3);
  assert.is(heir, dead, "the slot has a new stack");
  pair.left.write(Buffer.alloc(1000, 1));
  const fresh = rig.register(heir, 0);
  assert.ok(
    rig.take(rig.base(fresh), BLOCK_SIZE).every((byte) => byte === 0),
    "none of it reaches the heir's buffers",
  );
  assert.is(rig.abi.dmbUnregister(heir, fresh), STATUS_OK);
  rig.abi.stackReap(left, heir);
  assert.is(rig.abi.arenaFreeBlocks(), free);
});

slots.run();
reaping.run();
