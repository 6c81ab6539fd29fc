/** The datagram that proves where an address leads: golden bytes, and that nothing else passes for one. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SmcError } from "../../src/errors.js";
import { decodeProbe, encodeProbe, PROBE_SIZE } from "../../src/wire/probe.js";
import { prngFor } from "../support/prng.js";
import { hex } from "./messages.js";

const NONCE = 0x1112_1314_1516_1718n;
const GOLDEN = hex("534d4355 70726f62  1112131415161718");

const test = suite("probe");

test("golden bytes, both ways", () => {
  assert.equal(encodeProbe(NONCE), GOLDEN);
  assert.is(decodeProbe(GOLDEN), NONCE);
});

test("any nonce but 0 comes back as it went", () => {
  for (const nonce of [1n, 1n << 63n, (1n << 64n) - 1n]) assert.is(decodeProbe(encodeProbe(nonce)), nonce);
  assert.is(decodeProbe(encodeProbe(0n)), undefined);
  for (const nonce of [-1n, 1n << 64n])
    assert.throws(
      () => encodeProbe(nonce),
      (error: unknown) => error instanceof SmcError && error.code === "EINVAL",
    );
});

test("cut off anywhere, longer, or with another magic it is none", () => {
  for (let length = 0; length < PROBE_SIZE; length++) assert.is(decodeProbe(GOLDEN.subarray(0, length)), undefined);
  assert.is(decodeProbe(new Uint8Array([...GOLDEN, 0])), undefined);
  for (let at = 0; at < 8; at++) {
    const damaged = Uint8Array.from(GOLDEN);
    damaged[at]! ^= 1;
    assert.is(decodeProbe(damaged), undefined, `byte ${at}`);
  }
});

test("bytes at random, of any length, are none", () => {
  const prng = prngFor("probe noise");
  for (let i = 0; i < 2000; i++)
    assert.is(decodeProbe(prng.fill(new Uint8Array(prng.oneIn(2) ? PROBE_SIZE : prng.below(100)))), undefined);
});

test.run();
