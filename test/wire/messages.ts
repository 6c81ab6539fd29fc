/**
 * One sample of every CLC message form: its value, and its bytes written out by hand from smc-protocol §2.
 *
 * Owns the samples. The bytes are not produced by the codecs; a line is one field or one run of fields.
 */
import type { ClcMessage } from "../../src/wire/clc.js";
import type { FirstContact } from "../../src/wire/clc-first-contact.js";
import type { Proposal } from "../../src/wire/clc-proposal.js";
import type { SmcdAnswer } from "../../src/wire/clc-smcd.js";
import type { SmcrAnswer } from "../../src/wire/clc-smcr.js";

export interface Sample {
  readonly name: string;
  readonly value: ClcMessage;
  readonly bytes: Uint8Array;
}

export const hex = (...parts: string[]): Uint8Array =>
  Uint8Array.from(Buffer.from(parts.join("").replaceAll(" ", ""), "hex"));
const zeros = (count: number): string => "00".repeat(count);
const padded = (text: string): string => Buffer.from(text.padEnd(32, " "), "latin1").toString("hex");

const SMCR = "e2d4c3d9";
const SMCD = "e2d4c3c4";
const PEER_ID = "a65600163e0ccb04";
const RGID = "fe800000000000000216 3efffe0ccb04";
const MAC = "00163e0ccb04";

const nobody = { peerId: new Uint8Array(8), gid: new Uint8Array(16), mac: new Uint8Array(6) };
const roce = { peerId: hex(PEER_ID), gid: hex(RGID), mac: hex(MAC) };
const loopback = { ipv4Network: 0x7f000000, ipv4Length: 8, ipv6: [] };
const emulated = [
  { gid: 0x0102030405060708n, chid: 0xffff },
  { gid: 0x1112131415161718n, chid: 0xffff },
];
const EMULATED = "0102030405060708 ffff 1112131415161718 ffff";
const v2d = {
  release: 1,
  seidValid: false,
  rocev2Gid: new Uint8Array(16),
  maxConns: 0,
  maxLinks: 0,
  featureMask: 1,
  ueids: ["SMCNET"],
  smcd: { systemEid: "", entries: emulated },
};

/** What smcnet offers by default: D under v1 and under v2 rules. */
export const defaultProposal: Proposal = {
  type: "Proposal",
  version: 2,
  typev1: "D",
  typev2: "D",
  ...nobody,
  smcd: { gid: 0x0102030405060708n, chid: 0 },
  prefixes: loopback,
  v2: v2d,
};

const extension: FirstContact = {
  direct: false,
  os: 2,
  release: 1,
  hostName: "node-1",
  maxConns: 0,
  maxLinks: 0,
  featureMask: 1,
};
const EXTENSION = ["00 21 0000", padded("node-1"), "00 00 0001", zeros(12)].join("");

const accept: SmcdAnswer = {
  type: "Accept",
  path: "D",
  version: 2,
  firstContact: true,
  gid: 0x0102030405060708n,
  token: 0xa1a2a3a4a5a6a7a8n,
  dmbeIndex: 0,
  dmbeSize: 2,
  linkId: 0x00010203,
  v2: { chid: 0xffff, eid: "SMCNET", gidExt: 0x1112131415161718n, extension },
};
const ANSWER_D = "0102030405060708 a1a2a3a4a5a6a7a8 00 20 0000 00010203";
const ANSWER_D2 = [ANSWER_D, "ffff", padded("SMCNET"), "1112131415161718"].join("");

const acceptR: SmcrAnswer = {
  type: "Accept",
  path: "R",
  version: 1,
  firstContact: true,
  ...roce,
  qpNumber: 0x0000b1,
  rkey: 0xc1c2c3c4,
  rmbeIndex: 1,
  alertToken: 0xd1d2d3d4,
  rmbeSize: 2,
  mtu: 3,
  address: 0x00007f00e1e2e3e4n,
  psn: 0xf1f2f3,
  v2: undefined,
};
const ANSWER_R = [PEER_ID, RGID, MAC, "0000b1 c1c2c3c4 01 d1d2d3d4 23 00 00007f00e1e2e3e4 00 f1f2f3"].join("");
const extensionR: FirstContact = { ...extension, direct: true, maxConns: 255, maxLinks: 2 };
const EXTENSION_R = ["80 21 0000", padded("node-1"), "ff 02 0001", zeros(12)].join("");
const OTHER_GID = "00000000000000000000ffff0a000002";

export const SAMPLES: readonly Sample[] = [
  {
    name: "Proposal v1, R, the RFC's 52 bytes",
    value: {
      ...defaultProposal,
      version: 1,
      typev1: "R",
      typev2: "N",
      ...roce,
      smcd: undefined,
      prefixes: { ipv4Network: 0x0a000000, ipv4Length: 24, ipv6: [] },
      v2: undefined,
    },
    bytes: hex(SMCR, "01 0034 10", PEER_ID, RGID, MAC, "0000", "0a000000 18 0000 00", SMCR),
  },
  {
    name: "Proposal v1, mixed, 92 bytes",
    value: { ...defaultProposal, version: 1, typev1: "B", typev2: "N", ...roce, v2: undefined },
    bytes: hex(
      ...[SMCR, "01 005c 13", PEER_ID, RGID, MAC, "0028"],
      ...["0102030405060708 0000 0000", zeros(28)],
      ...["7f000000 08 0000 00", SMCR],
    ),
  },
  {
    name: "Proposal v2, D and D, as offered by default",
    value: defaultProposal,
    bytes: hex(
      ...[SMCR, "01 00e8 25", zeros(30), "0028"],
      ...["0102030405060708 0000 0024", zeros(28)],
      "7f000000 08 0000 00",
      ...["01 02 00 10 0000 0040", zeros(16), "00 00 0001", zeros(12)],
      padded("SMCNET"),
      ...[zeros(48), EMULATED, SMCR],
    ),
  },
  {
    name: "Proposal v2, loopback only, 224 bytes",
    value: { ...defaultProposal, typev1: "N", smcd: { gid: 0n, chid: 0 }, prefixes: undefined },
    bytes: hex(
      ...[SMCR, "01 00e0 26", zeros(30), "0000"],
      ...["0000000000000000 0000 001c", zeros(28)],
      ...["01 02 00 10 0000 0040", zeros(16), "00 00 0001", zeros(12)],
      padded("SMCNET"),
      ...[zeros(48), EMULATED, SMCR],
    ),
  },
  {
    name: "Proposal v2, loopback only, no UEID, 192 bytes",
    value: {
      ...defaultProposal,
      typev1: "N",
      smcd: { gid: 0n, chid: 0 },
      prefixes: undefined,
      v2: { ...v2d, ueids: [] },
    },
    bytes: hex(
      ...[SMCR, "01 00c0 26", zeros(30), "0000"],
      ...["0000000000000000 0000 001c", zeros(28)],
      ...["00 02 00 10 0000 0020", zeros(16), "00 00 0001", zeros(12)],
      ...[zeros(48), EMULATED, SMCR],
    ),
  },
  {
    name: "Proposal v2, nothing under v2 rules",
    value: { ...defaultProposal, typev2: "N", v2: undefined },
    bytes: hex(
      ...[SMCR, "01 005c 29", zeros(30), "0028"],
      ...["0102030405060708 0000 0000", zeros(28)],
      ...["7f000000 08 0000 00", SMCR],
    ),
  },
  {
    name: "Proposal v2, B and B, IPv6, SEID, two UEIDs",
    value: {
      ...defaultProposal,
      typev1: "B",
      typev2: "B",
      ...roce,
      smcd: { gid: 0x2122232425262728n, chid: 0x07c1 },
      prefixes: {
        ipv4Network: 0,
        ipv4Length: 0,
        ipv6: [
          { prefix: hex("20010db8", zeros(12)), length: 64 },
          { prefix: hex("fd00", zeros(14)), length: 48 },
        ],
      },
      v2: {
        ...v2d,
        seidValid: true,
        rocev2Gid: hex("00000000000000000000ffff0a000001"),
        maxConns: 255,
        maxLinks: 2,
        ueids: ["SMCNET", "LAB.1-A"],
        smcd: {
          systemEid: "IBM-SYSZ-ISMSEID00000000AB12CD34",
          entries: [{ gid: 0x3132333435363738n, chid: 0x07c2 }],
        },
      },
    },
    bytes: hex(
      ...[SMCR, "01 0120 2f", PEER_ID, RGID, MAC, "0028"],
      ...["2122232425262728 07c1 0046", zeros(28)],
      "00000000 00 0000 02",
      ...["20010db8", zeros(12), "40", "fd00", zeros(14), "30"],
      ...["02 01 00 11 0000 0060", "00000000000000000000ffff0a000001", "ff 02 0001", zeros(12)],
      ...[padded("SMCNET"), padded("LAB.1-A")],
      ...[padded("IBM-SYSZ-ISMSEID00000000AB12CD34"), zeros(16), "3132333435363738 07c2", SMCR],
    ),
  },
  {
    name: "Accept v1, D",
    value: { ...accept, version: 1, v2: undefined },
    bytes: hex(SMCD, "02 0030 19", ANSWER_D, zeros(12), SMCD),
  },
  {
    name: "Confirm v1, D",
    value: { ...accept, type: "Confirm", version: 1, firstContact: false, v2: undefined },
    bytes: hex(SMCD, "03 0030 11", ANSWER_D, zeros(12), SMCD),
  },
  {
    name: "Accept v2, D, known link group, 78 bytes",
    value: { ...accept, firstContact: false, v2: { ...accept.v2!, extension: undefined } },
    bytes: hex(SMCD, "02 004e 21", ANSWER_D2, SMCD),
  },
  {
    name: "Accept v2, D, first contact at release 0, 114 bytes",
    value: { ...accept, v2: { ...accept.v2!, extension: { ...extension, release: 0, featureMask: 0 } } },
    bytes: hex(SMCD, "02 0072 29", ANSWER_D2, "00 20 0000", padded("node-1"), SMCD),
  },
  {
    name: "Accept v2, D, first contact at release 1, 130 bytes",
    value: accept,
    bytes: hex(SMCD, "02 0082 29", ANSWER_D2, EXTENSION, SMCD),
  },
  {
    name: "Confirm v2, D, first contact at release 1, 130 bytes",
    value: { ...accept, type: "Confirm" },
    bytes: hex(SMCD, "03 0082 29", ANSWER_D2, EXTENSION, SMCD),
  },
  { name: "Accept v1, R, 68 bytes", value: acceptR, bytes: hex(SMCR, "02 0044 18", ANSWER_R, SMCR) },
  {
    name: "Confirm v1, R, 68 bytes",
    value: { ...acceptR, type: "Confirm", firstContact: false },
    bytes: hex(SMCR, "03 0044 10", ANSWER_R, SMCR),
  },
  {
    name: "Accept v2, R, known link group, 108 bytes",
    value: {
      ...acceptR,
      version: 2,
      firstContact: false,
      v2: { eid: "SMCNET", extension: undefined, gids: [] },
    },
    bytes: hex(SMCR, "02 006c 20", ANSWER_R, padded("SMCNET"), zeros(8), SMCR),
  },
  {
    name: "Accept v2, R, first contact, 160 bytes",
    value: { ...acceptR, version: 2, v2: { eid: "SMCNET", extension: extensionR, gids: [] } },
    bytes: hex(SMCR, "02 00a0 28", ANSWER_R, padded("SMCNET"), zeros(8), EXTENSION_R, SMCR),
  },
  {
    name: "Confirm v2, R, first contact, two GIDs, 196 bytes",
    value: {
      ...acceptR,
      type: "Confirm",
      version: 2,
      v2: { eid: "SMCNET", extension: extensionR, gids: [hex(RGID), hex(OTHER_GID)] },
    },
    bytes: hex(
      ...[SMCR, "03 00c4 28", ANSWER_R, padded("SMCNET"), zeros(8), EXTENSION_R],
      ...["02 000000", RGID, OTHER_GID, SMCR],
    ),
  },
  {
    name: "Decline v1, out of sync, 28 bytes",
    value: {
      type: "Decline",
      version: 1,
      outOfSync: true,
      peerId: new Uint8Array(8),
      diagnosis: 0x04000000,
      os: 0,
    },
    bytes: hex(SMCR, "04 001c 18", zeros(8), "04000000 00 000000", SMCR),
  },
  {
    // The first 24 bytes were captured from Linux, smc-protocol §2.5.
    name: "Decline v2 of Linux, 44 bytes",
    value: { type: "Decline", version: 2, outOfSync: false, peerId: hex(PEER_ID), diagnosis: 0x02010000, os: 2 },
    bytes: hex("E2D4C3D9 04 002C 20 A65600163E0CCB04 02010000 20 000000", zeros(16), SMCR),
  },
];

/** The sample of that name. */
export function sample(name: string): Sample {
  const found = SAMPLES.find((candidate) => candidate.name === name);
  if (!found) throw new Error(`no sample "${name}"`);
  return found;
}
