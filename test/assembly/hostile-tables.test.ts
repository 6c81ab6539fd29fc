/**
 * A hostile thread overwrites stack words and entries of the tables. It can wake connections for nothing and spoil its own
 * buffers; nobody else's bytes, blocks or holds are touched, and nothing traps.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { STATUS_OK, STATUS_UNKNOWN } from "../../assembly/shared/codes.js";
import {
  BLOCK_SIZE,
  BLOCK_TABLE_OFFSET,
  BLOCKS_OFFSET,
  CONN_CAPACITY,
  DMB_BASE,
  DMB_LENGTH,
  DMB_SLOT,
  DMB_STATE,
  DMB_TOUCHED,
  PENDING_BYTES,
  STACK_ARMED,
  STACK_BITS,
  STACK_CONTROL,
  STACK_READY,
  STACK_SUMMARY,
} from "../../assembly/shared/layout.js";
import { stackWord } from "../../src/engine/memory.js";
import { type Prng, prngFor } from "../support/prng.js";
import { connectPair, type End, type Pair, Rig } from "./rig.js";

const TRIES = 100_000;
const u64 = (prng: Prng): bigint => (BigInt(prng.u32()) << 32n) | BigInt(prng.u32());

const shared = suite("hostile stack words");

shared(
  "pending bits, summaries, doorbell and control words at random: polls give slots in range, and nothing traps",
  () => {
    const rig = new Rig();
    const { left, right } = connectPair(rig, { mode: "attached" }, rig.stack(1), rig.stack(2));
    const prng = prngFor("hostile stack words");
    const word = (offset: number): number => stackWord(right.stack, offset);
    for (let attempt = 0; attempt < TRIES; attempt++) {
      switch (prng.below(4)) {
        case 0:
          rig.setU64(word(STACK_BITS) + left.stack * PENDING_BYTES + prng.below(PENDING_BYTES / 8) * 8, u64(prng));
          break;
        case 1:
          rig.setU64(word(STACK_SUMMARY) + left.stack * 64, u64(prng));
          break;
        case 2:
          rig.setU32(word(STACK_ARMED), prng.u32());
          break;
        default:
          rig.setU32(word(STACK_CONTROL), prng.u32());
      }
      rig.abi.stackArm(right.stack, 2);
      rig.abi.stackStuck(right.stack);
      const count = rig.abi.cqPoll(right.stack);
      assert.ok(count <= CONN_CAPACITY);
      if (count > 0) assert.ok(rig.u32(word(STACK_READY) + prng.below(count) * 4) < CONN_CAPACITY);
      rig.abi.stackControl(right.stack);
      rig.abi.stackDisarm(right.stack);
      assert.is(rig.abi.connSample(right.conn), 0, "it wakes connections for nothing, and that is all");
    }
  },
);

const table = suite("hostile DMB entries");

interface Scene {
  readonly rig: Rig;
  readonly victim: number;
  readonly bystander: End;
  readonly pair: Pair;
  /** Buffer of the hostile stack whose entry it rewrites. */
  readonly dmb: number;
}

/** A victim about to attach a hostile stack's buffer, and a connection of others in the same arena. */
function scene(): Scene {
  const rig = new Rig();
  const hostile = rig.stack(1);
  const victim = rig.stack(2);
  const pair = connectPair(rig, { mode: "attached" }, rig.stack(3), rig.stack(4));
  return { rig, victim, bystander: pair.left, pair, dmb: rig.register(hostile, 1) };
}

/** Whether every block of [address, address + length) belongs to entry `dmb`. */
function owns(rig: Rig, dmb: number, address: number, length: number): boolean {
  const first = (address - BLOCKS_OFFSET) / BLOCK_SIZE;
  if (!Number.isInteger(first) || first < 0 || length < BLOCK_SIZE) return false;
  for (let block = first; block < first + length / BLOCK_SIZE; block++)
    if (rig.u32(BLOCK_TABLE_OFFSET + block * 4) !== dmb + 1) return false;
  return true;
}

table("base, length and slot at random: refused, or bound to blocks of that very entry and a slot that exists", () => {
  const { rig, victim, dmb, pair } = scene();
  const own = rig.register(victim, 0);
  assert.is(rig.attach(victim, dmb), dmb);
  const prng = prngFor("hostile entries");
  const base = rig.base(dmb);
  const fields = [DMB_BASE, DMB_LENGTH, DMB_SLOT] as const;
  const right = [base, BLOCK_SIZE * 2, 0];
  let refused = 0;
  let bound = 0;
  for (let attempt = 0; attempt < TRIES; attempt++) {
    fields.forEach((field, i) => {
      const likely = [
        right[i],
        BLOCKS_OFFSET + prng.below(16) * BLOCK_SIZE,
        BLOCK_SIZE << prng.below(18),
        prng.below(CONN_CAPACITY * 2),
        prng.u32(),
      ];
      rig.setU32(rig.entry(dmb, field), prng.oneIn(3) ? prng.pick(likely) : right[i]);
    });
    const conn = rig.abi.connOpen(victim, 0, own);
    const status = rig.abi.connAttach(victim, conn, dmb, -1);
    if (status !== STATUS_OK) {
      assert.is(status, STATUS_UNKNOWN);
      refused++;
      continue;
    }
    bound++;
    const length = rig.u32(rig.entry(dmb, DMB_LENGTH));
    const address = rig.u32(rig.entry(dmb, DMB_BASE));
    assert.ok(owns(rig, dmb, address, length), `${length} bytes at ${address} are not this buffer's`);
    assert.ok(rig.abi.dmbSlot(dmb) < CONN_CAPACITY);
    rig.abi.connSignal(conn, 0);
  }
  pair.intact();
  assert.ok(refused > TRIES / 20 && bound > TRIES / 20, `${refused} refused, ${bound} bound`);
});

table("freeing a buffer whose entry was rewritten clears and frees nothing of others, and loses no block", () => {
  for (const [what, rewrite] of [
    ["base of another's buffer", (s: Scene) => s.rig.setU32(s.rig.entry(s.dmb, DMB_BASE), s.rig.base(s.bystander.dmb))],
    ["base nowhere", (s: Scene) => s.rig.setU32(s.rig.entry(s.dmb, DMB_BASE), 0xfffffff0)],
    ["length beyond the end", (s: Scene) => s.rig.setU32(s.rig.entry(s.dmb, DMB_LENGTH), 0xffffc000)],
    ["length 0", (s: Scene) => s.rig.setU32(s.rig.entry(s.dmb, DMB_LENGTH), 0)],
    ["a block too many", (s: Scene) => s.rig.setU32(s.rig.entry(s.dmb, DMB_LENGTH), BLOCK_SIZE * 3)],
    ["a block too few", (s: Scene) => s.rig.setU32(s.rig.entry(s.dmb, DMB_LENGTH), BLOCK_SIZE)],
    ["touched too far", (s: Scene) => s.rig.setU32(s.rig.entry(s.dmb, DMB_TOUCHED), 0xffffffff)],
  ] as const) {
    const s = scene();
    const { rig, pair, victim, dmb } = s;
    const hostile = rig.abi.dmbOwner(dmb);
    const free = rig.abi.arenaFreeBlocks();
    assert.is(rig.attach(victim, dmb), dmb);
    const words = Buffer.from("bytes of a bystander");
    pair.right.write(words);
    rewrite(s);
    assert.is(rig.abi.dmbUnregister(hostile, dmb), STATUS_OK);
    assert.is(rig.abi.dmbDetach(victim, dmb), STATUS_OK);
    pair.intact();
    assert.equal(pair.left.read(1000), words, what);
    assert.is(rig.abi.arenaFreeBlocks(), free + 2, `${what}: the blocks come back`);
  }
});

table("a rewritten state word gives nobody a hold that is not there", () => {
  const { rig, victim, dmb, pair } = scene();
  const prng = prngFor("hostile states");
  const right = rig.u32(rig.entry(dmb, DMB_STATE));
  const words = Buffer.from("bytes of a bystander");
  pair.right.write(words);
  for (let attempt = 0; attempt < 10_000; attempt++) {
    // Not REGISTERED and not ATTACHED by the victim: what it holds is what it knows itself.
    const state = (prng.u32() & ~0x3f803) >>> 0;
    rig.setU32(rig.entry(dmb, DMB_STATE), state);
    assert.is(rig.attach(victim, dmb), STATUS_UNKNOWN);
    assert.is(rig.abi.dmbDetach(victim, dmb), STATUS_UNKNOWN);
    assert.is(rig.abi.dmbUnregister(victim, dmb), STATUS_UNKNOWN);
  }
  rig.setU32(rig.entry(dmb, DMB_STATE), right);
  assert.equal(pair.left.read(1000), words);
});

shared.run();
table.run();
