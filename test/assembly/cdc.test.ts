/** The CDC words: their bytes as smc-protocol §4.2 has them, and what flags do on either side. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  EVENT_ILLEGAL,
  EVENT_READABLE,
  EVENT_STATE,
  EVENT_URGENT,
  EVENT_WRITABLE,
  PROD_CONS_UPDATE_REQUESTED,
  PROD_URGENT_PENDING,
  PROD_URGENT_PRESENT,
  PROD_WRITE_BLOCKED,
  STATE_CONN_ABORT,
  STATE_CONN_CLOSED,
  STATE_DONE_WRITING,
} from "../../assembly/shared/codes.js";
import { CDC_CONS_OFFSET, CDC_PROD_OFFSET, CDC_SIZE } from "../../assembly/shared/layout.js";
import { ageCursors, connectPair, cursor, MODES, type Mode, type Pair, Rig } from "./rig.js";

const rig = new Rig();
const leftStack = rig.stack(1);
const rightStack = rig.stack(2);

function withPair(body: (pair: Pair) => void, mode: Mode = "attached"): void {
  const pair = connectPair(rig, { mode }, leftStack, rightStack);
  body(pair);
  pair.intact();
  pair.dissolve();
}

const words = suite("CDC words");

words("lie in the 32 bytes before the ring", () => {
  assert.equal([CDC_PROD_OFFSET, CDC_CONS_OFFSET, CDC_SIZE], [8, 16, 32]);
});

for (const mode of MODES) {
  words(`${mode}: every field stands at its byte, in host order`, () => {
    withPair(({ left, right }) => {
      ageCursors({ left, right } as Pair, 0x1234, 0);
      right.write(Buffer.alloc(0x0a0b));
      left.read(0x0a0b);
      left.write(Buffer.alloc(0x0c0d));
      left.note(left.abi.connSignal(left.conn, PROD_CONS_UPDATE_REQUESTED | (STATE_DONE_WRITING << 8)));
      const area = rig.take(rig.cdc(right.dmb), CDC_SIZE);
      assert.is(area.readUInt16LE(8), 0x1234, "producer wrap");
      assert.is(area.readUInt32LE(10), 0x0c0d, "producer count");
      assert.equal([area[14], area[15]], [0, 0], "the producer word carries no flags");
      assert.is(area.readUInt16LE(16), 0x1234, "consumer wrap");
      assert.is(area.readUInt32LE(18), 0x0a0b, "consumer count");
      assert.is(area[22], PROD_CONS_UPDATE_REQUESTED, "producer flags");
      assert.is(area[23], STATE_DONE_WRITING, "state flags");
    }, mode);
  });
}

words("the count starts again at the ring's end, and the wrap counter goes on", () => {
  withPair(({ left, right }) => {
    left.write(Buffer.alloc(left.peerSize));
    assert.is(rig.u64(right.cdc(CDC_PROD_OFFSET)), cursor(1, 0), "a full ring: next wrap, same count");
    right.read(left.peerSize);
    assert.is(rig.u64(left.cdc(CDC_CONS_OFFSET)) & 0xffff_ffff_ffffn, cursor(1, 0));
  });
});

words("each side writes the peer's area and never its own", () => {
  withPair(({ left, right }) => {
    const before = rig.take(rig.cdc(left.dmb), CDC_SIZE);
    left.write(Buffer.alloc(1000));
    left.abi.connSignal(left.conn, STATE_DONE_WRITING << 8);
    assert.equal(rig.take(rig.cdc(left.dmb), CDC_SIZE), before);
    right.read(1000);
    right.abi.rxFlush(right.conn);
    assert.not.equal(rig.take(rig.cdc(left.dmb), CDC_SIZE), before);
  });
});

words("a flush shows the consumer cursor without a signal", () => {
  withPair(({ left, right }) => {
    left.write(Buffer.alloc(1000));
    right.read(1000);
    assert.is(left.abi.txRefresh(left.conn), 0, "too little to be told");
    rig.abi.cqPoll(left.stack);
    right.abi.rxFlush(right.conn);
    assert.is(rig.abi.cqPoll(left.stack), 0);
    assert.is(left.abi.txRefresh(left.conn), EVENT_WRITABLE);
    assert.is(left.abi.connPeerUnread(left.conn), 0);
  });
});

const flags = suite("CDC flags");

flags("state flags are told once, stay, and add up", () => {
  withPair(({ left, right }) => {
    assert.is(right.abi.connSample(right.conn), 0);
    left.abi.connSignal(left.conn, STATE_DONE_WRITING << 8);
    assert.is(right.abi.connSample(right.conn), EVENT_STATE);
    assert.is(right.abi.connPeerState(right.conn), STATE_DONE_WRITING);
    assert.is(right.abi.connSample(right.conn), 0, "nothing new");
    left.abi.connSignal(left.conn, STATE_CONN_CLOSED << 8);
    assert.is(right.abi.connSample(right.conn), EVENT_STATE);
    assert.is(right.abi.connPeerState(right.conn), STATE_DONE_WRITING | STATE_CONN_CLOSED);
    left.abi.connSignal(left.conn, STATE_CONN_ABORT << 8);
    right.abi.connSample(right.conn);
    assert.is(right.abi.connPeerState(right.conn), STATE_DONE_WRITING | STATE_CONN_CLOSED | STATE_CONN_ABORT);
  });
});

for (const mode of MODES) {
  flags(`${mode}: every later publish repeats the state flags`, () => {
    withPair(({ left, right }) => {
      left.abi.connSignal(left.conn, STATE_DONE_WRITING << 8);
      right.abi.connSample(right.conn);
      right.write(Buffer.alloc(right.peerSize));
      left.read(right.peerSize);
      left.abi.rxFlush(left.conn);
      assert.is(right.abi.connSample(right.conn) & (EVENT_STATE | EVENT_ILLEGAL), 0);
      assert.is(right.abi.connPeerState(right.conn), STATE_DONE_WRITING);
      left.write(Buffer.alloc(left.peerSize));
      right.abi.connSample(right.conn);
      assert.is(right.abi.connPeerState(right.conn), STATE_DONE_WRITING);
    }, mode);
  });
}

flags("bytes published before a close are seen with it, never after", () => {
  withPair(({ left, right }) => {
    left.write(Buffer.from("last words"));
    left.abi.connSignal(left.conn, STATE_CONN_CLOSED << 8);
    assert.is(right.abi.connSample(right.conn), EVENT_STATE | EVENT_READABLE);
    assert.is(right.read(100).toString(), "last words");
  });
});

flags("urgent data present is an event each time it is raised", () => {
  withPair(({ left, right }) => {
    const raise = (bits: number): number => {
      const word = rig.u64(right.cdc(CDC_CONS_OFFSET)) & ~(0xffn << 48n);
      rig.setU64(right.cdc(CDC_CONS_OFFSET), word | (BigInt(bits) << 48n));
      return right.abi.connSample(right.conn);
    };
    assert.is(raise(PROD_URGENT_PENDING), 0);
    assert.is(raise(PROD_URGENT_PENDING | PROD_URGENT_PRESENT), EVENT_URGENT);
    assert.is(raise(PROD_URGENT_PENDING | PROD_URGENT_PRESENT), 0);
    assert.is(raise(0), 0);
    assert.is(raise(PROD_URGENT_PRESENT), EVENT_URGENT);
    assert.is(left.abi.connSample(left.conn), 0);
  });
});

flags("producer flags come and go without an event of their own", () => {
  withPair(({ left, right }) => {
    left.write(Buffer.alloc(left.peerSize));
    assert.is(right.abi.connSample(right.conn), EVENT_READABLE);
    assert.is(Number((rig.u64(right.cdc(CDC_CONS_OFFSET)) >> 48n) & 0xffn), PROD_WRITE_BLOCKED);
    right.read(left.peerSize);
    left.abi.txRefresh(left.conn);
    left.write(Buffer.alloc(10));
    assert.is(rig.u64(right.cdc(CDC_CONS_OFFSET)) >> 48n, 0n);
    assert.is(right.abi.connSample(right.conn), EVENT_READABLE);
  });
});

words.run();
flags.run();
