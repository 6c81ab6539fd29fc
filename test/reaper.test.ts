/**
 * The reaper: which stacks it finds by their bells alone, and in which order it gives back what they held.
 *
 * The threads are pretended; arena, pair table and bells are real. Threads that are killed are in stress/terminate*.test.ts.
 */
import { closeSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { STACK_CAPACITY } from "../assembly/shared/layout.js";
import { Extents } from "../src/device/extents.js";
import { sharedView } from "../src/engine/memory.js";
import { PairTable } from "../src/engine/pair-table.js";
import { type Libc, loadLibc } from "../src/host/libc.js";
import { Reaper } from "../src/reaper.js";
import { Rig } from "./assembly/rig.js";
import { libcMissing, testUnless } from "./support/missing.js";
import { until } from "./support/watchdog.js";

const loaded = loadLibc();

class Scene {
  readonly rig = new Rig();
  readonly pairs = new PairTable(this.rig.memory);
  reaped = 0;
  readonly #libc: Libc;
  readonly #open = new Set<number>();
  /** Read ends by slot. */
  readonly #ears = new Map<number, number>();

  constructor(libc: Libc) {
    this.#libc = libc;
  }

  /** A stack with its bell. */
  stack(thread: number, parent = 0xffffffff): number {
    const slot = this.rig.abi.stackAcquire(thread, parent);
    const [readEnd, writeEnd] = this.#libc.socketpair()!;
    this.rig.abi.stackSetBell(slot, writeEnd + 1);
    this.#ears.set(slot, readEnd);
    for (const end of [readEnd, writeEnd]) this.#open.add(end);
    return slot;
  }

  /** Its thread ends, and nobody is told. */
  kill(slot: number): void {
    const ear = this.#ears.get(slot)!;
    this.#open.delete(ear);
    closeSync(ear);
  }

  /** The reaper of a stack; of a thread that has none for `undefined`. */
  reaper(slot: number | undefined): Reaper {
    const extents = new Extents(this.rig.abi, this.#libc.address(sharedView(this.rig.memory)));
    return new Reaper({ abi: this.rig.instance(), pairs: this.pairs, extents, slot, reaped: () => this.reaped++ });
  }

  /** Slots in which a stack lives. */
  get living(): number[] {
    return Array.from({ length: STACK_CAPACITY }, (_, slot) => slot).filter(
      (slot) => this.rig.abi.stackGeneration(slot) > 0,
    );
  }

  close(): void {
    for (const end of this.#open) closeSync(end);
  }
}

const test = suite("reaper");
let scene: Scene;
test.before.each(() => {
  scene = new Scene((loaded as { libc: Libc }).libc);
});
test.after.each(() => scene.close());
const reaps = testUnless(libcMissing(), test);

reaps("a sweep gives back what stacks held whose bell nobody hears, and nothing of others", () => {
  const { rig } = scene;
  const own = scene.stack(1);
  const [living, dead] = [scene.stack(2), scene.stack(3)];
  const before = rig.abi.arenaFreeBlocks();
  rig.register(living, 0);
  rig.attach(own, rig.register(dead, 0));
  scene.reaper(own).sweep();
  assert.equal([scene.living, scene.reaped], [[own, living, dead], 0]);
  scene.kill(dead);
  scene.reaper(own).sweep();
  assert.equal([scene.living, scene.reaped], [[own, living], 1]);
  assert.is(rig.abi.arenaFreeBlocks(), before - 2, "but for what the living hold");
  assert.is(scene.stack(4), dead, "the slot as well");
  scene.reaper(own).sweep();
  assert.equal([scene.living, scene.reaped], [[own, living, dead], 1]);
});

reaps("a stack that is about to make its bell is not taken for dead, nor one that makes none", () => {
  const own = scene.stack(1);
  const dead = scene.stack(2);
  scene.kill(dead);
  scene.reaper(own).sweep();
  // The bell of the one before is still there, and nobody hears it.
  assert.is(scene.rig.stack(3), dead);
  const without = scene.rig.stack(4);
  scene.reaper(own).sweep();
  assert.equal(scene.living, [own, dead, without]);
});

reaps("the Workers of a dead thread are reaped with it, also those that had no time to make a bell", () => {
  const own = scene.stack(1);
  const parent = scene.stack(2);
  scene.rig.abi.stackAcquire(3, 2);
  scene.rig.abi.stackAcquire(4, 3);
  const stranger = scene.rig.stack(5);
  scene.kill(parent);
  scene.reaper(own).sweep();
  assert.equal(scene.living, [own, stranger]);
});

reaps("a buffer that a server may be about to attach stays for a while, and its slot", async () => {
  const { rig } = scene;
  const own = scene.stack(1);
  const dead = scene.stack(2);
  const fresh = rig.register(dead, 0);
  scene.kill(dead);
  scene.reaper(own).sweep();
  assert.equal([scene.living, scene.rig.stack(3)], [[own], dead + 1]);
  assert.is(rig.attach(own, fresh), fresh, "the Confirm came late");
  rig.abi.dmbDetach(own, fresh);
  await until(() => rig.abi.stackThread(dead) === 0, "the slot to be free");
  assert.is(rig.stack(4), dead);
});

reaps("a thread that finds no slot makes room, be it the last buffer that nobody has attached", () => {
  const slots = Array.from({ length: STACK_CAPACITY }, (_, i) => scene.stack(i + 1));
  assert.ok(scene.rig.abi.stackAcquire(99, 1) < 0);
  scene.reaper(undefined).sweep();
  assert.is(scene.living.length, STACK_CAPACITY);
  const before = scene.rig.abi.arenaFreeBlocks();
  scene.rig.register(slots[7]!, 0);
  scene.kill(slots[7]!);
  scene.reaper(undefined).sweep();
  assert.is(scene.rig.abi.stackAcquire(99, 1), slots[7]);
  assert.is(scene.rig.abi.arenaFreeBlocks(), before);
});

for (const heir of ["a stack", "a thread without one"] as const) {
  reaps(`a reaper that dies before it has finished is finished by ${heir}`, async () => {
    const { rig } = scene;
    const [own, reaper, dead] = [scene.stack(1), scene.stack(2), scene.stack(3)];
    const before = rig.abi.arenaFreeBlocks();
    rig.register(dead, 0);
    // It condemned the dead, and lives no longer to do what it set its clock for.
    assert.is(rig.abi.stackCondemn(dead, 3, reaper), 1);
    assert.is(rig.abi.stackReap(dead, reaper, 1, 1), 1);
    scene.kill(reaper);
    scene.reaper(heir === "a stack" ? own : undefined).sweep();
    await until(() => rig.abi.arenaFreeBlocks() === before, "the buffer of the dead");
    const free = [rig.stack(4), rig.stack(5)];
    assert.equal(free.sort(), [reaper, dead].sort());
  });
}

reaps("a pair is left before the slot is free: the next stack may enter it", () => {
  const own = scene.stack(1);
  const dead = scene.stack(2);
  const pair = scene.pairs.claim(7n, 8n, dead)!;
  scene.pairs.enter(pair, own);
  scene.pairs.live(pair);
  scene.kill(dead);
  scene.reaper(own).sweep();
  assert.equal([scene.pairs.uses(pair, dead), scene.pairs.uses(pair, own)], [false, true]);
  const other = scene.stack(3);
  assert.is(other, dead);
  scene.kill(own);
  scene.kill(other);
  scene.reaper(scene.stack(4)).sweep();
  assert.is(scene.pairs.phase(pair), "free", "the last one took it down");
});

test.run();
