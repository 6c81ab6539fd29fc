/** The lo device: identity of a stack in its arena, and buffers by token, over the real data plane. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { STATUS_OK } from "../../assembly/shared/codes.js";
import { sizeClassFor } from "../../src/device/dmb-size.js";
import { LO_CHID, LoDevice } from "../../src/device/lo.js";
import { ARENA_MIB, Rig } from "../assembly/rig.js";

const GID = 0xfedc_ba98_7654_3210n;
const KIB = 1024;

/** Two devices of one arena, and the arena. */
function scene() {
  const rig = new Rig();
  /** Slots whose bells were rung, in order. */
  const rung: number[] = [];
  const open = (thread: number): { device: LoDevice; stack: number } => {
    const stack = rig.stack(thread);
    const generation = rig.abi.stackGeneration(stack);
    return { stack, device: new LoDevice(rig.abi, GID, stack, generation, (slot) => rung.push(slot)) };
  };
  return { rig, rung, left: open(1), right: open(2), open };
}

const reaches = (device: LoDevice, gid: bigint, gidExt: bigint | undefined): boolean =>
  device.toward(gid, gidExt) !== undefined;

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
  assert.ok(reaches(device, GID, right.device.gidExt));
  assert.ok(reaches(device, GID, device.gidExt), "itself");
  assert.ok(reaches(device, GID, undefined), "version 1 tells no extension");
  assert.not(reaches(device, GID + 1n, right.device.gidExt));
  assert.not(reaches(device, GID + 1n, undefined));
  assert.not(reaches(device, GID, right.device.gidExt + 1n), "a slot nobody has");
  assert.not(reaches(device, GID, (1n << 64n) - 1n));
  rig.abi.stackReap(right.stack, left.stack);
  assert.not(reaches(device, GID, right.device.gidExt), "the dead");
  const heir = open(3);
  assert.is(heir.stack, right.stack, "the slot is used again");
  assert.not(reaches(device, GID, right.device.gidExt), "a stack that died is not its heir");
  assert.ok(reaches(device, GID, heir.device.gidExt));
});

test("a registered buffer has the size asked for, rounded up, and is attached by its token, once", () => {
  const { left, right, rig } = scene();
  const dmb = left.device.register(7, 40_000)!;
  assert.is(dmb.sizeClass, 2);
  assert.equal([rig.abi.dmbLength(dmb.index), rig.abi.dmbSlot(dmb.index)], [64 * KIB, 7]);
  const attached = right.device.attach(dmb.token);
  assert.is(attached, dmb.index);
  assert.is(right.device.attach(dmb.token), undefined, "one peer only");
  assert.is(rig.abi.dmbDetach(right.stack, attached!), STATUS_OK);
  assert.is(right.device.attach(dmb.token), dmb.index, "after a detach it can be attached again");
});

test("the peer of an attached buffer is the stack that owns it: one object for all its connections, gone when it ends", () => {
  const { left, right, rig, rung, open } = scene();
  const attach = (): number => right.device.attach(left.device.register(0, 16_384)!.token)!;
  const peer = right.device.peerOf(attach());
  assert.is(right.device.peerOf(attach()), peer);
  assert.equal([peer.remote, peer.box, peer.gone], [false, 0, false]);
  peer.ring();
  assert.equal(rung, [left.stack]);
  rig.abi.stackReap(left.stack, right.stack);
  assert.ok(peer.gone);
  const heir = open(3);
  assert.is(heir.stack, left.stack);
  assert.ok(peer.gone, "an heir of its slot is somebody else");
  const next = right.device.peerOf(right.device.attach(heir.device.register(0, 16_384)!.token)!);
  assert.is.not(next, peer);
  assert.not(next.gone);
});

test("tokens that name no buffer attach nothing", () => {
  const { left, right, rig } = scene();
  const { token, index } = left.device.register(0, 16_384)!;
  for (const wrong of [0n, token ^ 1n, token ^ (1n << 15n), token ^ (1n << 63n), (1n << 64n) - 1n])
    assert.is(right.device.attach(wrong), undefined, wrong.toString(16));
  rig.abi.dmbUnregister(left.stack, index);
  assert.is(right.device.attach(token), undefined, "a token ends with its buffer");
});

test("10,000 tokens are all different, also for the same table entry", () => {
  const { left, rig } = scene();
  const tokens = new Set<bigint>();
  for (let i = 0; i < 10_000; i++) {
    const { token, index } = left.device.register(0, 16_384)!;
    tokens.add(token);
    rig.abi.dmbUnregister(left.stack, index);
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
  for (const index of held) rig.abi.dmbUnregister(left.stack, index);
  assert.is(rig.abi.arenaFreeBlocks(), before);
});

test.run();
