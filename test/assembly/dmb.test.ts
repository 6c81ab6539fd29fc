/** The DMB table: every order of register, attach, detach and unregister; tokens; and that no byte survives its connection. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { STATUS_BUSY, STATUS_OK, STATUS_UNKNOWN } from "../../assembly/shared/codes.js";
import { BLOCK_SIZE, BLOCKS_OFFSET, CDC_SIZE, DMB_STATE } from "../../assembly/shared/layout.js";
import type { Abi } from "../../src/engine/abi.js";
import { prngFor } from "../support/prng.js";
import { ageCursors, connectPair, MODES, type Pair, Rig } from "./rig.js";

// A fresh arena for each test: what one leaves behind cannot fail another.
let rig: Rig;
let abi: Abi;
let owner: number;
let peer: number;
let other: number;

function scene(): void {
  rig = new Rig();
  abi = rig.abi;
  owner = rig.stack(1);
  peer = rig.stack(2);
  other = rig.stack(3);
}

function allBack(): void {
  assert.is(abi.arenaFreeBlocks(), rig.blocks, "every block came back");
}

const orders = suite("DMB orders");
orders.before.each(scene);

orders("registered buffers are zero, aligned to their size, and say whose they are", () => {
  for (let sizeClass = 0; sizeClass <= 6; sizeClass++) {
    const dmb = rig.register(owner, sizeClass, 1000 + sizeClass);
    const length = BLOCK_SIZE << sizeClass;
    assert.is(abi.dmbLength(dmb), length);
    assert.is((rig.base(dmb) - BLOCKS_OFFSET) % length, 0);
    assert.is(abi.dmbOwner(dmb), owner);
    assert.is(abi.dmbSlot(dmb), 1000 + sizeClass);
    assert.ok(rig.take(rig.base(dmb), length).every((byte) => byte === 0));
    assert.is(abi.arenaFreeBlocks(), rig.blocks - (1 << sizeClass));
    assert.is(abi.dmbUnregister(owner, dmb), STATUS_OK);
  }
  allBack();
});

orders("unregistered without an attacher: free at once", () => {
  const dmb = rig.register(owner, 0);
  assert.is(abi.dmbUnregister(owner, dmb), STATUS_OK);
  assert.is(abi.arenaFreeBlocks(), rig.blocks);
  assert.is(abi.dmbUnregister(owner, dmb), STATUS_UNKNOWN, "only once");
  allBack();
});

orders("attach, detach, unregister", () => {
  const dmb = rig.register(owner, 0);
  assert.is(rig.attach(peer, dmb), dmb);
  assert.is(abi.dmbDetach(peer, dmb), STATUS_OK);
  assert.is(abi.dmbDetach(peer, dmb), STATUS_UNKNOWN, "only once");
  assert.is(abi.arenaFreeBlocks(), rig.blocks - 1, "the owner's hold is enough");
  assert.is(rig.attach(other, dmb), dmb, "after a detach the next may attach");
  assert.is(abi.dmbDetach(other, dmb), STATUS_OK);
  assert.is(abi.dmbUnregister(owner, dmb), STATUS_OK);
  allBack();
});

orders("the owner may go first: the buffer stays until the attacher lets go", () => {
  const dmb = rig.register(owner, 0);
  rig.attach(peer, dmb);
  assert.is(abi.dmbUnregister(owner, dmb), STATUS_OK);
  assert.is(abi.arenaFreeBlocks(), rig.blocks - 1);
  const next = rig.register(other, 0);
  assert.is.not(next, dmb, "the entry is not given away");
  assert.is.not(rig.base(next), rig.base(dmb), "nor are the pages");
  assert.is(rig.attach(other, dmb), STATUS_UNKNOWN, "a dying buffer takes no attacher");
  assert.is(abi.dmbDetach(peer, dmb), STATUS_OK);
  abi.dmbUnregister(other, next);
  allBack();
});

orders("one attacher at a time", () => {
  const dmb = rig.register(owner, 0);
  rig.attach(peer, dmb);
  assert.is(rig.attach(other, dmb), STATUS_BUSY);
  assert.is(rig.attach(peer, dmb), STATUS_BUSY);
  abi.dmbUnregister(owner, dmb);
  abi.dmbDetach(peer, dmb);
  allBack();
});

orders("a hold is dropped by its holder alone", () => {
  const dmb = rig.register(owner, 0);
  rig.attach(peer, dmb);
  assert.is(abi.dmbUnregister(peer, dmb), STATUS_UNKNOWN);
  assert.is(abi.dmbDetach(owner, dmb), STATUS_UNKNOWN);
  assert.is(abi.dmbDetach(other, dmb), STATUS_UNKNOWN);
  assert.is(rig.attach(other, dmb), STATUS_BUSY, "nothing has changed");
  abi.dmbUnregister(owner, dmb);
  assert.is(abi.dmbUnregister(owner, dmb), STATUS_UNKNOWN);
  abi.dmbDetach(peer, dmb);
  allBack();
});

orders("a stack may attach its own buffer", () => {
  const dmb = rig.register(owner, 0);
  assert.is(rig.attach(owner, dmb), dmb);
  assert.is(abi.dmbUnregister(owner, dmb), STATUS_OK);
  assert.is(abi.arenaFreeBlocks(), rig.blocks - 1);
  assert.is(abi.dmbDetach(owner, dmb), STATUS_OK);
  allBack();
});

const tokens = suite("DMB tokens");
tokens.before.each(scene);

tokens("only the whole token attaches: any other bit pattern is unknown", () => {
  const dmb = rig.register(owner, 0);
  const lo = abi.dmbTokenLo(dmb);
  const hi = abi.dmbTokenHi(dmb);
  for (let bit = 0; bit < 32; bit++) {
    assert.is(abi.dmbAttach(peer, lo ^ (1 << bit), hi), STATUS_UNKNOWN, `bit ${bit}`);
    assert.is(abi.dmbAttach(peer, lo, hi ^ (1 << bit)), STATUS_UNKNOWN, `bit ${32 + bit}`);
  }
  assert.is(abi.dmbAttach(peer, lo, hi), dmb);
  abi.dmbDetach(peer, dmb);
  abi.dmbUnregister(owner, dmb);
  allBack();
});

tokens("random tokens find nothing", () => {
  const prng = prngFor("random tokens");
  const dmb = rig.register(owner, 0);
  for (let i = 0; i < 20_000; i++) assert.is(abi.dmbAttach(peer, prng.u32(), prng.u32()), STATUS_UNKNOWN);
  abi.dmbUnregister(owner, dmb);
  allBack();
});

tokens("a token dies with its registration, also when the entry is used again", () => {
  const dmb = rig.register(owner, 0);
  const lo = abi.dmbTokenLo(dmb);
  const hi = abi.dmbTokenHi(dmb);
  const generation = rig.u32(rig.entry(dmb)) >>> 18;
  abi.dmbUnregister(owner, dmb);
  assert.is(abi.dmbAttach(peer, lo, hi), STATUS_UNKNOWN);
  const again = rig.register(other, 0);
  assert.is(again, dmb, "the same entry");
  assert.is(rig.u32(rig.entry(dmb)) >>> 18, generation + 1, "of the next generation");
  assert.is(abi.dmbAttach(peer, lo, hi), STATUS_UNKNOWN);
  assert.is(abi.dmbUnregister(owner, dmb), STATUS_UNKNOWN, "the earlier owner has no say");
  abi.dmbUnregister(other, again);
  allBack();
});

tokens("the generation goes round without touching owner or flags", () => {
  const probe = rig.register(owner, 0);
  const entry = rig.entry(probe);
  abi.dmbUnregister(owner, probe);
  rig.setU32(entry + DMB_STATE, 0x3fff << 18);
  const dmb = rig.register(owner, 0);
  assert.is(dmb, probe);
  assert.is(abi.dmbOwner(dmb), owner);
  assert.is(rig.attach(peer, dmb), dmb);
  abi.dmbDetach(peer, dmb);
  assert.is(abi.dmbUnregister(owner, dmb), STATUS_OK);
  allBack();
});

const zeroed = suite("DMB reuse");
zeroed.before.each(scene);

/** Fails if a block is still taken, or a byte of the arena not zero. */
function allZero(): void {
  const end = BLOCKS_OFFSET + rig.blocks * BLOCK_SIZE;
  const words = new BigUint64Array(rig.memory.buffer, BLOCKS_OFFSET, (end - BLOCKS_OFFSET) / 8);
  const found = words.findIndex((word) => word !== 0n);
  allBack();
  assert.is(found, -1, `a byte of an earlier connection at block offset ${found * 8}`);
}

const SECRET = Buffer.alloc(1 << 20, 0xee);

/** Sends `bytes` each way and reads them, through as many laps as it takes. */
function exchange({ left, right }: Pair, bytes: number): void {
  for (const [from, to] of [
    [left, right],
    [right, left],
  ] as const) {
    for (let sent = 0, read = 0; read < bytes; ) {
      from.abi.txRefresh(from.conn);
      sent += from.write(SECRET.subarray(0, bytes - sent));
      const got = to.read(1 << 20).length;
      assert.ok(got > 0, "the stream goes on");
      to.abi.rxFlush(to.conn);
      read += got;
    }
  }
}

for (const mode of MODES) {
  for (const [what, bytes] of [
    ["a few bytes", 100],
    ["a full ring", 16_352],
    ["many laps", 16_352 * 5 + 77],
  ] as const) {
    zeroed(`${mode}: after ${what}, freed pages are zero`, () => {
      const pair = connectPair(rig, { mode, right: 1, snd: 1 }, owner, peer);
      exchange(pair, bytes);
      pair.dissolve();
      allZero();
    });
  }

  zeroed(`${mode}: bytes left unread are gone as well`, () => {
    const pair = connectPair(rig, { mode, snd: 2 }, owner, peer);
    pair.left.write(SECRET.subarray(0, 60_000));
    pair.right.write(SECRET.subarray(0, 5));
    pair.dissolve();
    allZero();
  });

  zeroed(`${mode}: a wrap counter that has come round does not pass for a first lap`, () => {
    const pair = connectPair(rig, { mode }, owner, peer);
    exchange(pair, 16_352);
    ageCursors(pair, 0xffff, 16_000);
    exchange(pair, 500);
    pair.dissolve();
    allZero();
  });
}

zeroed("a buffer of a dead owner or attacher is zeroed whole, noted or not", () => {
  for (const dies of [owner, peer]) {
    const dmb = rig.register(owner, 1);
    rig.attach(peer, dmb);
    rig.bytes.fill(0xee, rig.base(dmb), rig.base(dmb) + (BLOCK_SIZE << 1));
    abi.stackReap(dies, other);
    if (dies === owner) assert.is(abi.dmbDetach(peer, dmb), STATUS_OK);
    else assert.is(abi.dmbUnregister(owner, dmb), STATUS_OK);
    assert.is(abi.stackAcquire(dies === owner ? 1 : 2, 0xffffffff), dies, "the freed slot is the first one free");
    allZero();
  }
});

const random = suite("DMB random");
random.before.each(scene);

random("10,000 random steps of three stacks in two threads: the table agrees with a plain account of it", () => {
  const threads = [rig.instance(), rig.instance()];
  const prng = prngFor("dmb random");
  const stacks = [owner, peer, other];
  const live = new Map<number, { owner: number | undefined; attacher: number | undefined; blocks: number }>();
  for (let step = 0; step < 10_000; step++) {
    const thread = prng.pick(threads);
    const stack = prng.pick(stacks);
    const [index, entry] = live.size === 0 ? [-1, undefined] : prng.pick([...live]);
    switch (prng.below(4)) {
      case 0: {
        if (live.size >= 60) break;
        const sizeClass = prng.below(4);
        const fresh = rig.register(stack, sizeClass, 0, thread);
        assert.not.ok(live.has(fresh));
        live.set(fresh, { owner: stack, attacher: undefined, blocks: 1 << sizeClass });
        assert.ok(rig.take(rig.base(fresh), CDC_SIZE + 64).every((byte) => byte === 0));
        rig.bytes.fill(stack + 1, rig.base(fresh), rig.base(fresh) + CDC_SIZE);
        break;
      }
      case 1:
        if (entry === undefined) break;
        assert.is(
          rig.attach(stack, index, thread),
          entry.owner === undefined ? STATUS_UNKNOWN : entry.attacher !== undefined ? STATUS_BUSY : index,
        );
        if (entry.owner !== undefined) entry.attacher ??= stack;
        break;
      case 2:
        if (entry === undefined) break;
        assert.is(thread.dmbDetach(stack, index), entry.attacher === stack ? STATUS_OK : STATUS_UNKNOWN);
        if (entry.attacher === stack) entry.attacher = undefined;
        break;
      default:
        if (entry === undefined) break;
        assert.is(thread.dmbUnregister(stack, index), entry.owner === stack ? STATUS_OK : STATUS_UNKNOWN);
        if (entry.owner === stack) entry.owner = undefined;
    }
    if (entry !== undefined && entry.owner === undefined && entry.attacher === undefined) live.delete(index);
  }
  const held = [...live.values()].reduce((sum, entry) => sum + entry.blocks, 0);
  assert.is(abi.arenaFreeBlocks(), rig.blocks - held);
  for (const [index, entry] of live) {
    if (entry.attacher !== undefined) abi.dmbDetach(entry.attacher, index);
    if (entry.owner !== undefined) abi.dmbUnregister(entry.owner, index);
  }
  assert.is(abi.arenaFreeBlocks(), rig.blocks);
  allZero();
});

orders.run();
tokens.run();
zeroed.run();
random.run();
