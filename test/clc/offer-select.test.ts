import { test } from "uvu";
import * as assert from "uvu/assert";
import type { LocalOffer } from "../../src/clc/agreement.js";
import { buildOffer } from "../../src/clc/offer.js";
import { selectionSteps } from "../../src/clc/select.js";
import { encodeClc } from "../../src/wire/clc.js";
import { diagnosisName } from "../../src/wire/clc-diagnosis.js";
import type { Proposal } from "../../src/wire/clc-proposal.js";
import { device, LOOPBACK, nativeDevice, offer } from "./peers.js";

function proposalOf(local: LocalOffer): Proposal {
  const { proposal } = buildOffer(local);
  if (!proposal) throw new Error("nothing offered");
  return proposal;
}
const shape = ({ version, typev1, typev2 }: Proposal): string => `v${version} ${typev1} ${typev2}`;

/** Steps as words: "device:version" to try, the diagnosis for what is out. */
const steps = (proposal: Proposal, local: LocalOffer): string =>
  selectionSteps(proposal, local)
    .map((step) => (step.device ? `${step.device.name}:v${step.peer.version}` : diagnosisName(step.diagnosis)))
    .join(" ");

test("by default D is offered under both rules, with the prefix area that every dissector reads", () => {
  const proposal = proposalOf(offer());
  assert.is(shape(proposal), "v2 D D");
  assert.is(proposal.smcd?.gid, 0x11n);
  assert.is(proposal.smcd?.chid, 0, "an emulated device is never matched by the SMC-D area");
  assert.is(proposal.v2?.smcd?.entries.length, 2);
  assert.is(proposal.v2?.release, 1);
  assert.is(proposal.v2?.featureMask, 1);
  assert.is(encodeClc(proposal)[39], 40, "iparea_offset");
});

test("without prefixes only version 2 is offered", () => {
  const proposal = proposalOf(offer({ prefixes: undefined }));
  assert.is(shape(proposal), "v2 N D");
  assert.is(encodeClc(proposal).length, 224);
});

test("a device that is not for version 1 is offered under version 2 alone", () => {
  assert.is(shape(proposalOf(offer({ devices: [device({ v1: false })] }))), "v2 N D");
});

test("version 1 offers the 92 byte message", () => {
  const proposal = proposalOf(offer({ version: 1 }));
  assert.is(shape(proposal), "v1 D N");
  assert.is(encodeClc(proposal).length, 92);
});

test("a native v1 device is matched by the SMC-D area and not listed again", () => {
  const proposal = proposalOf(offer({ devices: [device({ v1: false }), nativeDevice(7, { v1: true })] }));
  assert.equal(proposal.smcd, { gid: 7n, chid: 7 });
  assert.equal(
    proposal.v2?.smcd?.entries.map(({ chid }) => chid),
    [0xffff, 0xffff],
  );
  const alone = proposalOf(offer({ devices: [nativeDevice(7, { v1: true })] }));
  assert.is(shape(alone), "v2 D D");
  assert.is(alone.v2?.smcd?.entries.length, 0);
});

test("each CHID is listed once", () => {
  const proposal = proposalOf(offer({ devices: [nativeDevice(7), nativeDevice(7, { gid: 9n }), nativeDevice(8)] }));
  assert.equal(proposal.v2?.smcd?.entries, [
    { gid: 7n, chid: 7 },
    { gid: 8n, chid: 8 },
  ]);
});

test("nothing to offer is a diagnosis", () => {
  const reason = (local: LocalOffer): string => diagnosisName(buildOffer(local).diagnosis ?? 0);
  assert.is(reason(offer({ devices: [] })), "NOSMCDEV");
  assert.is(reason(offer({ version: 1, prefixes: undefined })), "CNFERR");
  assert.is(reason(offer({ version: 1, devices: [nativeDevice(7)] })), "NOSMCDEV");
});

test("version 2 is tried before version 1", () => {
  assert.is(steps(proposalOf(offer()), offer()), "lo:v2 lo:v1");
});

test("version 2 devices are tried native first, then in the client's order, unreachable ones left out", () => {
  const own = [device({ v1: false }), nativeDevice(7, { v1: true }), nativeDevice(8), nativeDevice(9, { gid: 99n })];
  const theirs = [nativeDevice(9), nativeDevice(8), device({ v1: false }), nativeDevice(7, { v1: true })];
  assert.is(steps(proposalOf(offer({ devices: theirs })), offer({ devices: own })), "ism7:v2 ism8:v2 lo:v2 ism7:v1");
});

test("what the peer told is carried along: GID of 128 bits, CHID, the first EID in common", () => {
  const proposal = proposalOf(offer({ ueids: ["A", "B", "C"] }));
  const [first, second] = selectionSteps(proposal, offer({ ueids: ["C", "B"] }));
  assert.equal(first.device && first.peer, {
    version: 2,
    release: 1,
    gid: 0x11n,
    gidExt: 0x22n,
    chid: 0xffff,
    eid: "B",
  });
  assert.equal(second.device && second.peer, {
    version: 1,
    release: 0,
    gid: 0x11n,
    gidExt: undefined,
    chid: undefined,
    eid: "",
  });
});

test("the release is the lower one", () => {
  const proposal = proposalOf(offer());
  for (const [proposed, release] of [
    [0, 0],
    [1, 1],
    [5, 1],
  ]) {
    const [step] = selectionSteps({ ...proposal, v2: { ...proposal.v2!, release: proposed } }, offer());
    assert.is(step.device && step.peer.release, release);
  }
});

const elsewhere = { ipv4Network: 0x0a000000, ipv4Length: 8, ipv6: [] };
const OUT: readonly (readonly [string, Partial<LocalOffer>, Partial<LocalOffer>, string])[] = [
  ["no device here", {}, { devices: [] }, "NOSMCDEV"],
  ["no EID in common", { prefixes: undefined }, { ueids: ["OTHER"] }, "NOUEID"],
  ["no EID proposed", { prefixes: undefined, ueids: [] }, {}, "NOUEID"],
  ["another process's device", { prefixes: undefined, devices: [device({ gidExt: 5n })] }, {}, "NOSMCD2DEV"],
  ["version 2 only, version 1 here", { prefixes: undefined }, { version: 1 }, "NOISM2SUPP"],
  ["v1, another network", { version: 1 }, { prefixes: elsewhere }, "DIFFPREFIX"],
  ["v1, a wider network", { version: 1 }, { prefixes: { ...LOOPBACK, ipv4Length: 7 } }, "DIFFPREFIX"],
  ["v1, network unknown here", { version: 1 }, { prefixes: undefined }, "DIFFPREFIX"],
  ["v1, device not for version 1", { version: 1 }, { devices: [device({ v1: false })] }, "NOSMCDDEV"],
  ["no EID, then v1 succeeds", { ueids: [] }, {}, "NOUEID lo:v1"],
  ["no EID, then another network", { ueids: [] }, { prefixes: elsewhere }, "NOUEID DIFFPREFIX"],
  ["version 2 offered, version 1 here", {}, { version: 1 }, "NOISM2SUPP lo:v1"],
];
for (const [what, theirs, ours, expected] of OUT)
  test(`selection, ${what}: ${expected}`, () => {
    assert.is(steps(proposalOf(offer(theirs)), offer(ours)), expected);
  });

test("an offer of SMC-R alone is passed over with its own diagnosis", () => {
  const proposal: Proposal = { ...proposalOf(offer({ version: 1 })), typev1: "R" };
  assert.is(steps(proposal, offer()), "NOSMCRDEV");
});

test("an offer of nothing is answered too", () => {
  const proposal: Proposal = {
    ...proposalOf(offer()),
    typev1: "N",
    typev2: "N",
    prefixes: undefined,
    v2: undefined,
  };
  assert.is(steps(proposal, offer()), "NOSMCDDEV");
});

test("IPv6 prefixes match if one is in common", () => {
  const area = (...firsts: number[]) => ({
    ...LOOPBACK,
    ipv4Network: 0,
    ipv4Length: 0,
    ipv6: firsts.map((first) => ({ prefix: Uint8Array.of(first, ...new Array<number>(15).fill(0)), length: 64 })),
  });
  const proposal = proposalOf(offer({ version: 1, prefixes: area(0x20, 0xfd) }));
  assert.is(steps(proposal, offer({ prefixes: area(0x30, 0xfd) })), "lo:v1");
  assert.is(steps(proposal, offer({ prefixes: area(0x30) })), "DIFFPREFIX");
  assert.is(steps(proposal, offer({ prefixes: LOOPBACK })), "DIFFPREFIX");
});

test.run();
