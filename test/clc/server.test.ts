import { test } from "uvu";
import * as assert from "uvu/assert";
import type { LocalOffer } from "../../src/clc/agreement.js";
import { buildOffer } from "../../src/clc/offer.js";
import { encodeClc } from "../../src/wire/clc.js";
import { DIAGNOSIS } from "../../src/wire/clc-diagnosis.js";
import type { Proposal } from "../../src/wire/clc-proposal.js";
import type { SmcdAnswer } from "../../src/wire/clc-smcd.js";
import { SAMPLES, sample } from "../wire/messages.js";
import { device, endpoint, message, nativeDevice, offer, PEER_ID, server } from "./peers.js";

const start = { type: "start" } as const;
const registered = { type: "registered", local: endpoint() } as const;
const attached = { type: "attached" } as const;

function proposal(local: LocalOffer = offer(), change: Partial<Proposal> = {}) {
  const offering = buildOffer(local);
  if (!offering.proposal) throw new Error("nothing offered");
  return message(encodeClc({ ...offering.proposal, ...change }));
}

const confirmV2: SmcdAnswer = {
  type: "Confirm",
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
    extension: { direct: false, os: 2, release: 1, hostName: "node-2", maxConns: 0, maxLinks: 0, featureMask: 1 },
  },
};
const confirm = (change: Partial<SmcdAnswer> = {}) => message(encodeClc({ ...confirmV2, ...change }));
const confirmWith = (change: Partial<NonNullable<SmcdAnswer["v2"]>>) =>
  confirm({ v2: { ...confirmV2.v2!, ...change } });

test("a Proposal is registered for, accepted, confirmed, attached and agreed", () => {
  const walk = server().on(start, proposal(), registered, confirm(), attached);
  assert.is(walk.trail, "wait register send wait attach agreed");
  const [accept] = walk.sent;
  assert.equal(accept, {
    ...confirmV2,
    type: "Accept",
    token: registered.local.token,
    dmbeSize: 2,
    linkId: 0x100,
    v2: { ...confirmV2.v2, extension: { ...confirmV2.v2!.extension!, hostName: "node-1" } },
  });
  const { agreement } = walk;
  assert.is(agreement.role, "server");
  assert.is(agreement.peer.token, 0xb1n);
  assert.is(agreement.peer.hostName, "node-2");
  assert.is(agreement.featureMask, 1);
  assert.equal(agreement.local, registered.local);
});

test("a host name of any length and script is told as far as the field carries it", () => {
  const walk = server(offer({ hostName: `r\u00f6-${"x".repeat(60)}` })).on(start, proposal(), registered);
  const [accept] = walk.sent;
  const told = accept.type === "Accept" && accept.path === "D" && accept.v2?.extension?.hostName;
  assert.is(told, `r?-${"x".repeat(29)}`);
});

test("waits are for the Proposal, then for the Confirm", () => {
  const walk = server().on(start);
  assert.is(walk.last("wait").for, "Proposal");
  assert.is(walk.on(proposal(), registered).last("wait").for, "Confirm");
});

test("a known link group is accepted without an extension", () => {
  const local = endpoint({ firstContact: false });
  const walk = server().on(start, proposal(), { type: "registered", local });
  assert.is(walk.sentBytes[0].length, 78);
  walk.on(confirm({ firstContact: false, v2: { ...confirmV2.v2!, extension: undefined } }), attached);
  assert.is(walk.agreement.peer.release, undefined);
});

test("a client of release 0 gets the short extension and has to repeat the release", () => {
  const { proposal: offered } = buildOffer(offer());
  const old = proposal(offer(), { v2: { ...offered!.v2!, release: 0 } });
  const walk = server().on(start, old, registered);
  assert.is(walk.sentBytes[0].length, 114);
  const extension = { ...confirmV2.v2!.extension!, release: 0 };
  assert.is(walk.on(confirmWith({ extension }), attached).agreement.peer.release, 0);
});

test("a client of version 1 is accepted with 48 bytes", () => {
  const walk = server().on(start, proposal(offer({ version: 1 })), registered);
  assert.is(walk.sentBytes[0].length, 48);
  walk.on(confirm({ version: 1, v2: undefined }), attached);
  assert.is(walk.agreement.peer.version, 1);
  assert.is(walk.agreement.peer.gidExt, undefined);
});

test("if registering fails the next pairing is tried, down to version 1", () => {
  const devices = [device(), nativeDevice(7)];
  const walk = server(offer({ devices })).on(start, proposal(offer({ devices })));
  const tried: string[] = [];
  for (let i = 0; i < 3; i++) {
    const { peer, device: own } = walk.last("register");
    tried.push(`${own.name}:v${peer.version}`);
    walk.on({ type: "registerFailed", diagnosis: i === 0 ? DIAGNOSIS.MAX_DMB.code : DIAGNOSIS.MEM.code });
  }
  assert.equal(tried, ["lo:v2", "ism7:v2", "lo:v1"]);
  assert.is(walk.last("fallback").reason.name, "MAX_DMB", "the first diagnosis met");
  const [decline] = walk.sent;
  assert.is(decline.type === "Decline" && decline.diagnosis, DIAGNOSIS.MAX_DMB.code);
});

test("the second pairing can succeed", () => {
  const walk = server().on(start, proposal(), { type: "registerFailed", diagnosis: 1 }, registered);
  assert.is(walk.sentBytes[0].length, 48);
});

test("a Proposal that cannot be served is declined in its version; a crossing Decline is to be filtered", () => {
  for (const [version, length] of [
    [1, 28],
    [2, 44],
  ] as const) {
    const walk = server(offer({ devices: [] })).on(start, proposal(offer({ version })));
    assert.is(walk.trail, "wait send fallback");
    assert.is(walk.sentBytes[0].length, length);
    const [decline] = walk.sent;
    assert.equal(decline.type === "Decline" && decline.peerId, PEER_ID);
    const { reason, filterLate } = walk.last("fallback");
    assert.equal(reason, { code: 0x03030000, name: "NOSMCDEV", side: "local" });
    assert.ok(filterLate);
  }
});

test("the first reason met is the one in the Decline", () => {
  const elsewhere = { ipv4Network: 0x0a000000, ipv4Length: 8, ipv6: [] };
  const walk = server(offer({ prefixes: elsewhere })).on(start, proposal(offer({ ueids: [] })));
  assert.is(walk.last("fallback").reason.name, "NOUEID", "not DIFFPREFIX, which came second");
});

test("every Proposal in the samples is answered, whatever it offers", () => {
  for (const { name, value, bytes } of SAMPLES) {
    if (value.type !== "Proposal") continue;
    const walk = server().on(start, message(bytes));
    assert.ok(["wait send fallback", "wait register"].includes(walk.trail), `${name}: ${walk.trail}`);
  }
});

test("a Decline in the Proposal's or the Confirm's place is a fallback without an answer", () => {
  const { bytes } = sample("Decline v1, out of sync, 28 bytes");
  const first = server().on(start, message(bytes));
  assert.is(first.trail, "wait fallback");
  const second = server().on(start, proposal(), registered, message(bytes));
  assert.is(second.trail, "wait register send wait fallback");
  for (const walk of [first, second]) {
    const { reason, filterLate, outOfSync } = walk.last("fallback");
    assert.equal(reason, { code: 0x05000000, name: "PEERDECL", side: "peer", peerDiagnosis: 0x04000000 });
    assert.not(filterLate);
    assert.ok(outOfSync);
  }
});

test("foreign bytes in the Proposal's place are a peer without SMC: TCP, and no byte is sent", () => {
  const walk = server().on(start, { type: "foreign" });
  assert.is(walk.trail, "wait fallback");
  assert.equal(walk.last("fallback").reason, { code: 0x03010000, name: "PEERNOSMC", side: "local" });
});

const CONTRADICTIONS = {
  "another GID": confirm({ gid: 0x12n }),
  "another GID extension": confirmWith({ gidExt: 0x23n }),
  "another CHID": confirmWith({ chid: 7 }),
  "another EID": confirmWith({ eid: "OTHER" }),
  "another version": confirm({ version: 1, v2: undefined }),
  "another release": confirmWith({ extension: { ...confirmV2.v2!.extension!, release: 0 } }),
  "no first contact": confirm({ firstContact: false, v2: { ...confirmV2.v2!, extension: undefined } }),
  "SMC-R": message(sample("Confirm v1, R, 68 bytes").bytes),
  "a malformed Confirm": message(encodeClc(confirmV2).fill(0, 126)),
  "an Accept": confirm({ type: "Accept" }),
  "a second Proposal": proposal(),
} as const;
for (const [what, event] of Object.entries(CONTRADICTIONS))
  test(`${what} in the Confirm's place fails the connection`, () => {
    const walk = server().on(start, proposal(), registered, event);
    assert.is(walk.trail, "wait register send wait fail");
    assert.is(walk.failure.code, "EPROTO");
  });

const FIRST = {
  "a malformed Proposal": [message(SAMPLES[0].bytes.slice().fill(0, 48)), "EPROTO"],
  "an Accept": [message(sample("Accept v1, D").bytes), "EPROTO"],
  "an end of stream": [{ type: "eof" }, "ECONNRESET"],
  silence: [{ type: "timeout" }, "ETIMEDOUT"],
} as const;
for (const [what, [event, code]] of Object.entries(FIRST))
  test(`${what} in the Proposal's place fails the connection: ${code}`, () => {
    const walk = server().on(start, event);
    assert.is(walk.trail, "wait fail");
    assert.is(walk.failure.code, code);
  });

test("after the Accept silence, foreign bytes and the end of the stream fail the connection", () => {
  const waiting = () => server().on(start, proposal(), registered);
  assert.is(waiting().on({ type: "timeout" }).failure.code, "ETIMEDOUT");
  assert.is(waiting().on({ type: "foreign" }).failure.code, "EPROTO");
  assert.is(waiting().on({ type: "eof" }).failure.code, "ECONNRESET");
});

test("an attach that fails after the Confirm fails the connection: the client is live already", () => {
  const walk = server().on(start, proposal(), registered, confirm(), { type: "attachFailed", diagnosis: 0x01010000 });
  assert.is(walk.failure.code, "ECONNABORTED");
  assert.match(walk.failure.message, "MEM");
});

test("events that mean nothing in a state change nothing", () => {
  const walk = server().on(start);
  const { state } = walk;
  assert.is(walk.on(registered, attached, start, { type: "attachFailed", diagnosis: 1 }).state, state);
  assert.is(walk.on({ type: "registerFailed", diagnosis: 1 }).state, state);
  const busy = server().on(start, proposal());
  assert.is(busy.on({ type: "timeout" }).trail, "wait register", "no deadline runs while registering");
});

test.run();
