/**
 * Both ends speak SMC and do not agree, so that a Decline ends the handshake: the connection goes on as TCP, with every byte
 * of the application in its place and no other, and both ends say why.
 */
import { createHash } from "node:crypto";
import type { AddressInfo, Server, Socket } from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as smc from "../../src/index.js";
import { closed, shut } from "../support/pair.js";
import { prngFor } from "../support/prng.js";
import { Verifier } from "../support/sequence.js";
import { happens, until } from "../support/watchdog.js";
import { eachChunk, journal, readAll } from "./scenario.js";
import { checkNothingLeft } from "./stage.js";

type SmcOption = Partial<smc.SmcOptions>;

/** Who wants what, and what each end says of it. `client` is what the client has of the server's Decline. */
const DISAGREEMENTS: Readonly<Record<string, { server: SmcOption; client: SmcOption; code: string }>> = {
  "no EID in common": { server: { ueids: ["OURS"] }, client: { ueids: ["THEIRS"] }, code: "NOUEID" },
  "no EID at all": { server: { ueids: ["OURS"] }, client: { ueids: [] }, code: "NOUEID" },
  "version 1 is all that the server speaks, and the client's EIDs rule it out": {
    server: { clcVersion: 1 },
    client: { ueids: ["THEIRS"] },
    code: "NOISM2SUPP",
  },
};

const PATIENCE: SmcOption = { matchTimeoutMs: 1_000, clcTimeoutMs: 2_000 };

const test = suite("declined");
let pagesBefore = 0;
test.before(() => {
  pagesBefore = smc.poolFreePages();
});

async function serve(options: SmcOption, listener: (socket: Socket) => void): Promise<[Server, number]> {
  const server = smc.createServer({ allowHalfOpen: true, smc: { ...PATIENCE, ...options } }, listener);
  server.listen(0, "127.0.0.1");
  await happens(server, "listening");
  return [server, (server.address() as AddressInfo).port];
}

const dial = (port: number, options: SmcOption, more: object = {}): Socket =>
  smc.connect({ port, host: "127.0.0.1", allowHalfOpen: true, ...more, smc: { ...PATIENCE, ...options } });

const hashOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

for (const [what, { server: theirs, client: ours, code }] of Object.entries(DISAGREEMENTS)) {
  test(`${what}: both say so, with the reason of who found it`, async () => {
    const [server, port] = await serve(theirs, (socket) => socket.end());
    const accepted = happens(server, "connection");
    const socket = dial(port, ours);
    const [peer] = (await accepted) as [Socket];
    await happens(socket, "connect");
    const [told, toldToo] = [socket.smc, peer.smc];
    assert.equal([told?.mode, told?.fallback?.name, told?.fallback?.side], ["TCP", "PEERDECL", "peer"]);
    assert.equal([toldToo?.mode, toldToo?.fallback?.name, toldToo?.fallback?.side], ["TCP", code, "local"]);
    assert.is(told?.fallback?.peerDiagnosis, toldToo?.fallback?.code, "the client knows the server's reason");
    assert.is(told?.device, undefined);
    socket.resume().end();
    peer.resume();
    await Promise.all([closed(socket), closed(peer)]);
    await shut(server);
  });

  test(`${what}: whoever speaks first, every byte arrives and none of CLC is counted`, async () => {
    const random = prngFor(`declined ${what}`);
    const bytes = random.fill(Buffer.alloc(400_000));
    for (const speaker of ["server", "client", "both", "client before it is connected"]) {
      const greets = speaker === "server" || speaker === "both";
      const [server, port] = await serve(theirs, (socket) => {
        if (greets) socket.write(bytes);
      });
      const accepted = happens(server, "connection");
      const socket = dial(port, ours);
      const asks = speaker !== "server";
      if (speaker === "client before it is connected") socket.write(bytes);
      else if (asks) socket.once("connect", () => socket.write(bytes));
      const [peer] = (await accepted) as [Socket];
      await happens(socket, "connect");
      peer.end();
      socket.end();
      const [atServer, atClient] = await Promise.all([readAll(peer), readAll(socket)]);
      const none = hashOf(Buffer.alloc(0));
      const [toServer, toClient] = [asks ? bytes.length : 0, greets ? bytes.length : 0];
      assert.equal([hashOf(atServer), hashOf(atClient)], [asks ? hashOf(bytes) : none, greets ? hashOf(bytes) : none]);
      assert.equal([peer.bytesRead, socket.bytesWritten], [toServer, toServer], speaker);
      assert.equal([socket.bytesRead, peer.bytesWritten], [toClient, toClient], speaker);
      await Promise.all([closed(socket), closed(peer)]);
      await shut(server);
    }
  });

  test(`${what}: a client that reads by onread gets its bytes there`, async () => {
    const { seed } = prngFor(`declined, onread, ${what}`);
    const [server, port] = await serve(theirs, (socket) => {
      const random = prngFor(`pieces ${what}`);
      void (async () => {
        const { Sequence } = await import("../support/sequence.js");
        const sequence = new Sequence(seed);
        for (let at = 0; at < 100_000; ) {
          const length = Math.min(random.between(1, 9_000), 100_000 - at);
          socket.write(sequence.span(at, length));
          at += length;
        }
        socket.end();
      })();
    });
    const verifier = new Verifier(seed);
    const callback = (length: number, into: Uint8Array) => {
      verifier.push(into.subarray(0, length));
      return true;
    };
    const socket = dial(port, ours, { allowHalfOpen: false, onread: { buffer: Buffer.alloc(777), callback } });
    await happens(socket, "close");
    assert.equal([verifier.received, socket.bytesRead, socket.smc?.mode], [100_000, 100_000, "TCP"]);
    await shut(server);
  });
}

test("half close, ECONNRESET and counts of connections are TCP's after a Decline", async () => {
  const { server: theirs, client: ours } = DISAGREEMENTS["no EID in common"]!;
  const [server, port] = await serve(theirs, (socket) => {
    socket.on("end", () => socket.end("after your end"));
    socket.resume();
  });
  const half = dial(port, ours);
  half.end("all");
  assert.is(String(await readAll(half)), "after your end");
  await closed(half);

  const accepted = happens(server, "connection");
  const reset = dial(port, ours);
  const [peer] = (await accepted) as [Socket];
  const seen = journal(peer);
  await happens(reset, "connect");
  reset.resetAndDestroy();
  await seen.closed();
  assert.is(seen.error?.["code"], "ECONNRESET");
  assert.is(await new Promise((resolve) => server.getConnections((_, count) => resolve(count))), 0);
  await shut(server);
});

test("who agrees is served by SMC at the same port, at the same time", async () => {
  const { server: theirs, client: ours } = DISAGREEMENTS["no EID in common"]!;
  const [server, port] = await serve(theirs, (socket) => socket.pipe(socket));
  const random = prngFor("declined, mixed");
  const all = Array.from({ length: 40 }, (_, index) => {
    const agrees = random.oneIn(2);
    const socket = dial(port, agrees ? theirs : ours);
    const bytes = random.fill(Buffer.alloc(random.between(1, 200_000)));
    let got = 0;
    const hash = createHash("sha256");
    eachChunk(socket, (chunk) => {
      got += chunk.length;
      hash.update(chunk);
    });
    socket.end(bytes);
    return happens(socket, "close", `connection ${index}`).then(() => {
      assert.equal([got, hash.digest("hex")], [bytes.length, hashOf(bytes)]);
      assert.is(socket.smc?.mode, agrees ? "SMCD" : "TCP", `connection ${index}`);
    });
  });
  await Promise.all(all);
  await until(() => smc.sockets().length === 1, "the server alone to be left");
  await shut(server);
});

test("no doorbell was rescued and every page came back", () => checkNothingLeft(pagesBefore));

test.run();
