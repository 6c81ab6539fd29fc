/**
 * Peers that know nothing of SMC: whatever they send reaches the application as it was sent, and they see no byte that is not its own.
 *
 * One body for both directions: a node:net client at an smcnet server, an smcnet client at a node:net server, and SMC itself.
 */
import type { AddressInfo, Socket } from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as smc from "../../src/index.js";
import { closed, connectPair, dial, listen, shut } from "../support/pair.js";
import { TRANSPORTS, transport } from "../support/transports.js";
import { happens, within } from "../support/watchdog.js";
import { journal, readAll } from "./scenario.js";
import { checkNothingLeft } from "./stage.js";

/** Both eyecatchers (SMC-R and SMC-D, EBCDIC) and a whole SMC-D Proposal of v1, 52 bytes. Source: RFC 7609 Appendix A; smc-protocol §2. */
const EYECATCHER_R = Buffer.from("e2d4c3d9", "hex");
const EYECATCHER_D = Buffer.from("e2d4c3c4", "hex");
const PROPOSAL = Buffer.concat([Buffer.from("e2d4c3d9010034101234", "hex"), Buffer.alloc(38, 7), EYECATCHER_R]);

/** Byte strings that a server must not take for a handshake of its own. */
const LOOKALIKES: Record<string, Buffer> = {
  "one byte of the eyecatcher": EYECATCHER_R.subarray(0, 1),
  "three bytes of the eyecatcher": EYECATCHER_R.subarray(0, 3),
  "the SMC-R eyecatcher": EYECATCHER_R,
  "the SMC-D eyecatcher": EYECATCHER_D,
  "a whole Proposal": PROPOSAL,
  "a Decline": Buffer.concat([Buffer.from("e2d4c3d904001c10", "hex"), Buffer.alloc(16), EYECATCHER_R]),
  "the eyecatcher and a length beyond all": Buffer.from("e2d4c3d901ffff10", "hex"),
  "text that only begins like one": Buffer.concat([EYECATCHER_R.subarray(0, 2), Buffer.from("ORE TEXT")]),
};

const test = suite("foreign peers");
let pagesBefore = 0;
test.before(() => {
  pagesBefore = smc.poolFreePages();
});

/** Sends `bytes` from one socket to the other, each byte alone: the next one only when the last one has arrived. */
async function byteByByte(from: Socket, to: Socket, bytes: Buffer): Promise<void> {
  for (const byte of bytes) {
    from.write(Buffer.of(byte));
    const [chunk] = (await happens(to, "data")) as [Buffer];
    assert.equal([...chunk], [byte]);
  }
}

for (const carrier of TRANSPORTS) {
  test(`the server speaks first · ${carrier.name}`, async () => {
    const [server, port] = await listen(carrier);
    server.on("connection", (socket: Socket) => socket.end("220 ready"));
    const socket = dial(carrier, port);
    assert.is(String(await readAll(socket)), "220 ready");
    await closed(socket);
    await shut(server);
  });

  test(`the client speaks first, before it is connected · ${carrier.name}`, async () => {
    const [server, port] = await listen(carrier);
    const accepted = happens(server, "connection");
    const socket = dial(carrier, port);
    socket.resume().end("HELO");
    const [peer] = (await accepted) as [Socket];
    assert.is(String(await readAll(peer)), "HELO");
    await closed(socket);
    await shut(server);
  });

  test(`both speak at once and then wait for each other · ${carrier.name}`, async () => {
    const [server, port] = await listen(carrier);
    server.on("connection", (socket: Socket) => socket.write("S"));
    const accepted = happens(server, "connection");
    const socket = dial(carrier, port);
    socket.write("C");
    const [peer] = (await accepted) as [Socket];
    const [[atServer], [atClient]] = await Promise.all([happens(peer, "data"), happens(socket, "data")]);
    assert.equal([String(atServer), String(atClient)], ["C", "S"]);
    socket.end();
    await Promise.all([closed(socket), closed(peer)]);
    await shut(server);
  });

  test(`a client that only listens is served at once and may leave in silence · ${carrier.name}`, async () => {
    const { accepted, client, close } = await connectPair(carrier);
    const seen = journal(accepted);
    client.destroy();
    accepted.resume();
    await seen.closed();
    assert.equal([seen.events, accepted.bytesRead], [["end", "finish", "close(false)"], 0]);
    await close();
  });

  for (const [name, bytes] of Object.entries(LOOKALIKES)) {
    test(`${name} as the first bytes of either side · ${carrier.name}`, async () => {
      const [server, port] = await listen(carrier);
      server.on("connection", (socket: Socket) => socket.write(bytes));
      const accepted = happens(server, "connection");
      const socket = dial(carrier, port);
      socket.end(bytes);
      const [peer] = (await accepted) as [Socket];
      const [atServer, atClient] = await Promise.all([readAll(peer), readAll(socket)]);
      assert.equal(
        [atServer.toString("hex"), atClient.toString("hex")],
        [bytes.toString("hex"), bytes.toString("hex")],
      );
      await Promise.all([closed(socket), closed(peer)]);
      assert.equal([peer.bytesRead, socket.bytesRead], [bytes.length, bytes.length]);
      await shut(server);
    });
  }

  test(`a Proposal as data, one byte at a time in both directions · ${carrier.name}`, async () => {
    const options = { noDelay: true };
    const { accepted, client, close } = await connectPair(carrier, { server: options, client: options });
    await byteByByte(client, accepted, PROPOSAL);
    await byteByByte(accepted, client, PROPOSAL);
    assert.equal([accepted.bytesRead, client.bytesRead], [PROPOSAL.length, PROPOSAL.length]);
    await close();
  });
}

test("smc: { enabled: false } on either side is plain TCP for both", async () => {
  const off = { smc: { enabled: false } };
  for (const options of [{ server: off }, { client: off }]) {
    const server = smc.createServer({ ...options.server });
    server.on("connection", (socket: Socket) => socket.pipe(socket));
    server.listen(0, "127.0.0.1");
    await happens(server, "listening");
    const socket = smc.connect({ host: "127.0.0.1", port: (server.address() as AddressInfo).port, ...options.client });
    socket.end(EYECATCHER_R);
    assert.equal((await readAll(socket)).toString("hex"), "e2d4c3d9");
    assert.is(socket.smc?.mode, "TCP");
    await closed(socket);
    await shut(server);
  }
});

test("negotiateAlways on the server gives a plain client's first bytes to the application", async () => {
  const [server, port] = await listen(transport("smcd"), { smc: { negotiateAlways: true } });
  server.on("connection", (socket: Socket) => socket.pipe(socket));
  for (const first of ["H", "HELO\r\n", "x".repeat(300_000)]) {
    const socket = dial(transport("net"), port);
    socket.end(first);
    assert.ok(String(await readAll(socket)) === first, `the echo of ${first.length} bytes`);
    await closed(socket);
  }
  const ours = dial(transport("smcd"), port, { smc: { negotiateAlways: true } });
  ours.end("and SMC");
  assert.is(String(await readAll(ours)), "and SMC");
  assert.is(ours.smc?.mode, "SMCD");
  await closed(ours);
  await shut(server);
});

test("a plain server that takes over the port of an smcnet server is met as TCP, and the reverse as SMC", async () => {
  const [smcd, plain] = [transport("smcd"), transport("net")];
  const [first, port] = await listen(smcd);
  await shut(first);
  for (const carrier of [plain, smcd, plain]) {
    const server = carrier.server.createServer({ smc: carrier.smc });
    server.listen(port, "127.0.0.1");
    await happens(server, "listening");
    server.on("connection", (socket: Socket) => socket.pipe(socket));
    const socket = dial(smcd, port);
    socket.end("first bytes");
    assert.is(String(await readAll(socket)), "first bytes");
    assert.is(socket.smc?.mode, carrier === smcd ? "SMCD" : "TCP");
    await closed(socket);
    await shut(server);
  }
});

test("a plain server on another loopback address with the same port is not taken for the smcnet one", async () => {
  const [ours, port] = await listen(transport("smcd"));
  const server = transport("net").server.createServer({});
  server.listen(port, "127.0.0.2");
  await happens(server, "listening");
  const accepted = happens(server, "connection");
  const socket = dial(transport("smcd"), port, { host: "127.0.0.2" });
  socket.resume().end("for you");
  const [peer] = (await accepted) as [Socket];
  assert.is(String(await readAll(peer)), "for you");
  assert.is(socket.smc?.mode, "TCP");
  await within(closed(socket), "close");
  await Promise.all([shut(server), shut(ours)]);
});

test("no doorbell was rescued and every page came back", () => checkNothingLeft(pagesBefore));

test.run();
