/**
 * Letting go of a DMB in an extent, as its owner: the buffer comes back exactly once, never while a peer process holds it,
 * whatever that process writes into the head, and whoever dies.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  DMB_BUSY,
  HEAD_ATTACHED,
  HEAD_DETACHED,
  HEAD_FREE,
  HEAD_REGISTERED,
  HEAD_UNWANTED,
  STATUS_OK,
  STATUS_UNKNOWN,
} from "../../assembly/shared/codes.js";
import {
  BLOCK_SIZE,
  BLOCK_TABLE_OFFSET,
  BLOCKS_OFFSET,
  CDC_SIZE,
  DMB_ZONE,
  HEAD_LINK,
  HEAD_TOUCHED,
} from "../../assembly/shared/layout.js";
import type { Abi } from "../../src/engine/abi.js";
import { prngFor } from "../support/prng.js";
import { type Extent, ownExtent } from "./extents.js";
import { Rig } from "./rig.js";

let rig: Rig;
let abi: Abi;
let owner: number;
let other: number;

function scene(): void {
  rig = new Rig();
  abi = rig.abi;
  owner = rig.stack(1);
  other = rig.stack(2);
}

const release = suite("letting go of a DMB in an extent");
release.before.each(scene);

/** An own DMB that a peer process has attached, in a small extent. */
function attached(sizeClass = 0, pair = 0): { extent: Extent; dmb: number; block: number; free: number } {
  const extent = ownExtent(rig, 16, pair);
  const dmb = extent.register(owner, sizeClass);
  const block = extent.blockOf(dmb);
  extent.setLink(block, HEAD_ATTACHED);
  return { extent, dmb, block, free: extent.free() };
}

release("attached or once attached counts as attached; fresh does not", () => {
  const { extent, dmb, block } = attached();
  for (const [link, seen] of [
    [HEAD_REGISTERED, 0],
    [HEAD_ATTACHED, 1],
    [HEAD_DETACHED, 1],
    [HEAD_UNWANTED, 1],
  ] as const) {
    extent.setLink(block, link);
    assert.is(abi.dmbAttached(dmb), seen, `link ${link}`);
  }
});

release(
  "unregistered while a peer holds it: it lingers until the peer has let go, and is freed by whoever reclaims",
  () => {
    const { extent, dmb, block, free } = attached(2);
    assert.is(abi.dmbUnregister(owner, dmb), STATUS_OK);
    assert.is(extent.link(block), HEAD_UNWANTED, "the peer is asked to tell");
    assert.is(abi.dmbUnregister(owner, dmb), STATUS_UNKNOWN, "only once");
    for (const stack of [owner, other]) assert.is(abi.dmbDetach(stack, dmb), STATUS_UNKNOWN, "not ours to detach");
    assert.is(abi.dmbReclaim(other, 0), 1, "one still held");
    assert.is(extent.free(), free);
    extent.setLink(block, HEAD_DETACHED);
    assert.is(abi.dmbReclaim(other, 0), 0);
    assert.is(extent.free(), free + 4);
    assert.is(extent.link(block), HEAD_FREE);
    assert.is(abi.dmbReclaim(owner, 0), 0);
    assert.is(extent.free(), free + 4, "freed once");
  },
);

release("unregistered after the peer let go: freed at once", () => {
  const { extent, dmb, block, free } = attached();
  extent.setLink(block, HEAD_DETACHED);
  assert.is(abi.dmbUnregister(owner, dmb), STATUS_OK);
  assert.is(extent.free(), free + 1);
  assert.is(abi.dmbReclaim(owner, 0), 0);
});

release("a registered one, attached or not, is never reclaimed", () => {
  const { extent, dmb, free } = attached(0, 7);
  const fresh = extent.register(owner);
  assert.is(abi.dmbReclaim(other, 7 + 1), 0);
  assert.is(extent.free(), free - 1);
  for (const index of [dmb, fresh]) assert.is(abi.dmbUnregister(owner, index), STATUS_OK);
});

release("what a process that is gone held is reclaimed by force, and nothing that another holds", () => {
  const gone = attached(1, 3);
  const alive = attached(1, 4);
  for (const { dmb } of [gone, alive]) abi.dmbUnregister(owner, dmb);
  assert.is(abi.dmbReclaim(other, 0), 2);
  assert.is(abi.dmbReclaim(other, 3 + 1), 1);
  assert.equal([gone.extent.free(), alive.extent.free()], [gone.free + 2, alive.free]);
});

release("what the peer says it wrote is cleared, and no byte beyond the buffer, however much it claims", () => {
  for (const claimed of [5000, 0xffffffff]) {
    const { extent, dmb, block } = attached();
    const base = rig.base(dmb);
    rig.bytes.fill(0xee, base, base + CDC_SIZE + Math.min(claimed, BLOCK_SIZE - CDC_SIZE));
    const fence = base + BLOCK_SIZE;
    rig.bytes.fill(0xc5, fence, fence + 64);
    rig.setU32(extent.head(block) + HEAD_TOUCHED, claimed);
    extent.setLink(block, HEAD_DETACHED);
    abi.dmbUnregister(owner, dmb);
    assert.ok(
      rig.take(base, BLOCK_SIZE).every((byte) => byte === 0),
      `${claimed} bytes`,
    );
    assert.ok(
      rig.take(fence, 64).every((byte) => byte === 0xc5),
      "the next block",
    );
  }
});

release(
  "an owner that dies leaves to linger what a peer holds; what none has attached is spared first, then freed",
  () => {
    const { extent, block, free } = attached();
    const fresh = extent.register(owner);
    assert.is(abi.stackReap(owner, other, 1), 1, "the peer may be about to attach it");
    assert.is(extent.link(extent.blockOf(fresh)), HEAD_REGISTERED);
    assert.is(extent.link(block), HEAD_UNWANTED);
    assert.is(abi.stackReap(owner, other, 0), 0);
    assert.is(extent.free(), free, "the fresh one is back, the held one not");
    extent.setLink(block, HEAD_DETACHED);
    assert.is(abi.dmbReclaim(other, 0), 0);
    assert.is(extent.free(), free + 1);
  },
);

release("killed between telling the peer and noting it: the reaper lets the peer keep its hold", () => {
  const { extent, block, free } = attached();
  extent.setLink(block, HEAD_UNWANTED);
  abi.stackReap(owner, other, 0);
  assert.is(extent.free(), free);
  assert.is(abi.dmbReclaim(other, 0), 1);
  extent.setLink(block, HEAD_DETACHED);
  assert.is(abi.dmbReclaim(other, 0), 0);
  assert.is(extent.free(), free + 1);
});

release("killed while allocating or freeing: its blocks go back to the extent, zeroed", () => {
  const extent = ownExtent(rig, 16);
  const dmb = extent.register(owner, 1);
  const base = rig.base(dmb);
  rig.setU32(rig.entry(dmb), (1 << 18) | (owner << 4) | DMB_BUSY);
  rig.bytes.fill(0xee, base, base + 2 * BLOCK_SIZE);
  abi.stackReap(owner, other);
  assert.is(extent.free(), 15);
  assert.ok(rig.take(base, 2 * BLOCK_SIZE).every((byte) => byte === 0));
  assert.is(rig.u32(rig.entry(dmb)) & 0xf, 0);
  assert.is(rig.u32(rig.entry(dmb, DMB_ZONE)), 0, "the entry may serve the arena next");
  assert.is(abi.arenaFreeBlocks(), rig.blocks - 16);
});

release("garbage in links at any time: no block is lost, none is given out twice", () => {
  const prng = prngFor("garbage links");
  const extent = ownExtent(rig, 64);
  const blockTag = (block: number): number =>
    rig.u32(BLOCK_TABLE_OFFSET + ((extent.base - BLOCKS_OFFSET) / BLOCK_SIZE + block) * 4);
  const live = new Map<number, { block: number; blocks: number }>();
  for (let step = 0; step < 20_000; step++) {
    switch (prng.below(4)) {
      case 0: {
        const sizeClass = prng.below(3);
        const dmb = extent.register(owner, sizeClass, 0);
        if (dmb < 0) break;
        assert.not.ok(live.has(dmb), "an entry in use");
        live.set(dmb, { block: extent.blockOf(dmb), blocks: 1 << sizeClass });
        break;
      }
      case 1:
        if (prng.oneIn(2)) extent.setLink(prng.below(64), prng.below(8));
        else rig.setU32(extent.head(prng.below(64)) + HEAD_LINK, prng.u32());
        break;
      case 2: {
        if (live.size === 0) break;
        const dmb = prng.pick([...live.keys()]);
        assert.is(abi.dmbUnregister(owner, dmb), STATUS_OK);
        live.delete(dmb);
        break;
      }
      default:
        abi.dmbReclaim(other, 0);
    }
    for (const [dmb, { block, blocks }] of live)
      for (let i = 0; i < blocks; i++) assert.is(blockTag(block + i), dmb + 1, `step ${step}: a block of a live DMB`);
  }
  for (const dmb of live.keys()) abi.dmbUnregister(owner, dmb);
  abi.dmbReclaim(other, extent.pair + 1);
  assert.is(extent.free(), 63, "all come back in the end");
});

release.run();
