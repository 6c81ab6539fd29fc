import { test } from "uvu";
import * as assert from "uvu/assert";
import { ClcFraming, LateFilter } from "../../src/clc/framing.js";
import { prngFor } from "../support/prng.js";
import { hex, SAMPLES, sample } from "../wire/messages.js";

const DECLINE = sample("Decline v2 of Linux, 44 bytes").bytes;
const PROPOSAL = sample("Proposal v2, D and D, as offered by default").bytes;
const APPLICATION = Buffer.from("GET / HTTP/1.1\r\n\r\n");

for (const { name, bytes } of SAMPLES) {
  test(`${name}: comes out whole, one byte at a time`, () => {
    const framing = new ClcFraming();
    for (const [i, byte] of bytes.entries()) {
      assert.equal(framing.next(), { type: "partial" }, `after ${i} bytes`);
      framing.push(Uint8Array.of(byte));
    }
    assert.equal(framing.next(), { type: "message", bytes });
    assert.is(framing.takeRest().length, 0);
  });

  test(`${name}: comes out whole with what follows kept, all at once`, () => {
    const framing = new ClcFraming();
    framing.push(Uint8Array.from(Buffer.concat([bytes, APPLICATION])));
    assert.equal(framing.next(), { type: "message", bytes });
    assert.equal(framing.takeRest(), Uint8Array.from(APPLICATION));
  });

  test(`${name}: a cut message is kept to the last byte`, () => {
    for (let length = 0; length < bytes.length; length++) {
      const framing = new ClcFraming();
      framing.push(Uint8Array.from(bytes.subarray(0, length)));
      assert.is(framing.next().type, "partial");
      assert.equal(framing.takeRest(), bytes.slice(0, length));
    }
  });
}

test("messages in one chunk come out one by one", () => {
  const framing = new ClcFraming();
  framing.push(Uint8Array.from(Buffer.concat([PROPOSAL, DECLINE, APPLICATION])));
  assert.equal(framing.next(), { type: "message", bytes: PROPOSAL });
  assert.equal(framing.next(), { type: "message", bytes: DECLINE });
  assert.equal(framing.next(), { type: "foreign" });
  assert.equal(framing.takeRest(), Uint8Array.from(APPLICATION));
});

test("a stream cut anywhere gives the same messages and the same rest", () => {
  const stream = Buffer.concat([PROPOSAL, DECLINE, APPLICATION]);
  const random = prngFor("framing");
  for (let round = 0; round < 300; round++) {
    const framing = new ClcFraming();
    const messages: Uint8Array[] = [];
    for (let at = 0; at < stream.length; ) {
      const length = random.between(1, 60);
      framing.push(Uint8Array.from(stream.subarray(at, at + length)));
      at += length;
      for (let framed = framing.next(); framed.type === "message"; framed = framing.next()) messages.push(framed.bytes);
    }
    assert.equal(messages, [PROPOSAL, DECLINE], `seed ${random.seed}`);
    assert.equal(framing.takeRest(), Uint8Array.from(APPLICATION));
  }
});

const FOREIGN: readonly (readonly [string, Uint8Array])[] = [
  ["text", Buffer.from("G")],
  ["the euro sign, which begins like an eyecatcher", Buffer.from("\u20ac").subarray(0, 2)],
  ["three bytes of an eyecatcher and another one", hex("e2d4c3d8")],
  ["an eyecatcher and text", Buffer.concat([hex("e2d4c3d9"), Buffer.from("h")])],
  ["type 0", hex("e2d4c3d9 00")],
  ["a Proposal of 51 bytes", hex("e2d4c3d9 01 0033")],
  ["a Proposal of 653 bytes", hex("e2d4c3d9 01 028d")],
  ["a length beyond all limits, at its first byte", hex("e2d4c3d9 01 03")],
  ["a Decline of 27 bytes", hex("e2d4c3d9 04 001b")],
  ["version 0", hex("e2d4c3d9 04 002c 00")],
];
for (const [what, bytes] of FOREIGN)
  test(`${what}: foreign at the deciding byte, every byte given back`, () => {
    const framing = new ClcFraming();
    for (const byte of bytes.subarray(0, -1)) framing.push(Uint8Array.of(byte));
    assert.is(framing.next().type, "partial");
    framing.push(Uint8Array.from(bytes.subarray(-1)));
    framing.push(Uint8Array.from(APPLICATION));
    assert.is(framing.next().type, "foreign");
    assert.is(framing.next().type, "foreign");
    assert.equal(framing.takeRest(), Uint8Array.from(Buffer.concat([bytes, APPLICATION])));
  });

test("the largest Proposal is taken", () => {
  const framing = new ClcFraming();
  framing.push(Uint8Array.from(hex("e2d4c3d9 01 028c 20")));
  assert.is(framing.next().type, "partial");
});

const join = (chunks: Uint8Array[]): string => Buffer.concat(chunks).toString("latin1");

test("the late filter swallows one message and nothing of what follows", () => {
  for (const size of [1, 7, 44, 1000]) {
    const filter = new LateFilter(new ClcFraming());
    const stream = Buffer.concat([DECLINE, DECLINE, APPLICATION]);
    const passed: Uint8Array[] = [];
    for (let at = 0; at < stream.length; at += size)
      passed.push(filter.push(Uint8Array.from(stream.subarray(at, at + size))));
    assert.is(join(passed), join([DECLINE, APPLICATION]), `chunks of ${size}`);
    assert.ok(filter.done);
  }
});

test("the late filter lets a stream without a late message pass, from its first byte", () => {
  const filter = new LateFilter(new ClcFraming());
  assert.is(join([filter.push(Uint8Array.from(APPLICATION.subarray(0, 1)))]), "G");
  assert.ok(filter.done);
  assert.is(join([filter.push(Uint8Array.from(DECLINE))]), join([DECLINE]), "a message later is the application's");
});

test("the late filter goes on with what the handshake has read already", () => {
  const framing = new ClcFraming();
  framing.push(Uint8Array.from(Buffer.concat([PROPOSAL, DECLINE, APPLICATION])));
  framing.next();
  const filter = new LateFilter(framing);
  assert.is(join([filter.push(Uint8Array.from(new Uint8Array(0)))]), join([APPLICATION]));
});

test("the late filter gives back what it holds when nothing more comes", () => {
  const filter = new LateFilter(new ClcFraming());
  assert.is(filter.push(Uint8Array.from(hex("e2d4"))).length, 0);
  assert.not(filter.done);
  assert.equal(filter.release(), hex("e2d4"));
  assert.ok(filter.done);
});

test.run();
