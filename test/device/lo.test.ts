/** The lo device: identity of a stack in its arena, and buffers by token, over the real data plane. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { SmcdDevice } from "../../src/device/device.js";
import { LO_CHID, LoDevice, sizeClassFor } from "../../src/device/lo.js";
import { ARENA_MIB, Rig } from "../assembly/rig.js";

const GID = 0xfedc_ba98_7654_3210n;
const KIB = 1024;

/** Two devices of one arena, and the arena. */
function scene() {
  const rig = new Rig();
  const open = (thread: number): { device: SmcdDevice; stack: number } => {
    const stack = rig.stack(thread);
    return { stack, device: new LoDevice(rig.abi, GID, stack, rig.abi.stackGeneration(stack)) };
  };
  return { rig, left: open(1), right: open(2), open };
}

const test = suite("lo device");

test("size classes: 16 KiB times a power of two, at most 1 MiB", () => {
  const table: [bytes: number, sizeClass: number][] = [
    [0, 0],
    [1, 0],
    [16 * KIB, 0],
    [16 * KIB + 1, 1],
    [32 * KIB, 1],
    [64 * KIB, 2],
    [64 * KIB + 1, 3],
    [512 * KIB, 5],
    [1024 * KIB, 6],
    [2048 * KIB, 6],
  ];
  for (const [bytes, sizeClass] of table) assert.is(sizeClassFor(bytes), sizeClass, `${bytes} bytes`);
});

test("it introduces itself as loopback-ism does: CHID 0xFFFF, the arena's GID, the stack in the extension", () => {
  const { left, right } = scene();
  assert.equal([left.device.name, left.device.chid, LO_CHID], ["lo", 0xffff, 0xffff]);
  assert.equal([left.device.gid, right.device.gid], [GID, GID]);
  assert.is.not(left.device.gidExt, right.device.gidExt);
  assert.is(left.device.gidExt & 0xffn, BigInt(left.stack));
});

test("it reaches the stacks alive in its own arena, and no other", () => {
  const { left, right, open, rig } = scene();
  const { device } = left;
  assert.ok(device.reaches(GID, right.device.gidExt));
  assert.ok(device.reaches(GID, device.gidExt), "itself");
  assert.ok(device.reaches(GID, undefined), "version 1 tells no extension");
  assert.not(device.reaches(GID + 1n, right.device.gidExt));
  assert.not(device.reaches(GID + 1n, undefined));
  assert.not(device.reaches(GID, right.device.gidExt + 1n), "a slot nobody has");
  assert.not(device.reaches(GID, (1n << 64n) - 1n));
  rig.abi.stackReap(right.stack, left.stack);
  assert.not(device.reaches(GID, right.device.gidExt), "the dead");
  const heir = open(3);
  assert.is(heir.stack, right.stack, "the slot is used again");
  assert.not(device.reaches(GID, right.device.gidExt), "a stack that died is not its heir");
  assert.ok(device.reaches(GID, heir.device.gidExt));
});

test("a registered buffer has the size asked for, rounded up, and is attached by its token, once", () => {
  const { left, right, rig } = scene();
  const dmb = left.device.register(7, 40_000)!;
  assert.is(dmb.sizeClass, 2);
  assert.equal([rig.abi.dmbLength(dmb.index), rig.abi.dmbSlot(dmb.index)], [64 * KIB, 7]);
  const attached = right.device.attach(dmb.token);
  assert.is(attached, dmb.index);
  assert.is(right.device.attach(dmb.token), undefined, "one peer only");
  right.device.detach(attached!);
  assert.is(right.device.attach(dmb.token), dmb.index, "after a detach it can be attached again");
});

test("tokens that name no buffer attach nothing", () => {
  const { left, right } = scene();
  const { token, index } = left.device.register(0, 16_384)!;
  for (const wrong of [0n, token ^ 1n, token ^ (1n << 15n), token ^ (1n << 63n), (1n << 64n) - 1n])
    assert.is(right.device.attach(wrong), undefined, wrong.toString(16));
  left.device.unregister(index);
  assert.is(right.device.attach(token), undefined, "a token ends with its buffer");
});

test("10,000 tokens are all different, also for the same table entry", () => {
  const { left } = scene();
  const tokens = new Set<bigint>();
  for (let i = 0; i < 10_000; i++) {
    const { token, index } = left.device.register(0, 16_384)!;
    tokens.add(token);
    left.device.unregister(index);
  }
  assert.is(tokens.size, 10_000);
});

test("where there is no room for the size asked for it gives a smaller one, then none; everything comes back", () => {
  const { left, rig } = scene();
  const before = rig.abi.arenaFreeBlocks();
  const held: number[] = [];
  const sizes = new Map<number, number>();
  for (;;) {
    const dmb = left.device.register(0, 1024 * KIB);
    if (dmb === undefined) break;
    held.push(dmb.index);
    sizes.set(dmb.sizeClass, (sizes.get(dmb.sizeClass) ?? 0) + 1);
    assert.ok(held.length < ARENA_MIB * 64, "the arena is finite");
  }
  assert.is(rig.abi.arenaFreeBlocks(), 0, "smaller buffers fill what is left");
  assert.ok(sizes.get(6)! > 0 && sizes.size > 1, JSON.stringify([...sizes]));
  for (const index of held) left.device.unregister(index);
  assert.is(rig.abi.arenaFreeBlocks(), before);
});

test.run();
