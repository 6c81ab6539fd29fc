/**
 * How the memory of a pair grows: within what both sides want to share, also when several threads make it grow at the same time.
 *
 * A race is played in one thread, as in pair-table.test.ts. The memfds are no memory here: nobody looks into them.
 */
import { closeSync, openSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { EXTENT_OWN } from "../../assembly/shared/codes.js";
import { BLOCK_SIZE, EXTENT_NUMBERS, STACK_CAPACITY } from "../../assembly/shared/layout.js";
import type { Extents, Purpose } from "../../src/device/extents.js";
import { Pair, type PairHost } from "../../src/device/pair.js";
import { PairTable } from "../../src/engine/pair-table.js";
import { type Libc, loadLibc } from "../../src/host/libc.js";
import { drain } from "../../src/host/unix-socket.js";
import { Rig } from "../assembly/rig.js";
import { atEveryStep, interrupted } from "../support/interrupt.js";
import { libcMissing, testUnless } from "../support/missing.js";

const DMB = 131_072;
const loaded = loadLibc();

/** One pair, and a thread of this process at each call of `pair`. */
class Scene {
  readonly rig = new Rig();
  readonly table = new PairTable(this.rig.memory);
  readonly #libc: Libc;
  readonly #ends: readonly [number, number];
  #index = -1;
  #slot = 0;

  constructor(libc: Libc) {
    this.#libc = libc;
    this.#ends = libc.socketpair()!;
  }

  #host(slot: number, mostBlocks: number): PairHost {
    const { abi } = this.rig;
    const extents = {
      make: (blocks: number, { kind, pair, number }: Purpose) => {
        const extent = abi.extentTake(blocks, kind, pair, number);
        return extent < 0 ? undefined : { extent, descriptor: openSync("/dev/null", "r") };
      },
      giveBack: (extent: number) => abi.extentGive(extent),
    } as unknown as Extents;
    const nothing = (): void => undefined;
    return {
      ...{ abi, table: new PairTable(this.rig.memory), extents, libc: this.#libc, slot, generation: 1, mostBlocks },
      ...{ wake: nothing, rang: nothing, idle: nothing },
    };
  }

  /** As if it had just met a peer process. */
  meet(own: number, theirs: number): Pair {
    this.#slot = 0;
    this.#index = this.table.claim(1n, 2n, 0)!;
    const pair = new Pair(this.#host(0, own), this.#index);
    assert.ok(pair.begin(this.#ends[0], theirs));
    return pair;
  }

  /** The same pair in one more thread. */
  another(own: number): Pair {
    this.table.enter(this.#index, ++this.#slot);
    return new Pair(this.#host(this.#slot, own), this.#index);
  }

  /** Blocks of our side. */
  get blocks(): number {
    let blocks = 0;
    for (let number = 0; number < EXTENT_NUMBERS; number++) {
      const extent = this.table.ownExtent(this.#index, number);
      if (extent === undefined) continue;
      assert.equal([this.rig.abi.extentKind(extent), this.rig.abi.extentNumber(extent)], [EXTENT_OWN, number]);
      blocks += this.rig.abi.extentBlocks(extent);
    }
    return blocks;
  }

  /** Everybody leaves; what was sent is taken off the channel. */
  part(): void {
    drain(this.#ends[1]);
    for (let number = 0; number < EXTENT_NUMBERS; number++) {
      const extent = this.table.ownExtent(this.#index, number);
      if (extent !== undefined) this.rig.abi.extentGive(extent);
    }
    for (let slot = 0; slot < STACK_CAPACITY; slot++)
      if (this.table.leave(this.#index, slot)) this.table.free(this.#index);
  }

  close(): void {
    for (const end of this.#ends) closeSync(end);
  }
}

const test = suite("growth of a pair");
let scene: Scene;
test.before.each(() => {
  scene = new Scene((loaded as { libc: Libc }).libc);
});
test.after.each(() => scene.close());
const grows = testUnless(libcMissing(), test);

for (const [own, theirs] of [
  [64, 64],
  [64, 1024],
  [1024, 64],
  [100, 2 ** 32 - 1],
] as const) {
  grows(`${own} blocks and ${theirs} of the peer: it grows as long as both want it to`, () => {
    const pair = scene.meet(own, theirs);
    const most = Math.min(own, theirs);
    while (pair.grow(DMB)) assert.ok(scene.blocks <= most, `${scene.blocks} blocks`);
    assert.ok(most - scene.blocks < 16, `${scene.blocks} blocks of ${most}`);
    assert.not(pair.closed);
  });
}

grows("a peer that wants to share nothing, or less than an extent, gets nothing, and no extent is made for it", () => {
  const free = scene.rig.abi.arenaFreeBlocks();
  for (const theirs of [0, 1, 15]) {
    const pair = scene.meet(16_384, theirs);
    assert.not(pair.grow(BLOCK_SIZE));
    assert.equal([scene.blocks, scene.rig.abi.arenaFreeBlocks(), pair.closed], [0, free, false]);
    scene.part();
  }
});

grows("whatever another thread's limit is: the pair's holds", () => {
  scene.meet(64, 1024);
  const other = scene.another(16_384);
  while (other.grow(DMB));
  assert.is(scene.blocks, 64);
});

grows("two threads that make it grow at the same time stay within the limit together", () => {
  const made = new Set<number>();
  atEveryStep((at) => {
    const one = scene.meet(64, 64);
    const other = scene.another(64);
    const { reached } = interrupted(
      at,
      () => one.grow(DMB),
      () => other.grow(DMB),
    );
    assert.ok(scene.blocks <= 64, `${scene.blocks} blocks at step ${at}`);
    while (one.grow(DMB));
    assert.ok(scene.blocks > 48, "whoever asks again gets what is left");
    made.add(scene.blocks);
    scene.part();
    return reached;
  });
  assert.ok(made.has(64));
});

test.run();
