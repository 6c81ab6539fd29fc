import { test } from "uvu";
import * as assert from "uvu/assert";
import { SmcError } from "../../src/errors.js";
import { bits, bytes, reserved, struct, text, u8, u16be, u24be, u32be, u64be } from "../../src/wire/field.js";

const piece = struct("Test piece", {
  a: u8,
  b: u16be,
  c: u24be,
  gap: reserved(2),
  d: u32be,
  e: u64be,
  raw: bytes(3),
  name: text(6),
  parts: bits({ high: 4, _: 1, low: 3 }),
});
const value = {
  a: 1,
  b: 0x0203,
  c: 0x040506,
  d: 0xf1020304,
  e: 0xf102030405060708n,
  raw: Uint8Array.of(7, 8, 9),
  name: "ab",
  parts: { high: 0xa, low: 5 },
};

const refusal = (run: () => unknown): SmcError => {
  try {
    run();
  } catch (error) {
    assert.instance(error, SmcError);
    return error as SmcError;
  }
  throw new Error("nothing was refused");
};

test("the list of fields gives sizes and offsets", () => {
  assert.is(piece.size, 1 + 2 + 3 + 2 + 4 + 8 + 3 + 6 + 1);
  assert.equal(piece.offsets, { a: 0, b: 1, c: 3, gap: 6, d: 8, e: 12, raw: 20, name: 23, parts: 29 });
});

test("a value is written in network order and read back", () => {
  const into = new Uint8Array(piece.size + 4).fill(0);
  piece.encode(value, into, 2);
  assert.is(
    Buffer.from(into).toString("hex"),
    `0000${"010203040506"}0000${"f1020304"}${"f102030405060708"}070809${"616220202020"}a50000`,
  );
  assert.equal(piece.decode(into, 2), value);
});

test("reserved bytes and bits are ignored when read", () => {
  const into = new Uint8Array(piece.size);
  piece.encode(value, into);
  into.fill(0xff, 6, 8);
  into[29] |= 0x08;
  assert.equal(piece.decode(into), value);
});

test("bytes that end too early name the first field that is missing", () => {
  const error = refusal(() => piece.decode(new Uint8Array(14), 4));
  assert.is(error.code, "EPROTO");
  assert.equal({ ...error.values }, { message: "Test piece", field: "d", byte: 12, value: 14 });
  assert.match(error.message, "Test piece: d at byte 12 does not fit into 14 bytes");
});

test("a value out of range names its field and what is allowed", () => {
  const cases: [object, string, RegExp][] = [
    [{ a: 256 }, "a", /integer of 8 bits/],
    [{ b: -1 }, "b", /integer of 16 bits/],
    [{ c: 1 << 24 }, "c", /integer of 24 bits/],
    [{ d: 1.5 }, "d", /integer of 32 bits/],
    [{ e: 1n << 64n }, "e", /bigint of 64 bits/],
    [{ raw: new Uint8Array(2) }, "raw", /3 bytes/],
    [{ name: "1234567" }, "name", /6 one-byte characters/],
    [{ name: "\u20ac" }, "name", /one-byte/],
    [{ parts: { high: 16, low: 0 } }, "parts", /high from 0 to 15/],
  ];
  for (const [change, field, why] of cases) {
    const error = refusal(() => piece.encode({ ...value, ...change }, new Uint8Array(piece.size)));
    assert.is(error.code, "EINVAL");
    assert.is(error.values["field"], field);
    assert.match(error.message, why);
  }
});

test("the empty text is zeros, and blanks or zeros at the end are no part of a text", () => {
  const name = struct("Name", { name: text(4) });
  const into = new Uint8Array(4).fill(1);
  name.encode({ name: "" }, into);
  assert.equal(into, new Uint8Array(4));
  assert.is(name.decode(Uint8Array.of(0x41, 0x20, 0x20, 0x00)).name, "A");
});

test("bit widths have to add up to a byte", () => {
  assert.is(refusal(() => bits({ a: 4, b: 3 })).code, "EINVAL");
});

test("lists are pieces one after the other", () => {
  const pair = struct("Pair", { left: u8, right: u16be });
  const into = new Uint8Array(8);
  const list = [
    { left: 1, right: 2 },
    { left: 3, right: 4 },
  ];
  pair.encodeList(list, into, 1);
  assert.equal(pair.decodeList(into, 1, 2), list);
  assert.is(refusal(() => pair.decodeList(into, 1, 3)).values["byte"], 8);
});

test.run();
