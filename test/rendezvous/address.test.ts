/** Addresses as keys: every textual form of an IP address gives the 16 bytes it stands for, and only those. */
import { isIP, isIPv6 } from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { writeAddress, writeTuple } from "../../src/rendezvous/address.js";
import { type Prng, prngFor } from "../support/prng.js";

/** What writeAddress makes of `text`, written over rubbish at `offset` of a larger area. */
function written(text: string, offset = 4): Buffer {
  const area = Buffer.alloc(32, 0xee);
  writeAddress(text, new DataView(area.buffer, area.byteOffset, area.length), offset);
  const outside = Buffer.concat([area.subarray(0, offset), area.subarray(offset + 16)]);
  assert.ok(
    outside.every((byte) => byte === 0xee),
    `${text}: written outside its 16 bytes`,
  );
  return area.subarray(offset, offset + 16);
}

/** Reference for IPv6 without zone: the URL parser's canonical form, which has hexadecimal groups and at most one `::`. */
function parsed(text: string): Buffer {
  const [head, tail] = new URL(`http://[${text}]/`).hostname.slice(1, -1).split("::") as [string, string | undefined];
  const groups = (part: string) => (part === "" ? [] : part.split(":").map((group) => Number.parseInt(group, 16)));
  const first = groups(head);
  const last = groups(tail ?? "");
  const all = [...first, ...new Array<number>(8 - first.length - last.length).fill(0), ...last];
  const bytes = Buffer.alloc(16);
  all.forEach((group, i) => {
    bytes.writeUInt16BE(group, 2 * i);
  });
  return bytes;
}

/** One way of many to write eight groups: zeros left out or in, any case, one run of zeros as `::`, a dotted tail, a zone. */
function spelled(groups: readonly number[], random: Prng): string {
  const word = (group: number): string => {
    const text = group.toString(16).padStart(random.between(1, 4), "0");
    return random.oneIn(2) ? text.toUpperCase() : text;
  };
  const dotted = random.oneIn(3);
  const words = groups.slice(0, dotted ? 6 : 8).map(word);
  if (dotted) words.push([groups[6] >> 8, groups[6] & 255, groups[7] >> 8, groups[7] & 255].join("."));
  const zeros = groups.slice(0, dotted ? 6 : 8).map((group) => group === 0);
  const starts = zeros.flatMap((zero, i) => (zero ? [i] : []));
  let text = words.join(":");
  if (starts.length > 0 && !random.oneIn(4)) {
    const from = random.pick(starts);
    let to = from + 1;
    while (zeros[to] === true && !random.oneIn(3)) to++;
    text = `${words.slice(0, from).join(":")}::${words.slice(to).join(":")}`;
  }
  return random.oneIn(4) ? `${text}%${random.pick(["eth0", "1", "lo"])}` : text;
}

const test = suite("rendezvous addresses");

test("IPv4 is written as ::ffff:a.b.c.d", () => {
  assert.is(written("127.0.0.1").toString("hex"), "00000000000000000000ffff7f000001");
  assert.is(written("255.254.0.9").toString("hex"), "00000000000000000000fffffffe0009");
  assert.is(written("0.0.0.0").toString("hex"), "00000000000000000000ffff00000000");
});

test("an IPv4 address and its mapped IPv6 forms are one key", () => {
  for (const text of ["::ffff:10.1.2.3", "::FFFF:a01:203", "0:0:0:0:0:ffff:10.1.2.3", "0::ffff:0a01:0203"])
    assert.equal(written(text), written("10.1.2.3"), text);
});

test("known IPv6 forms", () => {
  const known: Record<string, string> = {
    "::": "00000000000000000000000000000000",
    "::1": "00000000000000000000000000000001",
    "1::": "00010000000000000000000000000000",
    "::0:1": "00000000000000000000000000000001",
    "fe80::1%eth0": "fe800000000000000000000000000001",
    "FE80:0:0:0:0:0:0:1": "fe800000000000000000000000000001",
    "2001:db8::8:800:200c:417a": "20010db80000000000080800200c417a",
    "1:2:3:4:5:6:7:8": "00010002000300040005000600070008",
    "1:2:3:4:5:6:7::": "00010002000300040005000600070000",
    "::2:3:4:5:6:7:8": "00000002000300040005000600070008",
    "::1.2.3.4": "00000000000000000000000001020304",
    "1::1.2.3.4": "00010000000000000000000001020304",
    "::5:1.2.3.4": "00000000000000000000000501020304",
    "1:2:3:4:5::1.2.3.4": "00010002000300040005000001020304",
    "1:2:3:4:5:6:1.2.3.4": "00010002000300040005000601020304",
    "64:ff9b::192.0.2.33%9": "0064ff9b0000000000000000c0000221",
  };
  for (const [text, bytes] of Object.entries(known)) {
    assert.ok(isIPv6(text), text);
    assert.is(written(text).toString("hex"), bytes, text);
  }
});

test("10,000 random spellings give what another parser reads", () => {
  const random = prngFor("addresses");
  for (let i = 0; i < 10_000; i++) {
    const groups = Array.from({ length: 8 }, () => (random.oneIn(2) ? 0 : random.below(0x10000)));
    const text = spelled(groups, random);
    assert.is(isIP(text), 6, `${text} is an address`);
    const expected = parsed(text.split("%")[0]!);
    assert.is(expected.toString("hex"), groups.map((group) => group.toString(16).padStart(4, "0")).join(""), text);
    assert.is(written(text, random.below(17)).toString("hex"), expected.toString("hex"), text);
  }
});

test("1,000 random IPv4 addresses", () => {
  const random = prngFor("addresses of IPv4");
  for (let i = 0; i < 1_000; i++) {
    const bytes = Array.from({ length: 4 }, () => random.below(256));
    assert.is(isIP(bytes.join(".")), 4);
    assert.equal([...written(bytes.join("."))], [...new Array<number>(10).fill(0), 255, 255, ...bytes]);
  }
});

test("a tuple is client, server, both ports, and zero to the end; its 40 bytes are all written", () => {
  const area = Buffer.alloc(48, 0xee);
  const view = new DataView(area.buffer, area.byteOffset, 40);
  writeTuple({ address: "10.0.0.1", port: 0x1234 }, { address: "::1", port: 0xfffe }, view);
  assert.is(
    area.toString("hex"),
    `00000000000000000000ffff0a000001000000000000000000000000000000011234fffe00000000${"ee".repeat(8)}`,
  );
});

test("the two directions of a connection are different keys", () => {
  const tuple = (...ends: [[string, number], [string, number]]): string => {
    const area = Buffer.alloc(40);
    const [client, server] = ends.map(([address, port]) => ({ address, port }));
    writeTuple(client!, server!, new DataView(area.buffer, area.byteOffset, 40));
    return area.toString("hex");
  };
  assert.is.not(tuple(["127.0.0.1", 1], ["127.0.0.1", 2]), tuple(["127.0.0.1", 2], ["127.0.0.1", 1]));
  assert.is.not(tuple(["127.0.0.1", 1], ["127.0.0.2", 1]), tuple(["127.0.0.2", 1], ["127.0.0.1", 1]));
  assert.is(tuple(["::ffff:127.0.0.1", 1], ["127.0.0.1", 2]), tuple(["127.0.0.1", 1], ["::ffff:127.0.0.1", 2]));
});

test.run();
