/**
 * A hostile peer overwrites every word it can reach. What no honest peer writes is EVENT_ILLEGAL and poisons the
 * connection; what one could write is taken; never a trap, never an access outside the connection's own rings.
 *
 * The oracle of what is legal works on stream positions, not on packed cursors.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { CONN_POISONED, EVENT_ILLEGAL, EVENT_READABLE, STATUS_OK } from "../../assembly/shared/codes.js";
import { CDC_CONS_OFFSET, CDC_PROD_OFFSET, CDC_SIZE, CONN_MODE } from "../../assembly/shared/layout.js";
import { type Prng, prngFor } from "../support/prng.js";
import { connectPair, cursor, type End, MODES, type PairShape, Rig } from "./rig.js";

const TRIES = 100_000;
const WRAPS = 65_536;
const noise = new Uint8Array(1 << 16);
prngFor("noise").fill(noise);

const u64 = (prng: Prng): bigint => (BigInt(prng.u32()) << 32n) | BigInt(prng.u32());

/** The victim's end of a connection whose peer is the test, and the victim's account of what the peer may say. */
class Victim {
  /** Stream positions, modulo WRAPS × ring. */
  consumed = 0;
  readable = 0;
  sent = 0;
  peerConsumed = 0;
  stateFlags = 0;

  constructor(
    readonly rig: Rig,
    readonly end: End,
    readonly hostile: End,
  ) {}

  /** A new connection in the same buffers. */
  reopen(): void {
    const { rig, end, hostile } = this;
    for (const own of [end, hostile]) rig.bytes.fill(0, rig.cdc(own.dmb), rig.cdc(own.dmb) + CDC_SIZE);
    rig.abi.connOpen(end.stack, end.slot, end.dmb);
    assert.is(rig.abi.connAttach(end.stack, end.conn, hostile.dmb, end.sndDmb), STATUS_OK);
    this.consumed = this.readable = this.sent = this.peerConsumed = this.stateFlags = 0;
  }

  get poisoned(): boolean {
    return (this.end.u32(CONN_MODE) & CONN_POISONED) !== 0;
  }

  /** The word of a cursor at stream position `position` of a ring of `size` bytes. */
  word(position: number, size: number): bigint {
    const wrap = Math.floor(position / size) % WRAPS;
    return cursor((wrap + WRAPS) % WRAPS, ((position % size) + size) % size);
  }

  /** Bytes from position `from` to the cursor in `word`; NaN for a cursor outside the ring. */
  distance(from: number, word: bigint, size: number): number {
    const count = Number((word >> 16n) & 0xffff_ffffn);
    if (count >= size) return Number.NaN;
    const round = WRAPS * size;
    const position = Number(word & 0xffffn) * size + count;
    return (((position - from) % round) + round) % round;
  }

  /** Whether an honest peer could have written these two words; takes them in if so. */
  accepts(producer: bigint, consumer: bigint): boolean {
    const flags = Number(consumer >> 48n);
    const state = flags >> 8;
    if ((flags & 0x07) !== 0 || (state & 0x1f) !== 0 || (this.stateFlags & ~state) !== 0) return false;
    const moved = this.distance(this.peerConsumed, consumer, this.end.peerSize);
    if (!(moved <= this.sent - this.peerConsumed)) return false;
    if (producer >> 48n !== 0n) return false;
    const readable = this.distance(this.consumed, producer, this.end.size);
    if (!(readable >= this.readable && readable <= this.end.size)) return false;
    this.stateFlags = state;
    this.peerConsumed += moved;
    this.readable = readable;
    return true;
  }

  /** Receives and sends a little, checking every address. */
  use(prng: Prng): void {
    const { rig, end } = this;
    const { abi, conn } = end;
    const inside = (address: number, length: number, ring: number, size: number): void => {
      assert.ok(address >= ring && address + length <= ring + size, `${length} bytes at ${address}: outside the ring`);
    };
    const run = abi.rxRun(conn);
    assert.is(abi.rxReadable(conn), this.poisoned ? 0 : this.readable);
    if (run > 0) {
      inside(abi.rxAddress(conn), run, rig.base(end.dmb) + CDC_SIZE, end.size);
      const length = prng.between(1, run);
      abi.rxConsume(conn, length);
      this.consumed += length;
      this.readable -= length;
    }
    const room = abi.txRun(conn, prng.between(1, 5000));
    assert.ok(!this.poisoned || room === 0, "nothing is sent to a poisoned connection");
    if (room > 0) {
      inside(
        abi.txAddress(conn),
        room,
        rig.base(end.sndDmb < 0 ? this.hostile.dmb : end.sndDmb) + CDC_SIZE,
        end.sndSize,
      );
      rig.put(abi.txAddress(conn), noise.subarray(0, room));
      const before = abi.txUnsent(conn);
      abi.txSend(conn, room);
      this.sent += before + room - abi.txUnsent(conn);
    } else {
      const before = abi.txUnsent(conn);
      abi.txPublish(conn);
      this.sent += before - abi.txUnsent(conn);
    }
    abi.rxFlush(conn);
    abi.connPeerUnread(conn);
    abi.connDrained(conn);
  }
}

/** A word a hostile peer might try in place of `now`: random, nearly right, or right. */
function someWord(prng: Prng, now: bigint, likely: bigint): bigint {
  switch (prng.below(6)) {
    case 0:
      return u64(prng);
    case 1:
      return u64(prng) & 0xffff_ffff_ffffn;
    case 2:
      return now ^ (1n << BigInt(prng.below(64)));
    case 3:
      return (likely + BigInt(prng.between(-2, 2)) * 0x10000n) & 0xffff_ffff_ffff_ffffn;
    default:
      return likely;
  }
}

const cdc = suite("hostile CDC words");

const shapes: readonly (PairShape & { readonly what: string })[] = [
  ...MODES.map((mode) => ({ what: mode, mode })),
  { what: "copy, rings of three sizes", mode: "copy", left: 2, right: 0, snd: 1 },
];
for (const { what, ...shape } of shapes) {
  cdc(`${what}: ${TRIES} overwrites are refused or taken exactly as the rules say, and nothing else is touched`, () => {
    const rig = new Rig();
    const pair = connectPair(rig, shape, rig.stack(1), rig.stack(2));
    const victim = new Victim(rig, pair.right, pair.left);
    const prng = prngFor(`hostile ${what}`);
    const { end } = victim;
    let refused = 0;
    let taken = 0;
    for (let attempt = 0; attempt < TRIES; attempt++) {
      const position = victim.consumed + prng.between(victim.readable, end.size);
      const behind = prng.between(victim.peerConsumed, victim.sent);
      const flags = BigInt(victim.stateFlags | (prng.oneIn(50) ? 0xe0 : 0)) << 56n;
      const wished = BigInt(prng.below(32) << 3) << 48n;
      const producer = end.cdc(CDC_PROD_OFFSET);
      const consumer = end.cdc(CDC_CONS_OFFSET);
      if (prng.oneIn(2)) rig.setU64(producer, someWord(prng, rig.u64(producer), victim.word(position, end.size)));
      else rig.setU64(consumer, someWord(prng, rig.u64(consumer), victim.word(behind, end.peerSize) | flags | wished));
      const legal = victim.accepts(rig.u64(producer), rig.u64(consumer));
      const events = rig.abi.connSample(end.conn);
      assert.is((events & EVENT_ILLEGAL) === 0, legal, `attempt ${attempt}: ${rig.u64(producer)} ${rig.u64(consumer)}`);
      assert.is(victim.poisoned, !legal);
      if (legal) assert.is((events & EVENT_READABLE) !== 0, victim.readable > 0);
      victim.use(prng);
      if (legal) taken++;
      else {
        refused++;
        assert.is(rig.abi.connSample(end.conn), EVENT_ILLEGAL, "poisoned for good");
        assert.is(rig.abi.txRefresh(end.conn), EVENT_ILLEGAL);
        victim.reopen();
      }
      if (attempt % 500 === 0) pair.intact();
    }
    pair.intact();
    assert.ok(refused > TRIES / 20 && taken > TRIES / 4, `${refused} refused, ${taken} taken`);
  });
}

cdc("bytes and space that were offered before the connection was poisoned end in a result, not in a trap", () => {
  const rig = new Rig();
  const { left, right } = connectPair(rig, { mode: "attached" }, rig.stack(1), rig.stack(2));
  left.write(Buffer.alloc(100));
  const { abi, conn } = right;
  const run = abi.rxRun(conn);
  const room = abi.txRun(conn, 100);
  assert.equal([run, room], [100, 100]);
  rig.setU64(right.cdc(CDC_CONS_OFFSET), 0xffff_ffff_ffff_ffffn);
  assert.is(abi.connSample(conn), EVENT_ILLEGAL);
  abi.rxConsume(conn, run);
  abi.txSend(conn, room);
  assert.is(abi.connSample(conn), EVENT_ILLEGAL);
});

cdc.run();
