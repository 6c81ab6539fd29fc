import { test } from "uvu";
import * as assert from "uvu/assert";
import { SmcError } from "../../src/errors.js";
import { decodeClc, encodeClc } from "../../src/wire/clc.js";
import type { Proposal } from "../../src/wire/clc-proposal.js";
import { prngFor } from "../support/prng.js";
import { defaultProposal, hex, SAMPLES, sample } from "./messages.js";

/** Decoded value, or the EPROTO; anything else that is thrown fails the test. */
function attempt(bytes: Uint8Array, what: string): ReturnType<typeof decodeClc> | SmcError {
  try {
    return decodeClc(bytes);
  } catch (error) {
    if (error instanceof SmcError && error.code === "EPROTO") {
      assert.type(error.values["message"], "string", what);
      assert.type(error.values["field"], "string", what);
      assert.type(error.values["byte"], "number", what);
      return error;
    }
    throw new Error(`${what}: ${error}`, { cause: error });
  }
}

/** Bytes nobody can trust: refused, or a value that survives being written and read again. */
function assertSound(bytes: Uint8Array, what: string): boolean {
  const value = attempt(bytes, what);
  if (value instanceof SmcError) return false;
  assert.equal(decodeClc(encodeClc(value)), value, what);
  return true;
}

for (const { name, value, bytes } of SAMPLES) {
  test(`${name}: encodes to the bytes of the specification`, () => {
    assert.is(Buffer.from(encodeClc(value)).toString("hex"), Buffer.from(bytes).toString("hex"));
  });

  test(`${name}: decodes to its value`, () => {
    assert.equal(decodeClc(bytes), value);
  });

  test(`${name}: decodes from the middle of a larger buffer, and does not alias it`, () => {
    const larger = new Uint8Array(bytes.length + 20).fill(0xee);
    larger.set(bytes, 10);
    const decoded = decodeClc(larger.subarray(10, 10 + bytes.length));
    larger.fill(0xee);
    assert.equal(decoded, value);
  });

  test(`${name}: each truncation is refused`, () => {
    for (let length = 0; length < bytes.length; length++) {
      const cut = bytes.slice(0, length);
      assert.instance(attempt(cut, `${length} bytes`), SmcError, `${length} bytes`);
      // A header that admits to the shorter length must not open a way past the end either.
      if (length < 8) continue;
      cut[5] = length >> 8;
      cut[6] = length & 0xff;
      assertSound(cut, `${length} bytes, header adjusted`);
    }
  });

  test(`${name}: one byte more is refused`, () => {
    assert.instance(attempt(Uint8Array.of(...bytes, 0), "one more"), SmcError);
  });

  test(`${name}: each one-byte damage is refused or harmless`, () => {
    for (let at = 0; at < bytes.length; at++) {
      for (let flip = 1; flip < 256; flip = flip < 16 ? flip + 1 : flip * 2 - 1) {
        const damaged = bytes.slice();
        damaged[at] ^= flip;
        const sound = assertSound(damaged, `byte ${at} ^ ${flip}`);
        const inTrailer = at >= bytes.length - 4 && value.type !== "Decline";
        // The eyecatchers SMCR and SMCD are both taken, at either end.
        const otherEyecatcher = (at === 3 || at === bytes.length - 1) && flip === 0x1d;
        if ((at < 4 || at === 5 || at === 6 || inTrailer) && !otherEyecatcher)
          assert.not(sound, `byte ${at} ^ ${flip} must be noticed`);
      }
    }
  });

  test(`${name}: random mutations are refused or harmless`, () => {
    const random = prngFor(`mutations of ${name}`);
    for (let round = 0; round < 1500; round++) {
      const mutant = bytes.slice();
      for (let n = random.between(1, 6); n > 0; n--) mutant[random.below(mutant.length)] = random.u32();
      // Keep the outer checks satisfied most of the time, so that the inner ones are reached.
      if (!random.oneIn(4)) {
        mutant.set(bytes.subarray(0, 4));
        mutant.set(bytes.subarray(5, 7), 5);
        mutant.set(bytes.subarray(-4), mutant.length - 4);
      }
      assertSound(mutant, `round ${round}, seed ${random.seed}: ${Buffer.from(mutant).toString("hex")}`);
    }
  });
}

test("the worked sizes of a Proposal", () => {
  const field = (name: string, at: number): number => new DataView(sample(name).bytes.buffer).getUint16(at);
  const sizes = SAMPLES.filter(({ value }) => value.type === "Proposal").map(({ value }) => encodeClc(value).length);
  assert.equal(sizes, [52, 92, 232, 224, 192, 92, 288]);
  assert.is(field("Proposal v2, loopback only, 224 bytes", 50), 28, "v2_ext_offset without prefix area");
  assert.is(field("Proposal v2, loopback only, 224 bytes", 80 + 6), 64, "smcd_v2_ext_offset with one UEID");
  assert.is(field("Proposal v2, loopback only, no UEID, 192 bytes", 80 + 6), 32, "smcd_v2_ext_offset without");
  assert.is(field("Proposal v2, D and D, as offered by default", 50), 36, "v2_ext_offset behind an IPv4 prefix area");
});

test("the largest Proposal has 652 bytes", () => {
  const eight = <T>(item: T): T[] => new Array<T>(8).fill(item);
  const largest: Proposal = {
    ...defaultProposal,
    prefixes: { ipv4Network: 0, ipv4Length: 0, ipv6: eight({ prefix: new Uint8Array(16), length: 64 }) },
    v2: {
      ...defaultProposal.v2!,
      ueids: eight("SMCNET"),
      smcd: { systemEid: "", entries: eight({ gid: 1n, chid: 1 }) },
    },
  };
  const bytes = encodeClc(largest);
  assert.is(bytes.length, 652);
  assert.equal(decodeClc(bytes), largest);
});

test("either eyecatcher is taken at the head and at the tail", () => {
  for (const { name, value, bytes } of SAMPLES) {
    const other = bytes.slice();
    other[3] ^= 0x1d;
    other[other.length - 1] ^= 0x1d;
    assert.equal(decodeClc(other), value, name);
  }
});

test("the trailer of a Decline is not looked at", () => {
  const { value, bytes } = sample("Decline v2 of Linux, 44 bytes");
  const damaged = bytes.slice();
  damaged.fill(0, 40);
  assert.equal(decodeClc(damaged), value);
});

test("an Accept of version 2 may be longer than this release knows", () => {
  const { value, bytes } = sample("Accept v2, D, known link group, 78 bytes");
  const longer = Uint8Array.of(...bytes.subarray(0, 74), ...new Uint8Array(16).fill(7), ...bytes.subarray(74));
  longer[6] += 16;
  assert.equal(decodeClc(longer), value);
});

test("a version 1 Proposal may keep a gap before its prefix area", () => {
  const { value, bytes } = sample("Proposal v1, R, the RFC's 52 bytes");
  const gap = Uint8Array.of(...bytes.subarray(0, 40), ...new Uint8Array(12), ...bytes.subarray(40));
  gap[6] += 12;
  gap[39] = 12;
  assert.equal(decodeClc(gap), value);
});

const REFUSED: readonly (readonly [string, string, (bytes: Uint8Array) => void, string, number])[] = [
  ["Proposal v1, mixed, 92 bytes", "iparea_offset beyond 40", (bytes) => (bytes[39] = 41), "ipareaOffset", 38],
  ["Proposal v1, mixed, 92 bytes", "D offered without its area", (bytes) => (bytes[39] = 0), "ipareaOffset", 38],
  ["Proposal v1, mixed, 92 bytes", "typev1 N in version 1", (bytes) => (bytes[7] = 0x12), "typev1", 7],
  ["Proposal v2, D and D, as offered by default", "no v2 offset", (bytes) => (bytes[51] = 0), "v2ExtOffset", 50],
  ["Proposal v2, D and D, as offered by default", "no SMC-Dv2 offset", (b) => (b[95] = 0), "smcdV2ExtOffset", 94],
  ["Proposal v2, D and D, as offered by default", "nine UEIDs", (bytes) => (bytes[88] = 9), "eidCount", 88],
  ["Proposal v2, D and D, as offered by default", "nine entries", (bytes) => (bytes[89] = 9), "entryCount", 89],
  ["Proposal v2, D and D, as offered by default", "nine prefixes", (bytes) => (bytes[87] = 9), "ipv6Count", 87],
  ["Proposal v2, D and D, as offered by default", "an entry too few", (bytes) => (bytes[89] = 1), "length", 5],
  ["Accept v2, D, known link group, 78 bytes", "path N", (bytes) => (bytes[7] = 0x22), "typev1", 7],
  ["Accept v2, D, known link group, 78 bytes", "an absent extension", (b) => (b[7] |= 8), "flags", 74],
  ["Decline v2 of Linux, 44 bytes", "path B", (bytes) => (bytes[7] |= 3), "typev1", 7],
  ["Decline v2 of Linux, 44 bytes", "version 1 at this length", (bytes) => (bytes[7] = 0x10), "length", 5],
  ["Decline v2 of Linux, 44 bytes", "version 0", (bytes) => (bytes[7] = 0x00), "version", 7],
  ["Decline v2 of Linux, 44 bytes", "type 5", (bytes) => (bytes[4] = 5), "type", 4],
];
for (const [name, what, damage, field, byte] of REFUSED)
  test(`${name}: ${what} is refused by name`, () => {
    const bytes = sample(name).bytes.slice();
    damage(bytes);
    const error = attempt(bytes, what);
    assert.instance(error, SmcError);
    assert.is((error as SmcError).values["field"], field);
    assert.is((error as SmcError).values["byte"], byte);
  });

test("pieces of a Proposal that overlap are refused, although each of them fits", () => {
  const { bytes } = sample("Proposal v2, D and D, as offered by default");
  // The SMC-D v2 extension moves up over the one EID.
  const overlapping = Uint8Array.of(...bytes.subarray(0, 128), ...bytes.subarray(160));
  overlapping[6] -= 32;
  overlapping[95] -= 32;
  const error = attempt(overlapping, "SMC-D v2 extension over the EID");
  assert.is((error as SmcError).values?.["field"], "length");
});

test("what could not be read again is not written", () => {
  const wrong: [string, Partial<Proposal>][] = [
    ["v2 part missing", { v2: undefined }],
    ["prefixes missing", { prefixes: undefined }],
    ["SMC-D area missing", { smcd: undefined }],
    ["prefixes without typev1", { typev1: "N" }],
    ["nothing offered in version 1", { version: 1, typev1: "N", v2: undefined }],
    ["nine UEIDs", { v2: { ...defaultProposal.v2!, ueids: new Array<string>(9).fill("A") } }],
    ["a UEID of 33 characters", { v2: { ...defaultProposal.v2!, ueids: ["A".repeat(33)] } }],
    ["a CHID of 17 bits", { smcd: { gid: 0n, chid: 0x10000 } }],
    ["a negative GID", { smcd: { gid: -1n, chid: 0 } }],
    ["a short peer id", { peerId: hex("01") }],
  ];
  for (const [what, change] of wrong)
    assert.throws(
      () => encodeClc({ ...defaultProposal, ...change }),
      (error: unknown) => error instanceof SmcError && error.code === "EINVAL",
      what,
    );
});

test.run();
