import { test } from "uvu";
import * as assert from "uvu/assert";
import { DIAGNOSIS, diagnosisName } from "../../src/wire/clc-diagnosis.js";
import { toDevices, toEntries } from "../../src/wire/clc-ism.js";
import { dumpClc } from "../../src/wire/dump.js";
import { prngFor } from "../support/prng.js";
import { hex, SAMPLES, sample } from "./messages.js";

test("every diagnosis has one code and one name", () => {
  const codes = Object.values(DIAGNOSIS).map((row) => row.code);
  assert.is(new Set(codes).size, codes.length);
  for (const [name, row] of Object.entries(DIAGNOSIS)) assert.is(diagnosisName(row.code), name);
});

test("codes of the first generation are named, codes of other systems are shown as numbers", () => {
  assert.is(diagnosisName(0x07000000), "SEND");
  assert.is(diagnosisName(0x99990000), "INTERR");
  assert.is(diagnosisName(0x00000010), "0x00000010");
});

const native = (chid: number) => ({ gid: BigInt(chid), gidExt: 0n, chid });
const emulated = (chid: number) => ({ gid: 1n, gidExt: 2n, chid });

test("an emulated device takes two entries, a native one takes one", () => {
  const devices = [emulated(0xffff), native(7), emulated(0xff00)];
  const entries = toEntries(devices);
  assert.equal(
    entries.map(({ gid, chid }) => [gid, chid]),
    [
      [1n, 0xffff],
      [2n, 0xffff],
      [7n, 7],
      [1n, 0xff00],
      [2n, 0xff00],
    ],
  );
  assert.equal(toDevices(entries), devices);
});

test("entries of one CHID pair up two by two", () => {
  const entry = (gid: bigint) => ({ gid, chid: 0xffff });
  assert.equal(toDevices([1n, 2n, 3n, 4n, 5n].map(entry)), [
    { gid: 1n, gidExt: 2n, chid: 0xffff },
    { gid: 3n, gidExt: 4n, chid: 0xffff },
  ]);
});

test("with one slot left the emulated device is skipped and a native one still fits", () => {
  const seven = [1, 2, 3, 4, 5, 6, 7].map(native);
  assert.equal(toDevices(toEntries([...seven, emulated(0xffff), native(8), native(9)])), [...seven, native(8)]);
});

test("an emulated entry without its second half is skipped alone", () => {
  const half = { gid: 5n, chid: 0xffff };
  assert.equal(toDevices([half]), []);
  assert.equal(toDevices([half, { gid: 7n, chid: 7 }]), [native(7)]);
  assert.equal(toDevices([half, ...toEntries([emulated(0xff00)])]), [emulated(0xff00)]);
});

test("a dump names the message and prints each field with people's units", () => {
  const text = dumpClc(sample("Accept v2, D, first contact at release 1, 130 bytes").bytes);
  for (const line of [
    "CLC Accept v2, 130 bytes",
    '  path: "D"',
    "  firstContact: true",
    "  token: 0xa1a2a3a4a5a6a7a8",
    "  dmbeSize: 2 (64 KiB)",
    "  v2.chid: 0xffff",
    '  v2.eid: "SMCNET"',
    '  v2.extension.hostName: "node-1"',
  ])
    assert.ok(text.split("\n").includes(line), `${line} in\n${text}`);
});

test("a dump names the diagnosis of a Decline and the entries of a Proposal", () => {
  assert.match(dumpClc(sample("Decline v2 of Linux, 44 bytes").bytes), "diagnosis: 0x02010000 TIMEOUT_CL");
  const text = dumpClc(sample("Proposal v2, D and D, as offered by default").bytes);
  assert.match(text, "v2.smcd.entries[1].gid: 0x1112131415161718");
  assert.match(text, "prefixes.ipv4Network: 0x7f000000");
});

test("a dump takes anything and tells why it is no message", () => {
  assert.match(dumpClc(hex("e2d4c3d9 02 0030")), /not a CLC Accept, 7 bytes: EPROTO/);
  assert.match(dumpClc(new Uint8Array(0)), /0 bytes/);
  const random = prngFor("dump");
  for (const { bytes } of SAMPLES)
    for (let round = 0; round < 50; round++) {
      const mutant = bytes.slice();
      mutant[random.below(mutant.length)] = random.u32();
      assert.match(dumpClc(mutant), /^(CLC|not a CLC) /);
    }
});

test.run();
