/**
 * DMBs of another process, from the attacher's side: every field of a head is hostile until checked, and nothing that the peer
 * writes afterwards moves what was believed.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  DMB_BUSY,
  EXTENT_BOX,
  EXTENT_OWN,
  HEAD_ATTACHED,
  HEAD_DETACHED,
  HEAD_FREE,
  HEAD_REGISTERED,
  HEAD_UNWANTED,
  STATUS_BUSY,
  STATUS_NO_MEMORY,
  STATUS_OK,
  STATUS_TELL,
  STATUS_UNKNOWN,
} from "../../assembly/shared/codes.js";
import {
  ARENA_DMBS_OFFSET,
  BLOCK_SIZE,
  BOX_BLOCKS,
  CDC_SIZE,
  CONN_CAPACITY,
  CONN_PEER,
  CONN_PEER_RING,
  CONN_PEER_SIZE,
  DMB_CAPACITY,
  DMB_TOUCHED,
  EXTENT_CAPACITY,
  HEAD_LENGTH,
  HEAD_LINK,
  HEAD_SLOT,
  HEAD_STACK,
  HEAD_TOKEN,
  HEAD_TOUCHED,
  STACK_CAPACITY,
} from "../../assembly/shared/layout.js";
import type { Abi } from "../../src/engine/abi.js";
import { prngFor } from "../support/prng.js";
import { Extent, linkOf, type Offer, peerExtent } from "./extents.js";
import { Rig } from "./rig.js";

/** Slot of the owner in its own process. */
const OWNER = 41;

let rig: Rig;
let abi: Abi;
let stack: number;
let other: number;
let extent: Extent;

function scene(): void {
  rig = new Rig();
  abi = rig.abi;
  stack = rig.stack(1);
  other = rig.stack(2);
  extent = peerExtent(rig, 128, 2, 9);
}

/** Offers block `block` and attaches it; our entry. */
function attached(block: number, offer: Offer = {}): number {
  const index = extent.attach(stack, extent.offer(block, { stack: OWNER, ...offer }));
  assert.ok(index >= 0);
  return index;
}

/** Table entries in use. */
function entriesUsed(): number {
  let used = 0;
  for (let index = 0; index < rig.u32(ARENA_DMBS_OFFSET); index++) if ((rig.u32(rig.entry(index)) & 0xf) !== 0) used++;
  return used;
}

const attach = suite("attaching a peer's DMB");
attach.before.each(scene);

attach("an honest head: our entry has its place, its size, its slot and its owner; the owner sees it attached", () => {
  const index = attached(17, { length: 3 * BLOCK_SIZE, slot: 16_383, stack: 63 });
  assert.is(abi.dmbBase(index) >>> 0, extent.base + 17 * BLOCK_SIZE);
  assert.equal([abi.dmbLength(index), abi.dmbSlot(index), abi.dmbOwner(index)], [3 * BLOCK_SIZE, 16_383, 63]);
  assert.is(abi.dmbZone(index), extent.index);
  assert.is(abi.dmbAttached(index), 1);
  assert.is(extent.link(17), HEAD_ATTACHED);
});

attach("the largest, the last and the first that there can be", () => {
  for (const [block, length] of [
    [127, 1],
    [64, 64],
    [1, 64],
    [1, 1],
  ] as const) {
    const index = attached(block, { length: length * BLOCK_SIZE });
    assert.is(abi.dmbBase(index) >>> 0, extent.base + block * BLOCK_SIZE, `${length} blocks from ${block}`);
    assert.is(abi.dmbDetach(stack, index), STATUS_OK);
  }
});

const LIES: readonly [what: string, block: number, offer: Offer, status: number][] = [
  ["no DMB there", 5, { link: HEAD_FREE }, STATUS_UNKNOWN],
  ["a link that is none", 5, { link: 5 }, STATUS_UNKNOWN],
  ["another", 5, { link: 7 }, STATUS_UNKNOWN],
  ["attached already", 5, { link: HEAD_ATTACHED }, STATUS_BUSY],
  ["given up", 5, { link: HEAD_UNWANTED }, STATUS_BUSY],
  ["used up", 5, { link: HEAD_DETACHED }, STATUS_BUSY],
  ["no length", 5, { length: 0 }, STATUS_UNKNOWN],
  ["less than a block", 5, { length: CDC_SIZE }, STATUS_UNKNOWN],
  ["a byte less than a block", 5, { length: BLOCK_SIZE - 1 }, STATUS_UNKNOWN],
  ["a byte more than a block", 5, { length: BLOCK_SIZE + 1 }, STATUS_UNKNOWN],
  ["half a block more", 5, { length: BLOCK_SIZE + BLOCK_SIZE / 2 }, STATUS_UNKNOWN],
  ["more than 1 MiB", 5, { length: 65 * BLOCK_SIZE }, STATUS_UNKNOWN],
  ["a block beyond the end", 127, { length: 2 * BLOCK_SIZE }, STATUS_UNKNOWN],
  ["1 MiB beyond the end", 65, { length: 64 * BLOCK_SIZE }, STATUS_UNKNOWN],
  ["a length that wraps", 5, { length: 0xffffc000 }, STATUS_UNKNOWN],
  ["the longest length", 5, { length: 0xffffffff }, STATUS_UNKNOWN],
  ["the heads themselves", 0, {}, STATUS_UNKNOWN],
  ["a slot that is none", 5, { slot: CONN_CAPACITY }, STATUS_UNKNOWN],
  ["the last number for a slot", 5, { slot: 0xffffffff }, STATUS_UNKNOWN],
  ["a stack that is none", 5, { stack: STACK_CAPACITY }, STATUS_UNKNOWN],
  ["the last number for a stack", 5, { stack: 0xffffffff }, STATUS_UNKNOWN],
  ["a token that names a block of its own accord", 5, { token: 6n }, STATUS_UNKNOWN],
];

for (const [what, block, offer, status] of LIES) {
  attach(`a lie: ${what}`, () => {
    const token = extent.offer(block, offer);
    assert.is(extent.attach(stack, token), status);
    assert.is(extent.link(block), offer.link ?? HEAD_REGISTERED, "the head is left as it is");
    assert.is(entriesUsed(), 0, "no entry is kept");
  });
}

attach("only the whole token: any other bit pattern is unknown, wherever it points", () => {
  const token = extent.offer(5);
  for (let bit = 0n; bit < 64n; bit++)
    assert.is(extent.attach(stack, token ^ (1n << bit)), STATUS_UNKNOWN, `bit ${bit}`);
  assert.ok(extent.attach(stack, token) >= 0);
});

attach("a block beyond the extent is unknown, although its head would lie in a block of the peer", () => {
  for (const block of [128, 129, 1000, 1023]) {
    const token = extent.offer(block);
    assert.is(extent.attach(stack, token), STATUS_UNKNOWN, `block ${block}`);
  }
});

attach("in no extent but a peer's", () => {
  const own = new Extent(rig, EXTENT_OWN, 16);
  const box = new Extent(rig, EXTENT_BOX, 16);
  const closed = peerExtent(rig, 16);
  const offers = [own, box, closed].map((some) => [some, some.offer(5)] as const);
  abi.extentGive(closed.index);
  for (const [some, token] of offers) assert.is(some.attach(stack, token), STATUS_UNKNOWN, `kind ${some.kind}`);
  for (const index of [900, EXTENT_CAPACITY, 0xffffffff])
    assert.is(abi.dmbAttachPeer(stack, index, 5, 0), STATUS_UNKNOWN);
});

attach("a token is good once: replayed while attached and afterwards it is busy", () => {
  const token = extent.offer(5);
  const index = extent.attach(stack, token);
  for (const again of [stack, other]) assert.is(extent.attach(again, token), STATUS_BUSY);
  assert.is(abi.dmbDetach(stack, index), STATUS_OK);
  for (const again of [stack, other]) assert.is(extent.attach(again, token), STATUS_BUSY);
  const next = extent.attach(other, extent.offer(5));
  assert.ok(next >= 0, "the owner registers anew");
});

attach(
  "a link of an earlier registration in the same place attaches nothing, though its state and the token would do",
  () => {
    const token = extent.offer(5);
    const link = extent.head(5) + HEAD_LINK;
    const right = rig.u32(link);
    for (const wrong of [linkOf(HEAD_REGISTERED, token + (1n << 35n)), linkOf(HEAD_REGISTERED, token ^ (1n << 63n))]) {
      rig.setU32(link, wrong);
      assert.is(extent.attach(stack, token), STATUS_UNKNOWN);
      assert.is(rig.u32(link), wrong);
    }
    rig.setU32(link, right);
    assert.ok(extent.attach(stack, token) >= 0);
  },
);

attach("no other way leads to it: not by its token among our own, nor by its owner's number", () => {
  const token = extent.offer(0x0c, { stack: other });
  const index = extent.attach(stack, token);
  assert.is(abi.dmbOwner(index), other, "the same number as a stack of ours");
  assert.is(abi.dmbAttach(other, Number(token & 0xffffffffn), Number(token >> 32n)), STATUS_UNKNOWN);
  assert.is(abi.dmbAttach(other, index, 0), STATUS_UNKNOWN);
  assert.is(abi.dmbUnregister(other, index), STATUS_UNKNOWN);
  assert.is(abi.dmbDetach(other, index), STATUS_UNKNOWN);
  assert.is(abi.dmbDetach(stack, index), STATUS_OK);
});

attach("with the table full: STATUS_NO_MEMORY, and the peer's DMB stays free for another try", () => {
  const token = extent.offer(5);
  for (let index = 0; index < DMB_CAPACITY; index++) rig.setU32(rig.entry(index), DMB_BUSY | (other << 4));
  assert.is(extent.attach(stack, token), STATUS_NO_MEMORY);
  assert.is(extent.link(5), HEAD_REGISTERED);
  rig.setU32(rig.entry(77), 0);
  assert.is(extent.attach(stack, token), 77);
});

attach("what the peer writes into the head afterwards changes nothing here", () => {
  const index = attached(5, { slot: 3 });
  const before = [abi.dmbBase(index), abi.dmbLength(index), abi.dmbSlot(index), abi.dmbOwner(index)];
  for (const offset of [HEAD_LENGTH, HEAD_SLOT, HEAD_STACK, HEAD_TOKEN, HEAD_TOUCHED])
    rig.setU32(extent.head(5) + offset, 0xffffffff);
  assert.equal([abi.dmbBase(index), abi.dmbLength(index), abi.dmbSlot(index), abi.dmbOwner(index)], before);
});

attach("random heads and random tokens: what is attached lies within the extent, behind its heads", () => {
  const prng = prngFor("random heads");
  const near = (most: number): number => (prng.oneIn(3) ? prng.u32() : prng.below(most));
  let found = 0;
  for (let attempt = 0; attempt < 50_000; attempt++) {
    const block = prng.below(128);
    const length = prng.oneIn(2) ? prng.below(200) * BLOCK_SIZE : near(1 << 21);
    const token = extent.offer(block, { link: prng.below(8), length, slot: near(20_000), stack: near(70) });
    const asked = prng.oneIn(8) ? token ^ (1n << BigInt(prng.below(64))) : token;
    const index = extent.attach(stack, asked);
    if (index < 0) continue;
    found++;
    const base = abi.dmbBase(index) >>> 0;
    assert.ok(base >= extent.base + BLOCK_SIZE && base + abi.dmbLength(index) <= extent.end);
    assert.ok(abi.dmbLength(index) >= BLOCK_SIZE && abi.dmbLength(index) <= 1 << 20);
    assert.ok(abi.dmbSlot(index) < CONN_CAPACITY && abi.dmbOwner(index) < STACK_CAPACITY);
    assert.is(abi.dmbDetach(stack, index), STATUS_OK);
  }
  assert.ok(found > 100, `${found} were good`);
  assert.is(entriesUsed(), 0);
});

const connect = suite("connecting to a peer's DMB");
connect.before.each(scene);

connect("the connection writes the CDC area in the head, and its ring begins in the block", () => {
  const box = new Extent(rig, EXTENT_BOX, BOX_BLOCKS);
  const index = attached(5, { length: 2 * BLOCK_SIZE });
  const conn = abi.connOpen(stack, 0, rig.register(stack, 0));
  assert.is(abi.connAttach(stack, conn, index, -1, box.base), STATUS_OK);
  assert.equal(
    [CONN_PEER, CONN_PEER_RING, CONN_PEER_SIZE].map((offset) => rig.u32(conn + offset)),
    [extent.head(5), extent.base + 5 * BLOCK_SIZE + CDC_SIZE, 2 * BLOCK_SIZE - CDC_SIZE],
  );
});

connect("not without a box, and one of our own not with one", () => {
  const box = new Extent(rig, EXTENT_BOX, BOX_BLOCKS);
  const peers = attached(5);
  const ours = rig.register(other, 0);
  rig.attach(stack, ours);
  const conn = abi.connOpen(stack, 0, rig.register(stack, 0));
  assert.is(abi.connAttach(stack, conn, peers, -1, 0), STATUS_UNKNOWN);
  assert.is(abi.connAttach(stack, conn, ours, -1, box.base), STATUS_UNKNOWN);
});

const detach = suite("detaching a peer's DMB");
detach.before.each(scene);

detach("the owner finds it detached, and how far it was written; nothing of it is touched", () => {
  const index = attached(5);
  rig.bytes.fill(0xee, extent.base + 5 * BLOCK_SIZE, extent.base + 6 * BLOCK_SIZE);
  rig.setU32(rig.entry(index, DMB_TOUCHED), 777);
  assert.is(abi.dmbDetach(stack, index), STATUS_OK);
  assert.is(extent.link(5), HEAD_DETACHED);
  assert.is(rig.u32(extent.head(5) + HEAD_TOUCHED), 777);
  assert.ok(
    rig.take(extent.base + 5 * BLOCK_SIZE, BLOCK_SIZE).every((byte) => byte === 0xee),
    "its owner clears it",
  );
  assert.is(abi.dmbDetach(stack, index), STATUS_UNKNOWN, "only once");
  assert.is(entriesUsed(), 0);
});

detach("an owner that gave it up waits to be told, and nobody else does", () => {
  for (const [link, status] of [
    [HEAD_UNWANTED, STATUS_TELL],
    [HEAD_ATTACHED, STATUS_OK],
    [HEAD_REGISTERED, STATUS_OK],
    [HEAD_FREE, STATUS_OK],
    [7, STATUS_OK],
  ] as const) {
    const index = attached(5);
    extent.setLink(5, link);
    assert.is(abi.dmbDetach(stack, index), status, `link ${link}`);
    assert.is(extent.link(5), HEAD_DETACHED);
  }
});

detach("blocks of a peer's extent are never given to the arena", () => {
  const before = abi.arenaFreeBlocks();
  for (let block = 1; block < 128; block++) abi.dmbDetach(stack, attached(block));
  assert.is(abi.arenaFreeBlocks(), before);
  assert.is(extent.free(), 0, "nor can anything be registered there");
});

detach("reclaiming is for own buffers: a peer's stays attached, also when its process is gone", () => {
  const index = attached(5);
  extent.setLink(5, HEAD_UNWANTED);
  for (const gone of [0, extent.pair + 1]) assert.is(abi.dmbReclaim(other, gone), 0);
  assert.is(abi.dmbDetach(stack, index), STATUS_TELL);
});

detach("the holds of a dead stack are let go, its whole rings noted as written; those of the living are not", () => {
  attached(5);
  const bystander = extent.attach(other, extent.offer(6, { stack }));
  assert.is(abi.dmbOwner(bystander), stack, "its owner there has the number that the dead had here");
  assert.is(abi.stackReap(stack, other, 1), 0, "nothing to spare");
  assert.is(extent.link(5), HEAD_DETACHED);
  assert.is(rig.u32(extent.head(5) + HEAD_TOUCHED), 0xffffffff);
  assert.is(extent.link(6), HEAD_ATTACHED);
  assert.is(rig.u32(rig.entry(bystander, DMB_TOUCHED)), 0);
  assert.is(abi.dmbDetach(other, bystander), STATUS_OK);
});

detach("killed while taking hold: the entry is free again, and the peer's memory is left alone", () => {
  const index = attached(5);
  rig.setU32(rig.entry(index), (1 << 18) | (stack << 4) | DMB_BUSY);
  const head = rig.take(extent.head(5), 64);
  rig.bytes.fill(0xee, extent.base + 5 * BLOCK_SIZE, extent.base + 6 * BLOCK_SIZE);
  abi.stackReap(stack, other);
  assert.is(entriesUsed(), 0);
  assert.equal(rig.take(extent.head(5), 64), head);
  assert.ok(rig.take(extent.base + 5 * BLOCK_SIZE, BLOCK_SIZE).every((byte) => byte === 0xee));
});

attach.run();
connect.run();
detach.run();
