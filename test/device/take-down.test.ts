/**
 * A thread that is killed at any step of making, entering or taking down a pair, and one that is killed while it reaps it: the
 * next reaper gives back every block and every entry, and closes no descriptor that is somebody else's by then.
 *
 * A kill is played in one thread, at each atomic step of the pair table and at each call of the data plane.
 */
import { closeSync, fstatSync, openSync, readdirSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { EXTENT_BOX, EXTENT_OWN, EXTENT_PEER } from "../../assembly/shared/codes.js";
import { BLOCK_SIZE, BOX_BLOCKS, EXTENT_CAPACITY } from "../../assembly/shared/layout.js";
import { Extents } from "../../src/device/extents.js";
import { takeDown } from "../../src/device/pair.js";
import type { Abi } from "../../src/engine/abi.js";
import { sharedView } from "../../src/engine/memory.js";
import { PairTable } from "../../src/engine/pair-table.js";
import { type Libc, loadLibc } from "../../src/host/libc.js";
import { createMemfd } from "../../src/host/memfd.js";
import { Reaper } from "../../src/reaper.js";
import { Rig } from "../assembly/rig.js";
import { atEveryStep, killed, type Stepping } from "../support/interrupt.js";
import { libcMissing, testUnless } from "../support/missing.js";

const loaded = loadLibc();
const BLOCKS = 16;

/** Descriptors that are open. */
const open = (): number[] => readdirSync("/proc/self/fd").map(Number);

class Scene {
  readonly rig = new Rig();
  readonly table = new PairTable(this.rig.memory);
  readonly base: bigint;
  readonly free = this.rig.abi.arenaFreeBlocks();
  readonly #libc: Libc;

  constructor(libc: Libc) {
    this.#libc = libc;
    this.base = libc.address(sharedView(this.rig.memory));
  }

  /** All of the life of a pair as stack `slot` sees it: each thing is entered as pair.ts and pairs.ts enter it. */
  live(slot: number, stepping: Stepping): void {
    const abi: Abi = stepping(this.rig.abi);
    const { table } = this;
    const extents = new Extents(abi, this.base);
    const index = table.claim(1n, 2n, slot);
    if (index === undefined) throw new Error("no entry");
    const box = extents.make(BOX_BLOCKS, { kind: EXTENT_BOX, pair: index, number: slot })!;
    table.setOwnBox(index, slot, box);
    abi.stackSetBox(slot, index, abi.extentBase(box.extent));
    const [channel, bell] = this.#libc.socketpair()!;
    table.setChannel(index, channel);
    table.live(index);
    for (const kind of [EXTENT_BOX, EXTENT_PEER]) {
      const memfd = createMemfd("of the peer", BLOCKS * BLOCK_SIZE);
      const extent = extents.adopt(memfd, BLOCKS, { kind, pair: index, number: 0 }) as number;
      closeSync(memfd);
      if (kind === EXTENT_BOX) table.setDoor(index, 0, { extent, generation: 1, bell });
      else table.setPeerExtent(index, 0, extent);
    }
    const number = table.takeOwnNumber(index, slot)!;
    const made = extents.make(BLOCKS, { kind: EXTENT_OWN, pair: index, number })!;
    closeSync(made.descriptor);
    table.setOwnExtent(index, number, made.extent);
    abi.dmbRegister(slot, 0, 0, 1, 2, made.extent + 1);
    abi.stackSetBox(slot, index, 0);
    if (table.leave(index, slot)) takeDown({ abi, table, extents, slot }, index);
  }

  /** The stack of `thread` is no more: stack `actor` reaps it; at once, where that is undefined. */
  reap(thread: number, actor: number | undefined, stepping: Stepping = (part) => part): void {
    const abi = stepping(this.rig.abi);
    const extents = new Extents(abi, this.base);
    new Reaper({ abi, pairs: this.table, extents, slot: actor, reaped: () => undefined }).reap(thread);
  }

  checkNothingLeft(what: string): void {
    const { abi } = this.rig;
    const extents = Array.from({ length: EXTENT_CAPACITY }, (_, i) => abi.extentKind(i)).filter((kind) => kind !== 0);
    assert.equal([[...this.table.used()], extents, this.free - abi.arenaFreeBlocks()], [[], [], 0], what);
  }
}

const test = suite("taking down");
const takes = (what: string, run: (libc: Libc) => void): void => {
  testUnless(libcMissing(), test)(what, () => run((loaded as { libc: Libc }).libc));
};

/** Plays one kill at each step of `first`, then one at a step of its reaper; whoever reaps last leaves nothing. */
takes("killed at any step of a pair's life, and its reaper at any step of its work", (libc) => {
  const scene = new Scene(libc);
  const { rig } = scene;
  let thread = 1;
  let steps = 0;
  atEveryStep((at) => {
    const before = new Set(open());
    const [victim, reaper] = [thread++, thread++];
    const slot = rig.stack(victim);
    const actor = rig.stack(reaper);
    const reached = killed(at, (stepping) => scene.live(slot, stepping));
    // Whatever was closed is somebody else's number now.
    const decoys = Array.from({ length: 4 }, () => openSync("/dev/null", "r"));
    const numbers = decoys.map((decoy) => fstatSync(decoy).ino);
    killed((at * 7) % 40, (stepping) => scene.reap(victim, actor, stepping));
    scene.reap(reaper, undefined);
    scene.reap(victim, undefined);
    scene.checkNothingLeft(`killed at step ${at}`);
    assert.equal(
      decoys.map((decoy) => fstatSync(decoy).ino),
      numbers,
      `at step ${at} a descriptor of another was closed`,
    );
    for (const decoy of decoys) closeSync(decoy);
    for (const descriptor of open()) if (!before.has(descriptor)) tryClose(descriptor);
    assert.equal(
      [slot, actor].map((each) => rig.abi.stackThread(each)),
      [0, 0],
      `the slots, at step ${at}`,
    );
    steps++;
    return reached;
  });
  assert.ok(steps > 60, `${steps} steps`);
});

/** What was lost with the killed: a descriptor on its way, or that of the listing. */
function tryClose(descriptor: number): void {
  try {
    closeSync(descriptor);
  } catch {
    // That of the listing.
  }
}

test.run();
