/**
 * Frames of the channel between processes: golden bytes, round trips, each truncation, each one-byte damage, random frames. What
 * is no frame is an SmcError of its own, and nothing else ever.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SmcError } from "../../src/errors.js";
import {
  type AnswerFrame,
  type ChannelFrame,
  CONTACT_FRAME_SIZE,
  type ContactFrame,
  decodeChannelFrame,
  type ExtentFrame,
  encodeChannelFrame,
  REFUSAL,
} from "../../src/wire/contact.js";
import { type Prng, prngFor } from "../support/prng.js";
import { hex } from "./messages.js";

const LAYOUT = 0x0203;

const CONTACT: ContactFrame = {
  type: "contact",
  gid: 0x1112_1314_1516_1718n,
  nonce: 0x2122_2324_2526_2728n,
  generation: 0x313233,
  slot: 0x3f,
  eids: ["SMCNET", "A".repeat(32)],
  mostBlocks: 0x5556_5758,
  first: true,
  gifts: true,
  wanted: { gid: 0x4142_4344_4546_4748n, generation: 0x515253, slot: 0x21 },
  probe: 0x6162_6364_6566_6768n,
};
const ANSWER: AnswerFrame = {
  type: "answer",
  gid: 0x1112_1314_1516_1718n,
  nonce: 0x2122_2324_2526_2728n,
  generation: 1,
  slot: 0,
  eids: [],
  mostBlocks: 0x4000,
  refusal: REFUSAL.none,
  gifts: false,
  reached: true,
};
const EXTENT: ExtentFrame = { type: "extent", number: 0x3f, blocks: 0x0400 };

/** One frame of each type with its bytes; the rest of the frame is zero. */
const GOLDEN: readonly [frame: ChannelFrame, start: readonly string[]][] = [
  [
    CONTACT,
    [
      "534d4355 02 01 0203  1112131415161718  2122232425262728  00313233 3f 02 01 01",
      "4142434445464748  00515253 21 000000 55565758",
      "534d434e4554",
      "00".repeat(26),
      "41".repeat(32),
      "00".repeat(32 * 6),
      "6162636465666768",
    ],
  ],
  [
    ANSWER,
    ["534d4355 02 02 0203  1112131415161718  2122232425262728  00000001 00 00 00 00 01", "00".repeat(15), "00004000"],
  ],
  [EXTENT, ["534d4355 02 03 0203  3f 00 0400"]],
];

/** Bytes that carry no value, of each type: [from, to). */
const SILENT: Readonly<Record<ChannelFrame["type"], readonly (readonly [number, number])[]>> = {
  contact: [
    [45, 48],
    [316, 320],
  ],
  answer: [
    [33, 48],
    [308, 320],
  ],
  extent: [
    [9, 10],
    [12, 320],
  ],
};

/** Bytes that are the same in every frame: magic, version, layout. */
const FIXED = [0, 1, 2, 3, 4, 6, 7];

const encode = (frame: ChannelFrame): Uint8Array => encodeChannelFrame(frame, LAYOUT);
const decode = (bytes: Uint8Array): ChannelFrame => decodeChannelFrame(bytes, LAYOUT);

/** The frame, or the code of the error; any other error is a failure. */
function tryDecode(bytes: Uint8Array): ChannelFrame | string {
  try {
    return decode(bytes);
  } catch (error) {
    assert.instance(error, SmcError);
    return (error as SmcError).code;
  }
}

function refuses(run: () => unknown, code: string, why: string): void {
  try {
    run();
  } catch (error) {
    assert.instance(error, SmcError, why);
    assert.is((error as SmcError).code, code, why);
    return;
  }
  assert.unreachable(`${why}: accepted`);
}

const u64 = (prng: Prng): bigint => (BigInt(prng.u32()) << 32n) | BigInt(prng.u32());

/** Any frame that can be. */
function anyFrame(prng: Prng): ChannelFrame {
  const eid = (): string =>
    String.fromCharCode(...Array.from({ length: prng.between(1, 32) }, () => prng.between(1, 255)));
  const meeting = {
    gid: u64(prng),
    nonce: u64(prng),
    generation: prng.between(1, 0xffffff),
    slot: prng.below(64),
    eids: Array.from({ length: prng.below(9) }, eid),
    mostBlocks: prng.u32(),
    gifts: prng.oneIn(2),
  };
  switch (prng.below(3)) {
    case 0: {
      const wanted = { gid: u64(prng), generation: prng.u32(), slot: prng.below(256) };
      return { type: "contact", ...meeting, first: prng.oneIn(2), wanted, probe: u64(prng) };
    }
    case 1:
      return { type: "answer", ...meeting, refusal: prng.below(256), reached: prng.oneIn(2) };
    default:
      return { type: "extent", number: prng.below(256), blocks: prng.below(65_536) };
  }
}

const frames = suite("channel frames");

for (const [frame, start] of GOLDEN) {
  frames(`${frame.type}: golden bytes, both ways`, () => {
    const bytes = new Uint8Array(CONTACT_FRAME_SIZE);
    bytes.set(hex(...start));
    assert.equal(Buffer.from(encode(frame)).toString("hex"), Buffer.from(bytes).toString("hex"));
    assert.equal(decode(bytes), frame);
  });

  frames(`${frame.type}: cut off anywhere, or longer, it is no frame`, () => {
    const bytes = encode(frame);
    for (let length = 0; length < bytes.length; length++)
      refuses(() => decode(bytes.subarray(0, length)), "EPROTO", `${length} bytes`);
    refuses(() => decode(new Uint8Array([...bytes, 0])), "EPROTO", "one byte more");
  });

  frames(`${frame.type}: one byte damaged, whichever, to whatever: refused, or another value, or none`, () => {
    const bytes = encode(frame);
    for (let at = 0; at < bytes.length; at++) {
      const silent = SILENT[frame.type].some(([from, to]) => at >= from && at < to);
      for (let value = 0; value < 256; value++) {
        const damaged = bytes.slice();
        damaged[at] = value;
        if (value === bytes[at]) continue;
        const found = tryDecode(damaged);
        if (typeof found === "string") assert.is(found, "EPROTO", `byte ${at} = ${value}`);
        if (FIXED.includes(at)) assert.type(found, "string", `byte ${at} = ${value} passes`);
        if (silent) assert.equal(found, frame, `byte ${at} = ${value}`);
      }
    }
  });
}

frames("10,000 frames at random come back as they went", () => {
  const prng = prngFor("channel frames");
  for (let i = 0; i < 10_000; i++) {
    const frame = anyFrame(prng);
    assert.equal(decode(encode(frame)), frame);
  }
});

frames("random bytes behind a good head: refused, or a frame that can be sent on unchanged", () => {
  const prng = prngFor("channel fuzz");
  const found = new Map<string, number>();
  for (let i = 0; i < 20_000; i++) {
    const bytes = encode(anyFrame(prng));
    if (prng.oneIn(2)) prng.fill(bytes.subarray(8));
    else for (let flips = prng.between(1, 8); flips > 0; flips--) bytes[8 + prng.below(312)] = prng.u32();
    bytes[5] = prng.below(6);
    const frame = tryDecode(bytes);
    const kind = typeof frame === "string" ? frame : frame.type;
    found.set(kind, (found.get(kind) ?? 0) + 1);
    if (typeof frame !== "string") assert.equal(decode(encode(frame)), frame);
  }
  assert.equal([...found.keys()].sort(), ["EPROTO", "answer", "contact", "extent"]);
});

frames("bytes at random, of any length, are no frames", () => {
  const prng = prngFor("channel noise");
  for (let i = 0; i < 5000; i++) {
    const noise = prng.fill(new Uint8Array(prng.oneIn(2) ? CONTACT_FRAME_SIZE : prng.below(700)));
    assert.is(tryDecode(noise), "EPROTO");
  }
});

const rules = suite("rules of channel frames");

rules("another layout of the shared memory is another protocol", () => {
  for (const [frame] of GOLDEN) {
    const bytes = encodeChannelFrame(frame, LAYOUT + 1);
    refuses(() => decode(bytes), "EPROTO", frame.type);
    assert.equal(decodeChannelFrame(bytes, LAYOUT + 1), frame);
  }
});

rules("slots, generations and EIDs that no stack can have are refused, unless the answer refuses anyway", () => {
  const lies: readonly [what: string, at: number, bytes: readonly number[]][] = [
    ["slot 64", 28, [64]],
    ["slot 255", 28, [255]],
    ["generation 0", 24, [0, 0, 0, 0]],
    ["generation 2^24", 24, [1, 0, 0, 0]],
    ["9 EIDs", 29, [9]],
    ["255 EIDs", 29, [255]],
  ];
  for (const [what, at, lie] of lies) {
    for (const frame of [CONTACT, ANSWER]) {
      const bytes = encode(frame);
      bytes.set(lie, at);
      refuses(() => decode(bytes), "EPROTO", `${frame.type}, ${what}`);
    }
    const bytes = encode({ ...ANSWER, refusal: REFUSAL.unknownStack });
    bytes.set(lie, at);
    const answer = decode(bytes) as AnswerFrame;
    assert.is(answer.refusal, REFUSAL.unknownStack, what);
    assert.ok(answer.eids.length <= 8);
  }
});

rules("a value that does not fit is refused before anything is sent", () => {
  const wrong: readonly ChannelFrame[] = [
    { ...CONTACT, gid: -1n },
    { ...CONTACT, nonce: 1n << 64n },
    { ...CONTACT, generation: 2 ** 32 },
    { ...CONTACT, slot: 256 },
    { ...CONTACT, slot: -1 },
    { ...CONTACT, wanted: { ...CONTACT.wanted, slot: 256 } },
    { ...CONTACT, wanted: { ...CONTACT.wanted, gid: 1n << 64n } },
    { ...CONTACT, probe: 1n << 64n },
    { ...CONTACT, probe: -1n },
    { ...CONTACT, mostBlocks: 2 ** 32 },
    { ...ANSWER, mostBlocks: -1 },
    { ...ANSWER, refusal: 256 },
    { ...ANSWER, generation: 0.5 },
    { ...EXTENT, number: 256 },
    { ...EXTENT, blocks: 65_536 },
    { ...EXTENT, blocks: Number.NaN },
  ];
  for (const frame of wrong)
    refuses(
      () => encode(frame),
      "EINVAL",
      JSON.stringify(frame, (_, v) => String(v)),
    );
  refuses(() => encodeChannelFrame(EXTENT, 65_536), "EINVAL", "a layout of 17 bits");
});

rules("more than eight EIDs: the first eight are told", () => {
  const eids = Array.from({ length: 12 }, (_, i) => `EID${i}`);
  assert.equal((decode(encode({ ...CONTACT, eids })) as ContactFrame).eids, eids.slice(0, 8));
});

rules("reasons to refuse are told apart", () => {
  const codes = Object.values(REFUSAL);
  assert.is(new Set(codes).size, codes.length);
  assert.is(REFUSAL.none, 0);
});

frames.run();
rules.run();
