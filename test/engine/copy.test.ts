/** Bulk copies, one body for both ways: every alignment and edge size, and no byte beside the range. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AliasCopy, AlignedCopy, aliasWorks, type RingCopy } from "../../src/engine/copy.js";
import { sharedView } from "../../src/engine/memory.js";
import { loadLibc } from "../../src/host/libc.js";
import { Rig } from "../assembly/rig.js";
import { prngFor } from "../support/prng.js";

const STAGE_BYTES = 16_384;
const FENCE = 16;

const rig = new Rig();
const stack = rig.stack(1);
const stage = rig.base(rig.register(stack, 0));
const place = rig.base(rig.register(stack, 3));
const shared = sharedView(rig.memory);
const ffi = loadLibc();

const ways: [string, RingCopy][] = [
  ["shared view, staged", new AlignedCopy(shared, rig.abi, stage, STAGE_BYTES)],
  ["shared view, without a stage", new AlignedCopy(shared, rig.abi, 0, 0)],
];
if ("libc" in ffi) ways.push(["plain alias", new AliasCopy(ffi.libc.alias(shared))]);
else process.stdout.write(`no plain alias here (${ffi.reason}): its copies are not tested\n`);

const SIZES = [0, 1, 2, 7, 8, 9, 63, 255, 256, 257, 1000];
const LARGE = [STAGE_BYTES - 9, STAGE_BYTES - 8, STAGE_BYTES - 7, STAGE_BYTES, STAGE_BYTES + 1, 3 * STAGE_BYTES + 5];

const data = Buffer.from(prngFor("copies").fill(new Uint8Array(100_000)));

/** Each size at each pair of alignments; large sizes at the pairs that differ most. */
function eachCase(body: (length: number, from: number, to: number) => void): void {
  for (let from = 0; from < 8; from++)
    for (let to = 0; to < 8; to++) {
      for (const length of SIZES) body(length, from, to);
      if (from === to || (from ^ to) === 7 || from + to === 1) for (const length of LARGE) body(length, from, to);
    }
}

/** Fails unless exactly [at, at + length) of `buffer`, filled with 0xcc before, holds `expected`. */
function onlyThere(buffer: Uint8Array, at: number, expected: Uint8Array, what: string): void {
  const found = Buffer.from(buffer.subarray(at - FENCE, at + expected.length + FENCE));
  const fence = Buffer.alloc(FENCE, 0xcc);
  assert.ok(found.equals(Buffer.concat([fence, expected, fence])), what);
}

for (const [name, copy] of ways) {
  const copies = suite(`copy: ${name}`);

  copies("puts bytes of a buffer into the arena", () => {
    eachCase((length, from, to) => {
      const address = place + 64 + to;
      rig.bytes.fill(0xcc, address - FENCE, address + length + FENCE);
      copy.put(address, data, from, length);
      onlyThere(rig.bytes, address, data.subarray(from, from + length), `${length} bytes from ${from} to ${to}`);
    });
  });

  copies("puts the whole of a view that begins anywhere in its buffer", () => {
    for (let shift = 0; shift < 8; shift++) {
      const source = data.subarray(shift, shift + 777);
      rig.bytes.fill(0xcc, place, place + 1000);
      copy.put(place + 64, source, 0, source.length);
      onlyThere(rig.bytes, place + 64, source, `view at ${shift}`);
    }
  });

  copies("takes bytes of the arena into a buffer", () => {
    rig.bytes.set(data, place);
    eachCase((length, from, to) => {
      const target = new Uint8Array(length + 2 * FENCE + 8).fill(0xcc);
      copy.take(place + from, length, target, FENCE + to);
      onlyThere(target, FENCE + to, data.subarray(from, from + length), `${length} bytes from ${from} to ${to}`);
    });
  });

  copies("takes into a view that begins anywhere in its buffer", () => {
    rig.bytes.set(data, place);
    for (let shift = 0; shift < 8; shift++) {
      const target = new Uint8Array(2000).fill(0xcc);
      copy.take(place + 3, 1500, target.subarray(shift + FENCE), 5);
      onlyThere(target, shift + FENCE + 5, data.subarray(3, 1503), `view at ${shift}`);
    }
  });

  copies("a fresh copy is private: alone in its buffer, and later changes of the arena do not reach it", () => {
    for (const length of [...SIZES, ...LARGE])
      for (let from = 0; from < 8; from++) {
        rig.bytes.set(data.subarray(0, from + length), place);
        const fresh = copy.fresh(place + from, length);
        rig.bytes.fill(0, place, place + from + length);
        assert.is(fresh.length, length);
        assert.ok(Buffer.from(fresh).equals(data.subarray(from, from + length)), `${length} bytes at ${from}`);
        assert.ok(fresh.buffer.byteLength < length + 8, "no shared pool");
        assert.not.ok(fresh.buffer instanceof SharedArrayBuffer);
      }
  });

  copies("strings go straight into the ring where that is promised, and are refused where not", () => {
    const texts = ["", "a", "plain ascii ".repeat(50), "Grüße é ÿ".repeat(30)];
    for (const text of texts) {
      if (!copy.direct) {
        assert.throws(
          () => copy.putLatin1(place, text, text.length),
          (error: unknown) => error instanceof TypeError,
        );
        assert.throws(
          () => copy.putUtf8(place, text, text.length),
          (error: unknown) => error instanceof TypeError,
        );
        continue;
      }
      for (const encoding of ["latin1", "utf8"] as const) {
        const bytes = Buffer.from(text, encoding);
        const address = place + 64 + 3;
        rig.bytes.fill(0xcc, address - FENCE, address + bytes.length + FENCE);
        if (encoding === "latin1") copy.putLatin1(address, text, bytes.length);
        else copy.putUtf8(address, text, bytes.length);
        onlyThere(rig.bytes, address, bytes, `${encoding}: ${text.slice(0, 10)}`);
      }
    }
  });

  copies("UTF-8 of three and four bytes a character", () => {
    if (!copy.direct) return;
    const text = "€漢字🙂".repeat(100);
    const bytes = Buffer.from(text);
    rig.bytes.fill(0xcc, place, place + bytes.length + 128);
    copy.putUtf8(place + 64, text, bytes.length);
    onlyThere(rig.bytes, place + 64, bytes, "utf8");
  });

  copies.run();
}

const probe = suite("alias probe");

probe("says yes to an alias, and leaves zeros behind", () => {
  if (!("libc" in ffi)) return;
  assert.is(aliasWorks(ffi.libc.alias(shared), shared, place), true);
  assert.ok(rig.take(place, 8).every((byte) => byte === 0));
});

probe("says no to other memory of the same length, and to another length", () => {
  const small = new Uint8Array(new SharedArrayBuffer(64));
  assert.is(aliasWorks(new ArrayBuffer(64), small, 8), false);
  assert.is(aliasWorks(new ArrayBuffer(128), small, 8), false);
  if ("libc" in ffi) assert.is(aliasWorks(ffi.libc.alias(small), small, 8), true);
});

probe("says no to an alias that sees only one direction", () => {
  const small = new Uint8Array(new SharedArrayBuffer(64));
  const same = new ArrayBuffer(64);
  new Uint8Array(same).fill(0x5a);
  small.fill(0x5a);
  assert.is(aliasWorks(same, small, 8), false);
});

probe.run();
