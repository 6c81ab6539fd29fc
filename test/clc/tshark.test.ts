/**
 * What tshark makes of our CLC messages: every one recognised, field values equal to what was sent, nothing malformed.
 *
 * The capture is synthesised around the bytes that the handshake machines and codecs produce. Skipped without tshark.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { LocalOffer } from "../../src/clc/agreement.js";
import { expectedFields } from "../support/clc-fields.js";
import { testUnless } from "../support/missing.js";
import { CLIENT_PORT, pcap, type Segment } from "../support/pcap.js";
import { type Dissected, dissect, tsharkMissing, tsharkVersion } from "../support/tshark.js";
import { SAMPLES, sample } from "../wire/messages.js";
import { client, endpoint, message, offer, server } from "./peers.js";

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

const tests = suite(`tshark (${tsharkVersion})`);
const tsharkTest = testUnless(tsharkMissing, tests);

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

tests.run();
