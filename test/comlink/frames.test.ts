/** Messages in a byte stream: cut up anywhere, bounded, and never believed further than they have come. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { FrameReader, HEAD_BYTES, seal } from "../../src/comlink/frames.js";
import { prngFor } from "../support/prng.js";

const test = suite("comlink frames");

function frame(channel: number, payload: Uint8Array): Buffer {
  return seal(Buffer.concat([Buffer.alloc(HEAD_BYTES), payload]), channel);
}

test("the golden bytes of a frame", () => {
  assert.is(frame(0x80000002, Buffer.from("ab")).toString("hex"), "02000000020000806162");
});

test("whatever the cuts, the same frames come out", () => {
  const random = prngFor("cuts");
  const sent = Array.from({ length: 60 }, (_, i) => ({
    channel: random.u32(),
    payload: random.fill(
      Buffer.alloc(i % 7 === 0 ? 0 : random.oneIn(5) ? random.between(60_000, 200_000) : random.below(40)),
    ),
  }));
  const stream = Buffer.concat(sent.map(({ channel, payload }) => frame(channel, payload as Buffer)));
  for (const most of [1, 9, 70, 5_000, 65_536, stream.length]) {
    const reader = new FrameReader(200_000);
    const got: { channel: number; payload: Buffer }[] = [];
    for (let at = 0; at < stream.length; ) {
      const end = Math.min(stream.length, at + (most === 1 ? 1 : random.between(1, most)));
      for (const { channel, payload } of reader.push(stream.subarray(at, end)))
        got.push({ channel, payload: Buffer.from(payload) });
      at = end;
    }
    assert.is(reader.isInside, false);
    assert.is(got.length, sent.length);
    for (const [i, { channel, payload }] of got.entries())
      assert.ok(channel === sent[i]!.channel && payload.equals(sent[i]!.payload), `frame ${i} in pieces of ${most}`);
  }
});

test("a length above the bound is refused as soon as it is known, in one piece or byte by byte", () => {
  const head = Buffer.from("6500000000000000", "hex");
  assert.throws(() => [...new FrameReader(100).push(head)], /EPROTO: a message of 101 bytes/);
  const reader = new FrameReader(100);
  for (const byte of head.subarray(0, 7)) assert.equal([...reader.push(Buffer.from([byte]))], []);
  assert.throws(() => [...reader.push(Buffer.from([0]))], /EPROTO: a message of 101 bytes/);
});

test("a length alone takes no memory of its size", () => {
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt32LE(1 << 30, 0);
  const before = process.memoryUsage().arrayBuffers;
  const readers = Array.from({ length: 16 }, () => new FrameReader(1 << 30));
  for (const reader of readers) assert.equal([...reader.push(head)], []);
  assert.ok(readers.every((reader) => reader.isInside));
  assert.ok(process.memoryUsage().arrayBuffers - before < 16 << 20);
});

test.run();
