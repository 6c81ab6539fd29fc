/**
 * What smcnet tells of real connections: `socket.smc`, the sockets' list, the counters, the diagnostics channels, NODE_DEBUG.
 */
import { spawn } from "node:child_process";
import type { Channel } from "node:diagnostics_channel";
import type { Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as smc from "../../src/index.js";
import { closed, connectPair, dial, listen } from "../support/pair.js";
import { Sequence, Verifier } from "../support/sequence.js";
import { TRANSPORTS, transport } from "../support/transports.js";
import { happens, until } from "../support/watchdog.js";
import { receive, send } from "./scenario.js";
import { checkNothingLeft } from "./stage.js";

const CHILD = fileURLToPath(new URL("../net/ending.child.mjs", import.meta.url));
const HEX_64 = /^[0-9a-f]{16}$/;

const test = suite("told");
let pagesBefore = 0;
test.before(() => {
  pagesBefore = smc.poolFreePages();
});

/** A connection is over some turns after both its sockets have closed. */
const allOver = () => until(() => smc.sockets().length === 0, "every connection to be over");
test.after.each(allOver);

for (const name of ["smcd", "smcd-copy"] as const) {
  test(`both ends of a connection say the same of it, each from its side · ${name}`, async () => {
    const { client, accepted, close } = await connectPair(transport(name), {
      server: { smc: { rmem: 16_384, wmem: 65_536 } },
      client: { smc: { rmem: 262_144, wmem: 32_768 } },
    });
    const [ours, theirs] = [client.smc!, accepted.smc!];
    for (const told of [ours, theirs]) {
      const { mode, device, version, state, nocopy, fallback } = told;
      assert.equal([mode, device, version, state, nocopy], ["SMCD", "lo", 2, "Active", name === "smcd"]);
      assert.is(fallback, undefined);
      for (const id of [told.gid, told.peerGid, told.token, told.peerToken]) assert.match(id!, HEX_64);
      assert.match(told.linkGroup!, /^[0-9a-f]{8}$/);
    }
    assert.equal([ours.role, theirs.role], ["client", "server"]);
    assert.equal([ours.token, ours.peerToken], [theirs.peerToken, theirs.token]);
    assert.equal([ours.gid, ours.peerGid], [theirs.peerGid, theirs.gid]);
    assert.equal([ours.rcvbufSize, theirs.rcvbufSize], [262_144, 16_384]);
    assert.equal([ours.peerBufSize, theirs.peerBufSize], [16_384, 262_144]);
    const sent = name === "smcd" ? [16_384, 262_144] : [32_768, 65_536];
    assert.equal([ours.sndbufSize, theirs.sndbufSize], sent, "nocopy: the send buffer is the peer's");
    await close();
  });
}

test("the state moves on with the connection, and is told as long as somebody asks", async () => {
  const { client, accepted, server } = await connectPair(transport("smcd"), { server: { allowHalfOpen: true } });
  accepted.resume();
  client.resume().end();
  await happens(accepted, "end");
  assert.equal([client.smc?.state, accepted.smc?.state], ["PeerCloseWait1", "AppCloseWait1"]);
  accepted.end();
  await Promise.all([closed(client), closed(accepted)]);
  await until(() => accepted.smc?.state === "Closed" && client.smc?.state === "Closed", "both to be Closed");
  server.close();
});

test("a server's socket has it before the connection event, a client's with connect; a TCP socket says why", async () => {
  for (const carrier of TRANSPORTS.slice(1)) {
    const [server, port] = await listen(carrier);
    const seen: unknown[] = [];
    server.prependListener("connection", (socket: Socket) => seen.push(socket.smc?.mode));
    const accepted = happens(server, "connection");
    const client = dial(carrier, port);
    client.prependListener("connect", () => seen.push(client.smc?.mode));
    await Promise.all([accepted, happens(client, "connect")]);
    const expected = [carrier.server, carrier.client]
      .filter((side) => (side as unknown) === smc)
      .map(() => carrier.mode);
    assert.equal(
      seen.filter((mode) => mode !== undefined),
      expected,
      carrier.name,
    );
    const [peer] = (await accepted) as [Socket];
    for (const told of [client.smc, peer.smc]) {
      if (told?.mode !== "TCP") continue;
      assert.equal([told.fallback?.name, told.fallback?.side], ["PEERNOSMC", "local"], carrier.name);
    }
    client.destroy();
    peer.destroy();
    await Promise.all([closed(client), closed(peer)]);
    server.close();
  }
});

test("a client whose claim nobody matches says what one says whose peer is plain", async () => {
  const [server, port] = await listen(transport("smcd"));
  server.maxConnections = 1;
  const accepted = happens(server, "connection");
  const first = dial(transport("smcd"), port);
  const [peer] = (await accepted) as [Socket];
  // A server that is full has nobody matched.
  const second = dial(transport("smcd"), port);
  await happens(second, "connect");
  const { client, close } = await connectPair(transport("fallback: plain server"));
  assert.is(second.smc?.fallback?.name, "PEERNOSMC");
  assert.is(second.smc?.fallback, client.smc?.fallback, "one reason, made once");
  for (const socket of [first, second, peer]) socket.destroy();
  await Promise.all([closed(first), closed(second), closed(peer), close()]);
  server.close();
});

/** The names of what stands on the handle under a socket itself. */
function onHandle(socket: Socket): string[] {
  const handle = (socket as unknown as { _handle: object })._handle;
  assert.is(handle.constructor.name, "TCP");
  return Object.getOwnPropertyNames(handle).sort();
}

test("after fallback the socket stands on the engine's own handle, with nothing of ours on it", async () => {
  for (const name of ["fallback: plain server", "fallback: plain client"] as const) {
    const { client, accepted, close } = await connectPair(transport(name));
    const { client: plainClient, accepted: plainAccepted, close: closePlain } = await connectPair(transport("net"));
    const [socket, plain] = name === "fallback: plain server" ? [client, plainClient] : [accepted, plainAccepted];
    // A client's handle keeps its way to connect, which is over.
    const left = onHandle(socket).filter((key) => key !== "connect" && key !== "connect6");
    assert.equal(left, onHandle(plain), name);
    assert.is(Object.hasOwn(socket, "_handle"), Object.hasOwn(plain, "_handle"), name);
    await close();
    await closePlain();
  }
});

test("the list of sockets shows what is there, and nothing that has gone", async () => {
  const { client, accepted, server, close } = await connectPair(transport("smcd"));
  const records = smc.sockets();
  const states = records.map(({ state, mode }) => `${state} ${mode}`).sort();
  assert.equal(states, ["ACTIVE SMCD", "ACTIVE SMCD", "LISTEN SMCD"]);
  const ours = records.find(({ local, state }) => state === "ACTIVE" && local.port === client.localPort)!;
  const theirs = records.find(({ local, state }) => state === "ACTIVE" && local.port === accepted.localPort)!;
  assert.equal([ours.local, ours.peer], [theirs.peer, theirs.local]);
  assert.equal([ours.dmb?.token, ours.dmb?.gid], [client.smc?.token, client.smc?.gid]);
  assert.ok(ours.inode > 0 && ours.inode !== theirs.inode);
  assert.ok(server.listening);
  await close();
  await allOver();
});

test("counters count what a connection did: bytes, calls, sizes, connections, buffers in use", async () => {
  const before = smc.stats();
  const { client, accepted, close } = await connectPair(transport("smcd"));
  const during = smc.stats();
  type Grows = "clientV2" | "serverV2" | "rxAllocated" | "txAllocated" | "txBytes" | "rxBytes" | "txRequests";
  const grown = (now: typeof before, name: Grows): number => now[name] - before[name];
  assert.equal([grown(during, "clientV2"), grown(during, "serverV2")], [1, 1]);
  assert.equal([grown(during, "rxAllocated"), grown(during, "txAllocated")], [2, 2]);
  assert.equal([during.rxInUse - before.rxInUse, during.txInUse - before.txInUse], [262_144, 262_144]);
  const sizes = [1, 8_192, 8_193, 65_536, 100_000, 5_000];
  const total = sizes.reduce((sum, size) => sum + size);
  const arrived = receive(accepted, new Verifier(9));
  assert.is(await send(client, new Sequence(9), sizes), total);
  client.end();
  assert.is(await arrived, total);
  const after = smc.stats();
  assert.equal([grown(after, "txBytes"), grown(after, "rxBytes")], [total, total]);
  // A write that `net` holds back goes out with others in one writev.
  assert.ok(grown(after, "txRequests") >= 1 && grown(after, "txRequests") <= sizes.length);
  const counted = after.txSizes.reduce((sum, count, bin) => sum + count - before.txSizes[bin]!, 0);
  assert.is(counted, grown(after, "txRequests"));
  await close();
  await allOver();
  const { rxInUse, txInUse } = smc.stats();
  assert.equal([rxInUse, txInUse], [before.rxInUse, before.txInUse]);
});

test("fallbacks are counted on the side where they happen, by their reason", async () => {
  const count = (side: "client" | "server") => smc.stats().fallback[side].total;
  for (const [name, side] of [
    ["fallback: plain client", "server"],
    ["smcd", "neither"],
  ] as const) {
    const before = [count("client"), count("server")];
    const { close } = await connectPair(transport(name));
    assert.equal([count("client"), count("server")], [before[0], before[1]! + (side === "server" ? 1 : 0)], name);
    await close();
  }
});

/** What a channel publishes while `body` runs. */
async function published<T>(channel: Channel, body: () => Promise<void>): Promise<T[]> {
  const messages: T[] = [];
  const listener = (message: unknown) => void messages.push(message as T);
  channel.subscribe(listener);
  try {
    await body();
  } finally {
    channel.unsubscribe(listener);
  }
  return messages;
}

test("channel smcnet:connected: each end once, with its socket and what it says", async () => {
  const sockets: Socket[] = [];
  const told = await published<{ socket: Socket; status: smc.SmcStatus }>(smc.channels.connected, async () => {
    const { client, accepted, close } = await connectPair(transport("smcd"));
    sockets.push(client, accepted);
    await close();
  });
  assert.is(told.length, 2);
  for (const socket of sockets) {
    const message = told.find((one) => one.socket === socket);
    assert.is(message?.status.token, socket.smc?.token);
    assert.is(message?.status.mode, "SMCD");
  }
});

test("channel smcnet:fallback: a negotiation that ended in TCP, from both sides; none where nobody negotiated", async () => {
  const decline = async () => {
    const { close } = await connectPair(
      { ...transport("smcd"), mode: "TCP", nocopy: undefined as never },
      { server: { smc: { ueids: ["OURS"] } }, client: { smc: { ueids: ["THEIRS"] } } },
    );
    await close();
  };
  const told = await published<{ side: string; reason: { name: string } }>(smc.channels.fallback, decline);
  assert.equal(told.map(({ side, reason }) => `${side} ${reason.name}`).sort(), ["client PEERDECL", "server NOUEID"]);
  const silent = await published(smc.channels.fallback, async () => {
    for (const name of ["fallback: plain server", "fallback: plain client", "smcd"] as const)
      await (await connectPair(transport(name))).close();
  });
  assert.equal(silent, []);
});

test("channel smcnet:clc: each message of a handshake, as it was sent and as it was received", async () => {
  const told = await published<{ direction: string; role: string; bytes: Uint8Array }>(smc.channels.clc, async () => {
    await (await connectPair(transport("smcd"))).close();
  });
  const steps = told.map(({ direction, role, bytes }) => `${role} ${direction} ${bytes[4]}`);
  assert.equal(steps, [
    "client sent 1",
    "server received 1",
    "server sent 2",
    "client received 2",
    "client sent 3",
    "server received 3",
  ]);
  for (const at of [0, 2, 4]) assert.equal(told[at]!.bytes, told[at + 1]!.bytes);
});

test("channel smcnet:state: both ends to Closed", async () => {
  const told = await published<{ from: string; to: string; event: string }>(smc.channels.state, async () => {
    await (await connectPair(transport("smcd"))).close();
    await allOver();
  });
  assert.is(told.filter(({ to }) => to === "Closed").length, 2);
  assert.ok(told.every(({ from, to, event }) => from !== to && event !== ""));
});

/** What a child that opens a connection to itself writes to stderr. */
async function stderrOf(env: Record<string, string>): Promise<string> {
  const child = spawn(process.execPath, [CHILD, "smcd", "closed"], {
    env: { ...process.env, ...env },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let stderr = "";
  child.stderr.on("data", (chunk: Buffer) => {
    stderr += chunk;
  });
  await happens(child, "close", "the child to go");
  return stderr;
}

test("NODE_DEBUG=smc prints each CLC message field by field; without it nothing is printed", async () => {
  const [silent, trace] = await Promise.all([stderrOf({}), stderrOf({ NODE_DEBUG: "smc" })]);
  assert.is(silent, "");
  for (const [role, message] of [
    ["client sent", "Proposal"],
    ["server received", "Proposal"],
    ["server sent", "Accept"],
    ["client received", "Accept"],
    ["client sent", "Confirm"],
    ["server received", "Confirm"],
  ])
    assert.match(trace, new RegExp(`^SMC \\d+: ${role} .*${message}`, "m"));
  for (const field of ["token", "chid", "gid"]) assert.match(trace, new RegExp(`\\b${field}\\b`, "i"), field);
});

test("no doorbell was rescued and every page came back", () => checkNothingLeft(pagesBefore));

test.run();
