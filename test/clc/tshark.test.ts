/**
 * What tshark makes of our CLC messages: every one recognised, field values equal to what was sent, nothing malformed.
 *
 * The capture is synthesised around the bytes that the handshake machines and codecs produce. Skipped without tshark.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { LocalOffer } from "../../src/clc/agreement.js";
import { decodeClc } from "../../src/wire/clc.js";
import type { Decline } from "../../src/wire/clc-decline.js";
import type { Proposal } from "../../src/wire/clc-proposal.js";
import type { SmcdAnswer } from "../../src/wire/clc-smcd.js";
import type { SmcrAnswer } from "../../src/wire/clc-smcr.js";
import { CLIENT_PORT, pcap, type Segment } from "../support/pcap.js";
import { type Dissected, dissect, tsharkMissing, tsharkVersion } from "../support/tshark.js";
import { SAMPLES, sample } from "../wire/messages.js";
import { client, endpoint, message, offer, server } from "./peers.js";

/** Expected values by field, without the prefix "smc.". */
type Expected = Readonly<Record<string, string | readonly string[]>>;

const hex = (digits: number) => (value: number | bigint) => `0x${value.toString(16).padStart(digits, "0")}`;
const [hex8, hex16, hex24, hex32, hex64] = [2, 4, 6, 8, 16].map(hex);
const number64 = (bytes: Uint8Array): string => `0x${Buffer.from(bytes).toString("hex")}`;
const mac = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":");
const padded = (text: string): string => text.padEnd(32, " ");
const bit = (flag: boolean): string => (flag ? "1" : "0");
const PATH_NUMBER = { R: "0", D: "1", N: "2", B: "3" };

function proposalFields({ version, typev1, typev2, smcd, prefixes, v2 }: Proposal): Expected {
  const fields: Record<string, string | readonly string[]> = {
    "proposal.smc.version": String(version),
    "proposal.smc.type": PATH_NUMBER[typev1],
    "proposal.ism.gid": [smcd!.gid, ...(v2?.smcd?.entries.map(({ gid }) => gid) ?? [])].map(hex64),
    "outgoing.interface.subnet.mask": [24, 16, 8, 0].map((at) => (prefixes!.ipv4Network >>> at) & 0xff).join("."),
    "outgoing.interface.subnet.mask.number.of.significant.bits": String(prefixes!.ipv4Length),
  };
  if (!v2) return fields;
  return {
    ...fields,
    "proposal.smcv2.type": PATH_NUMBER[typev2],
    "proposal.smc.chid": [smcd!.chid, ...v2.smcd!.entries.map(({ chid }) => chid)].map(hex16),
    "proposal.smc.version.relnum": String(v2.release),
    "proposal.smc.seid": bit(v2.seidValid),
    "proposal.eid": v2.ueids.map(padded),
  };
}

function smcdFields(answer: SmcdAnswer): Expected {
  const { version, firstContact, gid, token, dmbeIndex, dmbeSize, linkId, v2 } = answer;
  const [role, sender, own] =
    answer.type === "Accept" ? ["accept", "server", "server"] : ["confirm", "client", "client"];
  const fields: Record<string, string> = {
    "proposal.smc.version": String(version),
    [`${role}.smc.type`]: "1",
    [`${role}.first.contact`]: bit(firstContact),
    [`${role}.sender.${sender}.ism.gid`]: hex64(gid),
    [`${role}.dmb.token`]: hex64(token),
    [`${role}.dmbe.conn.index`]: String(dmbeIndex),
    [`${role}.dmbe.buffer.size`]: String(dmbeSize),
    [`${role}.${own}.linkid`]: hex32(linkId),
  };
  if (v2) {
    fields[`${role}.smc.chid`] = hex16(v2.chid);
    fields[`${role}.eid`] = padded(v2.eid);
  }
  if (v2?.extension) {
    fields[`${role}.os.type`] = String(v2.extension.os);
    fields[`${role}.smc.version.relnum`] = String(v2.extension.release);
    fields[`${role}.peer.host.name`] = padded(v2.extension.hostName);
  }
  return fields;
}

function smcrFields(answer: SmcrAnswer): Expected {
  const { peerId, qpNumber, rkey, rmbeIndex, alertToken, rmbeSize, mtu, address, psn } = answer;
  const accept = answer.type === "Accept";
  const role = accept ? "accept" : "confirm";
  const own = accept ? "accept.server" : "confirm.client";
  const element = accept ? "accept.server" : "client";
  return {
    "proposal.smc.version": String(answer.version),
    [`${role}.sender.${accept ? "server" : "client"}.peer.id`]: number64(peerId),
    [accept ? "accept.server.preferred.mac" : "confirm.client.mac"]: mac(answer.mac),
    [`${own}.qp.number`]: hex24(qpNumber),
    [`${own}.rmb.rkey`]: hex32(rkey),
    [`${own}.tcp.conn.index`]: String(rmbeIndex),
    [`${element}.rmb.element.alert.token`]: hex32(alertToken),
    [`${role}.flags.2`]: hex8(rmbeSize * 16 + mtu),
    [`${element}.rmb.virtual.address`]: hex64(address),
    [accept ? "accept.initial.psn" : "initial.psn"]: hex24(psn),
  };
}

function declineFields({ version, outOfSync, peerId, diagnosis, os }: Decline): Expected {
  const words = version === 1 ? [diagnosis] : [diagnosis, 0, 0, 0, 0];
  return {
    "decline.smc.version": String(version),
    "decline.osync": bit(outOfSync),
    "sender.peer.id": number64(peerId),
    "peer.diag.info": words.map(hex32),
    ...(version === 1 ? {} : { "decline.os.type": String(os) }),
  };
}

function expectedFields(bytes: Uint8Array): Expected {
  const value = decodeClc(bytes);
  const type = { Proposal: "1", Accept: "2", Confirm: "3", Decline: "4" }[value.type];
  const common = { clc_msg: type, length: String(bytes.length) };
  if (value.type === "Proposal") return { ...common, ...proposalFields(value) };
  if (value.type === "Decline") return { ...common, ...declineFields(value) };
  return { ...common, ...(value.path === "D" ? smcdFields(value) : smcrFields(value)) };
}

/** Both machines against each other; the segments as they went over the wire. */
function handshake(clientOffer: LocalOffer, serverOffer: LocalOffer): Segment[] {
  const left = client(clientOffer).on({ type: "start" });
  const right = server(serverOffer).on({ type: "start" }, message(left.sentBytes[0]));
  if (right.actions.at(-1)?.type === "register") {
    right.on({ type: "registered", local: endpoint({ token: 0x8182838485868788n, linkId: 0x01000000 }) });
    left.on(message(right.sentBytes[0]), { type: "attached", local: endpoint() });
  }
  const [first, ...later] = left.sentBytes.map((bytes) => ({ from: "client" as const, bytes }));
  return [first, ...right.sentBytes.map((bytes) => ({ from: "server" as const, bytes })), ...later];
}

const CONVERSATIONS: Readonly<Record<string, Segment[]>> = {
  "default handshake: v2, SMC-D": handshake(offer(), offer({ hostName: "node-2" })),
  "v1 handshake, SMC-D": handshake(offer({ version: 1 }), offer()),
  "v1 handshake offered in a v2 Proposal": handshake(offer(), offer({ version: 1 })),
  "Decline of the server, v2": handshake(offer(), offer({ devices: [] })),
  "Decline of the server, v1": handshake(offer({ version: 1 }), offer({ devices: [] })),
  "SMC-R, v1": [
    { from: "server", bytes: sample("Accept v1, R, 68 bytes").bytes },
    { from: "client", bytes: sample("Confirm v1, R, 68 bytes").bytes },
  ],
  "SMC-R, v2": [
    { from: "server", bytes: sample("Accept v2, R, first contact, 160 bytes").bytes },
    { from: "client", bytes: sample("Confirm v2, R, first contact, two GIDs, 196 bytes").bytes },
  ],
  "Decline as captured from Linux": [{ from: "client", bytes: sample("Decline v2 of Linux, 44 bytes").bytes }],
};

/**
 * Forms that the dissector itself reads past their end: it takes the 40-byte SMC-D area and the 52-byte extension for
 * granted. smcnet sends neither unless its peer is that old. Source: smc-protocol §12.1.
 */
const DISSECTOR_OVERRUNS = [
  "Proposal v1, R, the RFC's 52 bytes",
  "Accept v2, D, first contact at release 0, 114 bytes",
];

const clientPortOf = (frame: Dissected): number =>
  Math.max(...["tcp.srcport", "tcp.dstport"].map((field) => Number(frame[field][0])));

function tsharkTest(name: string, body: () => Promise<void>): void {
  if (tsharkMissing === undefined) test(`${name} (${tsharkVersion})`, body);
  else {
    process.stdout.write(`skipped: ${name}: ${tsharkMissing}\n`);
    test.skip(name, body);
  }
}

tsharkTest("tshark shows every field of every handshake as it was sent", async () => {
  const segments = Object.entries(CONVERSATIONS).flatMap(([what, list]) => list.map(({ bytes }) => ({ what, bytes })));
  const expected = segments.map(({ bytes }) => expectedFields(bytes));
  const fields = [...new Set(expected.flatMap((frame) => Object.keys(frame)))];
  const frames = await dissect(
    pcap(Object.values(CONVERSATIONS)),
    "smc",
    fields.map((field) => `smc.${field}`),
  );
  assert.is(frames.length, segments.length, "every message is recognised");
  for (const [i, { what }] of segments.entries())
    for (const [field, value] of Object.entries(expected[i]))
      assert.equal(frames[i][`smc.${field}`], [value].flat(), `${what}, message ${i}: ${field}`);
});

tsharkTest("tshark finds nothing malformed in any handshake", async () => {
  const capture = pcap(Object.values(CONVERSATIONS));
  assert.equal(await dissect(capture, "smc && _ws.malformed", ["frame.number"]), []);
});

tsharkTest("tshark recognises every form of message, and overruns only where it is known to", async () => {
  const capture = pcap(SAMPLES.map(({ bytes }) => [{ from: "client", bytes }]));
  const ports = ["tcp.srcport", "tcp.dstport"];
  const names = (frames: Dissected[]): string[] =>
    frames.map((frame) => SAMPLES[clientPortOf(frame) - CLIENT_PORT].name);
  assert.equal(
    names(await dissect(capture, "smc.clc_msg", ports)),
    SAMPLES.map(({ name }) => name),
  );
  for (const name of names(await dissect(capture, "smc && _ws.malformed", ports)))
    assert.ok(DISSECTOR_OVERRUNS.includes(name), `${name} is malformed to ${tsharkVersion}`);
});

tsharkTest("tshark does report a message that is malformed", async () => {
  const { bytes } = sample("Accept v2, D, first contact at release 1, 130 bytes");
  const cut = bytes.slice(0, 90);
  cut[6] = cut.length;
  const frames = await dissect(pcap([[{ from: "server", bytes: cut }]]), "smc && _ws.malformed", ["frame.number"]);
  assert.is(frames.length, 1);
});

test.run();
