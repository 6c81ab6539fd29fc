/** Extents: taken from the arena and given back whole; DMBs in them: where they are allocated, and what their heads say. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  EXTENT_BOX,
  EXTENT_BUSY,
  EXTENT_FREE,
  EXTENT_GIVING,
  EXTENT_OWN,
  EXTENT_PEER,
  HEAD_FREE,
  HEAD_REGISTERED,
  STATUS_NO_MEMORY,
  STATUS_OK,
} from "../../assembly/shared/codes.js";
import {
  BLOCK_SIZE,
  BLOCK_TABLE_OFFSET,
  BLOCKS_OFFSET,
  CDC_SIZE,
  EXTENT_CAPACITY,
  EXTENT_MOST_BLOCKS,
  EXTENT_SIZE,
  EXTENT_STATE,
  EXTENT_TABLE_OFFSET,
  EXTENT_TAG,
  HEAD_LENGTH,
  HEAD_SIZE,
  HEAD_SLOT,
  HEAD_STACK,
  HEAD_TOKEN,
  HEAD_TOUCHED,
} from "../../assembly/shared/layout.js";
import type { Abi } from "../../src/engine/abi.js";
import { Extent, ownExtent } from "./extents.js";
import { Rig } from "./rig.js";

let rig: Rig;
let abi: Abi;
let owner: number;

function scene(): void {
  rig = new Rig();
  abi = rig.abi;
  owner = rig.stack(1);
}

/** Registers as many DMBs of a size class as there are. */
function fill(extent: Extent, sizeClass: number): number[] {
  const taken: number[] = [];
  for (let dmb = extent.register(owner, sizeClass); dmb >= 0; dmb = extent.register(owner, sizeClass)) {
    taken.push(dmb);
    assert.ok(taken.length <= extent.blocks, "an extent is finite");
  }
  return taken;
}

const extents = suite("extents");
extents.before.each(scene);

extents("taken from the arena's blocks, aligned to their size, and given back whole", () => {
  const taken = [1, 16, 64, EXTENT_MOST_BLOCKS].map(
    (blocks, i) => new Extent(rig, EXTENT_PEER, blocks, 60 + i, 63 - i),
  );
  assert.is(abi.arenaFreeBlocks(), rig.blocks - 1 - 16 - 64 - EXTENT_MOST_BLOCKS);
  for (const { index, kind, blocks, pair, number, base } of taken) {
    assert.equal(
      [abi.extentKind(index), abi.extentPair(index), abi.extentNumber(index), abi.extentBlocks(index)],
      [kind, pair, number, blocks],
    );
    assert.is((base - BLOCKS_OFFSET) % (blocks * BLOCK_SIZE), 0);
  }
  for (const { index } of taken) {
    abi.extentGive(index);
    assert.is(abi.extentKind(index), EXTENT_FREE);
    abi.extentGive(index);
  }
  assert.is(abi.arenaFreeBlocks(), rig.blocks);
  assert.is(new Extent(rig, EXTENT_BOX, 16).index, taken[0]!.index, "and its place in the table is used again");
});

extents("more than the arena has, or than the table holds: STATUS_NO_MEMORY, and nothing is kept", () => {
  assert.is(abi.extentTake(8192, EXTENT_OWN, 0, 0), STATUS_NO_MEMORY);
  const taken: number[] = [];
  for (let index = 0; index >= 0; ) if ((index = abi.extentTake(1, EXTENT_OWN, 0, 0)) >= 0) taken.push(index);
  assert.is(taken.length, EXTENT_CAPACITY);
  assert.is(abi.arenaFreeBlocks(), rig.blocks - EXTENT_CAPACITY);
  for (const index of taken) abi.extentGive(index);
  assert.is(abi.arenaFreeBlocks(), rig.blocks);
});

extents("given back with DMBs still in it: every block is the arena's, whoever had it", () => {
  const extent = ownExtent(rig, 64);
  for (const sizeClass of [0, 3, 1]) assert.ok(extent.register(owner, sizeClass) >= 0);
  abi.extentGive(extent.index);
  assert.is(abi.arenaFreeBlocks(), rig.blocks);
});

/** The words of the blocks of an extent. */
const words = ({ base, blocks }: Extent): number[] =>
  Array.from({ length: blocks }, (_, i) => BLOCK_TABLE_OFFSET + ((base - BLOCKS_OFFSET) / BLOCK_SIZE + i) * 4);

extents("killed while it was taken: it says whose it was, and the blocks that it had got come back", () => {
  const extent = new Extent(rig, EXTENT_OWN, 16, 9, 7);
  const state = EXTENT_TABLE_OFFSET + extent.index * EXTENT_SIZE;
  // As far as it had come: some of the blocks, nothing told of where.
  rig.setU32(state + EXTENT_STATE, EXTENT_BUSY | (9 << 8) | (7 << 16));
  for (const word of words(extent).slice(6)) rig.setU32(word, 0);
  for (const word of words(extent).slice(0, 6)) rig.setU32(word, EXTENT_TAG | (extent.index + EXTENT_CAPACITY));
  const other = rig.register(owner, 0);
  assert.equal([abi.extentKind(extent.index), abi.extentPair(extent.index)], [EXTENT_BUSY, 9]);
  abi.extentGive(extent.index);
  assert.equal([abi.extentKind(extent.index), abi.arenaFreeBlocks()], [EXTENT_FREE, rig.blocks - 1]);
  abi.dmbUnregister(owner, other);
  assert.is(abi.arenaFreeBlocks(), rig.blocks);
});

extents("killed while it was given back: the rest comes back, and what somebody else has by now stays his", () => {
  for (let given = 0; given <= 16; given++) {
    scene();
    const extent = new Extent(rig, EXTENT_PEER, 16, 9, 7);
    const state = EXTENT_TABLE_OFFSET + extent.index * EXTENT_SIZE;
    rig.setU32(state + EXTENT_STATE, EXTENT_GIVING | (9 << 8) | (7 << 16));
    for (const word of words(extent).slice(0, given)) rig.setU32(word, 0);
    const others = Array.from({ length: given >> 1 }, () => rig.register(owner, 0));
    abi.extentGive(extent.index);
    assert.equal([abi.extentKind(extent.index), abi.arenaFreeBlocks()], [EXTENT_FREE, rig.blocks - others.length]);
    for (const dmb of others) assert.is(abi.dmbUnregister(owner, dmb), STATUS_OK);
    assert.is(abi.arenaFreeBlocks(), rig.blocks, `${given} blocks were given`);
  }
});

extents("a number that is no extent has no kind", () => {
  for (const index of [EXTENT_CAPACITY, EXTENT_CAPACITY + 1, 0xffffffff])
    assert.is(abi.extentKind(index), EXTENT_FREE, `${index}`);
});

const allocation = suite("DMBs in an extent");
allocation.before.each(scene);

for (const [blocks, forHeads] of [
  [16, 1],
  [64, 1],
  [256, 1],
  [512, 2],
  [1024, 4],
] as const) {
  allocation(`${blocks} blocks: DMBs stay inside, behind the heads, and no two share a block or a head`, () => {
    const extent = ownExtent(rig, blocks);
    const arena = abi.arenaFreeBlocks();
    const taken = fill(extent, 0);
    assert.is(taken.length, blocks - forHeads, "every block behind the heads");
    assert.is(extent.register(owner), STATUS_NO_MEMORY, "though the arena has room");
    const starts = taken.map((dmb) => extent.blockOf(dmb));
    assert.is(new Set(starts).size, taken.length);
    assert.is(Math.min(...starts), forHeads);
    assert.is(Math.max(...starts), blocks - 1);
    assert.ok(extent.head(blocks - 1) + HEAD_SIZE <= extent.base + forHeads * BLOCK_SIZE, "the last head");
    assert.is(abi.arenaFreeBlocks(), arena);
    for (const dmb of taken) assert.is(abi.dmbUnregister(owner, dmb), STATUS_OK);
    assert.is(extent.free(), blocks - forHeads, "back to the extent");
    assert.is(abi.arenaFreeBlocks(), arena, "not to the arena");
    abi.extentGive(extent.index);
    assert.is(abi.arenaFreeBlocks(), rig.blocks);
  });
}

allocation("larger DMBs are aligned to their size and never reach into the heads", () => {
  const extent = ownExtent(rig, 128);
  for (const [sizeClass, count] of [
    [6, 1],
    [5, 3],
    [1, 63],
  ] as const) {
    const taken = fill(extent, sizeClass);
    assert.is(taken.length, count, `class ${sizeClass}`);
    for (const dmb of taken) {
      assert.is(extent.blockOf(dmb) % (1 << sizeClass), 0);
      assert.is(abi.dmbUnregister(owner, dmb), STATUS_OK);
    }
  }
  assert.is(extent.free(), 127);
});

allocation("a DMB of the arena never lies in an extent, full or not", () => {
  const extent = ownExtent(rig, 64);
  for (let dmb = 0; dmb >= 0; ) {
    dmb = abi.dmbRegister(owner, 0, 0, 1, 1);
    if (dmb >= 0) assert.not.ok(rig.base(dmb) >= extent.base && rig.base(dmb) < extent.end);
  }
  assert.is(abi.arenaFreeBlocks(), 0);
  assert.is(fill(extent, 0).length, 63);
});

allocation("only in an own extent that is open; a refusal leaves no entry behind", () => {
  const first = extentEntry();
  const closed = abi.extentTake(16, EXTENT_OWN, 0, 0);
  const peer = new Extent(rig, EXTENT_PEER, 16);
  const box = new Extent(rig, EXTENT_BOX, 16);
  for (const zone of [closed + 1, peer.zone, box.zone, 900, EXTENT_CAPACITY + 1])
    assert.is(abi.dmbRegister(owner, 0, 0, 1, 1, zone), STATUS_NO_MEMORY, `zone ${zone}`);
  abi.extentOpen(closed);
  assert.ok(abi.dmbRegister(owner, 0, 0, 1, 1, closed + 1) >= 0);
  for (const { index } of [peer, box]) {
    abi.extentOpen(index);
    assert.is(abi.dmbRegister(owner, 0, 0, 1, 1, index + 1), STATUS_NO_MEMORY, "opened all the same");
  }
  assert.is(extentEntry(), first + 1, "the next entry in turn");
});

/** The entry that the next registration takes. */
function extentEntry(): number {
  const probe = rig.register(owner, 0);
  abi.dmbUnregister(owner, probe);
  return probe;
}

allocation("its head says what a peer has to know, and the token where to look", () => {
  const extent = ownExtent(rig, 64, 5, 37);
  const dmb = extent.register(owner, 2, 777);
  const block = extent.blockOf(dmb);
  const head = extent.head(block);
  assert.equal(
    [HEAD_SLOT, HEAD_STACK, HEAD_LENGTH, HEAD_TOUCHED].map((offset) => rig.u32(head + offset)),
    [777, owner, BLOCK_SIZE << 2, 0],
  );
  const [low, high] = [abi.dmbTokenLo(dmb) >>> 0, abi.dmbTokenHi(dmb) >>> 0];
  assert.is(rig.u64(head + HEAD_TOKEN), (BigInt(high) << 32n) | BigInt(low));
  assert.equal([low & 1023, (low >>> 10) & 63], [block, 37]);
  assert.is(extent.link(block), HEAD_REGISTERED);
  assert.ok(
    rig.take(head, CDC_SIZE).every((byte) => byte === 0),
    "an empty CDC area",
  );
  assert.is(abi.dmbUnregister(owner, dmb), STATUS_OK);
  assert.is(extent.link(block), HEAD_FREE);
});

extents.run();
allocation.run();
