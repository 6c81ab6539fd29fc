import { test } from "uvu";
import * as assert from "uvu/assert";
import { encodeClc } from "../../src/wire/clc.js";
import { DIAGNOSIS } from "../../src/wire/clc-diagnosis.js";
import type { SmcdAnswer } from "../../src/wire/clc-smcd.js";
import { SAMPLES, sample } from "../wire/messages.js";
import { client, device, endpoint, message, nativeDevice, offer, PEER_ID } from "./peers.js";

const acceptV2: SmcdAnswer = {
  type: "Accept",
  path: "D",
  version: 2,
  firstContact: true,
  gid: 0x11n,
  token: 0xb1n,
  dmbeIndex: 0,
  dmbeSize: 3,
  linkId: 0x200,
  v2: {
    chid: 0xffff,
    eid: "SMCNET",
    gidExt: 0x22n,
    extension: { direct: false, os: 2, release: 1, hostName: "node-2", maxConns: 0, maxLinks: 0, featureMask: 0xff01 },
  },
};
const acceptV1: SmcdAnswer = { ...acceptV2, version: 1, v2: undefined };
const known: SmcdAnswer = { ...acceptV2, firstContact: false, v2: { ...acceptV2.v2!, extension: undefined } };
const accept = (value: SmcdAnswer) => message(encodeClc(value));
const start = { type: "start" } as const;
const attached = { type: "attached", local: endpoint() } as const;

test("an Accept is attached, confirmed and agreed", () => {
  const walk = client().on(start, accept(acceptV2), attached);
  assert.is(walk.trail, "send wait attach send agreed");
  const { sent, agreement } = walk;
  assert.is(sent[0].type, "Proposal");
  assert.equal(sent[1], {
    ...acceptV2,
    type: "Confirm",
    token: attached.local.token,
    dmbeSize: 2,
    linkId: 0x100,
    v2: {
      ...acceptV2.v2,
      extension: { ...acceptV2.v2!.extension!, hostName: "node-1", featureMask: 1 },
    },
  });
  assert.equal(agreement.peer, {
    version: 2,
    release: 1,
    gid: 0x11n,
    gidExt: 0x22n,
    chid: 0xffff,
    eid: "SMCNET",
    token: 0xb1n,
    dmbeSize: 3,
    linkId: 0x200,
    firstContact: true,
    hostName: "node-2",
    os: 2,
  });
  assert.is(agreement.featureMask, 1, "the intersection");
  assert.is(agreement.device.name, "lo");
  assert.equal(agreement.local, attached.local);
});

test("without first contact there is no extension, and the release is the link group's", () => {
  const local = endpoint({ firstContact: false });
  const walk = client().on(start, accept(known), { type: "attached", local });
  const [, confirm] = walk.sent;
  assert.is(encodeClc(confirm).length, 78);
  assert.is(walk.agreement.peer.release, undefined);
  assert.is(walk.agreement.featureMask, undefined);
});

test("a server of release 0 gets the short extension", () => {
  const old = { ...acceptV2, v2: { ...acceptV2.v2!, extension: { ...acceptV2.v2!.extension!, release: 0 } } };
  const walk = client().on(start, accept(old), attached);
  assert.is(walk.sentBytes[1].length, 114);
  assert.is(walk.agreement.peer.release, 0);
});

test("an Accept of version 1 is confirmed with 48 bytes", () => {
  for (const version of [1, 2] as const) {
    const walk = client(offer({ version })).on(start, accept(acceptV1), attached);
    assert.is(walk.sentBytes[1].length, 48);
    assert.is(walk.agreement.peer.version, 1);
    assert.is(walk.agreement.peer.gidExt, undefined);
  }
});

test("the device is the one whose CHID was accepted", () => {
  const devices = [device(), nativeDevice(7)];
  const chosen = { ...acceptV2, v2: { ...acceptV2.v2!, chid: 7 } };
  assert.is(client(offer({ devices })).on(start, accept(chosen)).last("attach").device.name, "ism7");
});

for (const { name, value, bytes } of SAMPLES.filter((candidate) => candidate.value.type === "Decline"))
  test(`${name}: the client falls back in silence`, () => {
    const walk = client().on(start, message(bytes));
    const { reason, filterLate, outOfSync } = walk.last("fallback");
    assert.is(walk.sent.length, 1, "the Proposal only");
    const peerDiagnosis = value.type === "Decline" ? value.diagnosis : 0;
    assert.equal(reason, { code: 0x05000000, name: "PEERDECL", side: "peer", peerDiagnosis });
    assert.not(filterLate);
    assert.is(outOfSync, name.includes("out of sync"));
  });

for (const [name, row] of Object.entries(DIAGNOSIS))
  test(`a Decline of ${name} is remembered with its diagnosis`, () => {
    const decline = { type: "Decline", version: 2, outOfSync: false, peerId: PEER_ID, os: 2 } as const;
    const walk = client().on(start, message(encodeClc({ ...decline, diagnosis: row.code })));
    assert.is(walk.last("fallback").reason.peerDiagnosis, row.code);
  });

test("with nothing to offer a Decline takes the Proposal's place", () => {
  const walk = client(offer({ devices: [] })).on(start);
  assert.equal(walk.sent, [
    { type: "Decline", version: 2, outOfSync: false, peerId: PEER_ID, diagnosis: 0x03030000, os: 2 },
  ]);
  assert.equal(walk.last("fallback").reason, { code: 0x03030000, name: "NOSMCDEV", side: "local" });
  assert.not(walk.last("fallback").filterLate, "the server answers no Decline");
});

test("a silent server is declined, and its one late message is to be filtered", () => {
  const walk = client().on(start, { type: "timeout" });
  const [, decline] = walk.sent;
  assert.is(decline.type === "Decline" && decline.diagnosis, DIAGNOSIS.TIMEOUT_CL.code);
  assert.is(walk.last("fallback").reason.name, "TIMEOUT_CL");
  assert.ok(walk.last("fallback").filterLate);
});

test("an attach that fails is declined in the version agreed, without a peer id", () => {
  for (const [value, length] of [
    [acceptV1, 28],
    [acceptV2, 44],
  ] as const) {
    const walk = client().on(start, accept(value), { type: "attachFailed", diagnosis: DIAGNOSIS.MEM.code });
    const [, decline] = walk.sent;
    assert.is(walk.sentBytes[1].length, length);
    assert.equal(decline.type === "Decline" && decline.peerId, new Uint8Array(8));
    assert.is(walk.last("fallback").reason.name, "MEM");
    assert.not(walk.last("fallback").filterLate, "the server has nothing in flight");
  }
});

test("an unknown link group is declined as out of sync", () => {
  const walk = client().on(start, accept(known), { type: "attachFailed", diagnosis: DIAGNOSIS.SYNCERR.code });
  const [, decline] = walk.sent;
  assert.ok(decline.type === "Decline" && decline.outOfSync);
});

const DECLINED: readonly (readonly [string, Uint8Array, Parameters<typeof client>[0], string])[] = [
  ["SMC-R was not offered", sample("Accept v1, R, 68 bytes").bytes, offer(), "MODEUNSUPP"],
  ["SMC-Rv2 was not offered", sample("Accept v2, R, first contact, 160 bytes").bytes, offer(), "MODEUNSUPP"],
  ["version 1 was not offered", encodeClc(acceptV1), offer({ prefixes: undefined }), "MODEUNSUPP"],
  ["version 2 was not offered", encodeClc(acceptV2), offer({ version: 1 }), "MODEUNSUPP"],
  [
    "a release above ours",
    encodeClc({ ...acceptV2, v2: { ...acceptV2.v2!, extension: { ...acceptV2.v2!.extension!, release: 2 } } }),
    offer(),
    "RELEASEERR",
  ],
];
for (const [what, bytes, local, name] of DECLINED)
  test(`an Accept is declined: ${what}`, () => {
    const walk = client(local).on(start, message(bytes));
    assert.is(walk.trail, "send wait send fallback");
    assert.is(walk.last("fallback").reason.name, name);
    const [, decline] = walk.sent;
    assert.is(decline.type === "Decline" && decline.diagnosis, walk.last("fallback").reason.code);
  });

const otherV2 = (change: Partial<NonNullable<SmcdAnswer["v2"]>>) =>
  accept({ ...acceptV2, v2: { ...acceptV2.v2!, ...change } });
const FAILED = {
  "a CHID that was not offered": [otherV2({ chid: 8 }), "EPROTO"],
  "an EID that was not offered": [otherV2({ eid: "OTHER" }), "EPROTO"],
  "a Confirm in place of an Accept": [accept({ ...acceptV2, type: "Confirm" }), "EPROTO"],
  "a Proposal in place of an Accept": [message(SAMPLES[0].bytes), "EPROTO"],
  "a malformed Accept": [message(encodeClc(acceptV2).fill(0, 126)), "EPROTO"],
  "foreign bytes": [{ type: "foreign" }, "EPROTO"],
  "an end of stream": [{ type: "eof" }, "ECONNRESET"],
} as const;
for (const [what, [event, code]] of Object.entries(FAILED))
  test(`${what} fails the connection: ${code}`, () => {
    const walk = client().on(start, event);
    assert.is(walk.trail, "send wait fail");
    assert.is(walk.failure.code, code);
  });

test("a device that did not fit into the Proposal was not offered", () => {
  const devices = [1, 2, 3, 4, 5, 6, 7, 8, 9].map((chid) => nativeDevice(chid));
  assert.is(
    client(offer({ devices }))
      .on(start, otherV2({ chid: 8 }))
      .last("attach").device.chid,
    8,
  );
  assert.is(client(offer({ devices })).on(start, otherV2({ chid: 9 })).failure.code, "EPROTO");
});

test("a socket error is passed on as it is", () => {
  const error = Object.assign(new Error("read EPIPE"), { code: "EPIPE" });
  assert.is(client().on(start, { type: "error", error }).failure, error);
});

test("trouble while attaching fails the connection, but no deadline runs then", () => {
  const attaching = () => client().on(start, accept(acceptV2));
  assert.is(attaching().on({ type: "eof" }).failure.code, "ECONNRESET");
  assert.is(attaching().on(accept(acceptV2)).failure.code, "EPROTO");
  assert.is(attaching().on({ type: "timeout" }).trail, "send wait attach");
});

test("after the end nothing changes any more", () => {
  const events = [
    start,
    accept(acceptV2),
    attached,
    { type: "timeout" },
    { type: "eof" },
    { type: "foreign" },
  ] as const;
  const walk = client().on(start, { type: "timeout" });
  const { trail } = walk;
  walk.on(...events, { type: "attachFailed", diagnosis: 1 });
  assert.is(walk.trail, trail);
  assert.is(walk.state.name, "done");
});

test.run();
