/**
 * What stands on sockets: tls, https and http2 over SMC, as the engine's own modules make them, and beside plain clients.
 *
 * Keys are shared ones (TLS-PSK), so that no certificate can expire.
 */
import { createHash } from "node:crypto";
import http from "node:http";
import http2 from "node:http2";
import https from "node:https";
import net, { type AddressInfo, type Server, type Socket } from "node:net";
import tls from "node:tls";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as smc from "../../src/index.js";
import { closed, shut } from "../support/pair.js";
import { prngFor } from "../support/prng.js";
import { happens, within } from "../support/watchdog.js";
import { readAll } from "./scenario.js";
import { checkNothingLeft } from "./stage.js";

const psk = Buffer.alloc(32, 7);
/** PSK suites are there in TLS 1.2; without a certificate. */
const SHARED = { ciphers: "PSK-AES128-GCM-SHA256:PSK+HIGH", maxVersion: "TLSv1.2" } as const;
const SERVER = { ...SHARED, pskCallback: () => psk };
const CLIENT = { ...SHARED, pskCallback: () => ({ psk, identity: "us" }), checkServerIdentity: () => undefined };

/**
 * Requests on one connection: the next one begins with the answer's last byte, when the server may not know yet that the answer
 * has gone out; short ones are answered in few pieces, long ones fill what the server reads at once.
 */
const REQUESTS = 150;

const hashOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

const test = suite("tls and http2");
let pagesBefore = 0;
test.before(() => {
  pagesBefore = smc.poolFreePages();
});

/** The server of a module, attached and listening. `modes`: what carries each connection that comes. */
async function attached<S extends Server>(server: S): Promise<{ server: S; port: number; modes: unknown[] }> {
  const modes: unknown[] = [];
  smc.attach(server);
  server.on("connection", (socket) => modes.push(socket.smc?.mode));
  server.listen(0, "127.0.0.1");
  await happens(server, "listening");
  return { server, port: (server.address() as AddressInfo).port, modes };
}

/** Who connects, by what carries the connection then. */
const CARRIERS: Readonly<Record<string, (port: number) => Socket>> = {
  SMCD: (port) => smc.connect(port, "127.0.0.1"),
  TCP: (port) => net.connect(port, "127.0.0.1"),
};

/** A tls client over a socket that is connected. */
async function secure(under: Socket): Promise<tls.TLSSocket> {
  await happens(under, "connect");
  return tls.connect({ ...CLIENT, socket: under });
}

for (const [carrier, connect] of Object.entries(CARRIERS)) {
  test(`tls both ways, in pieces of any size, with an end from each side · ${carrier}`, async () => {
    const { server, port, modes } = await attached(tls.createServer(SERVER, (socket) => socket.pipe(socket)));
    const random = prngFor(`tls ${carrier}`);
    const bytes = random.fill(Buffer.alloc(3_000_000));
    const under = connect(port);
    const socket = await secure(under);
    await happens(socket, "secureConnect");
    const reading = readAll(socket);
    for (let at = 0; at < bytes.length; ) {
      const length = Math.min(random.between(1, 100_000), bytes.length - at);
      if (!socket.write(bytes.subarray(at, at + length))) await happens(socket, "drain");
      at += length;
    }
    socket.end();
    assert.is(hashOf(await reading), hashOf(bytes));
    await Promise.all([closed(socket), closed(under)]);
    assert.equal(modes, [carrier]);
    await shut(server);
  });

  test(`a tls client that goes away without a word is noticed · ${carrier}`, async () => {
    const { server, port } = await attached(tls.createServer(SERVER));
    const secured = happens(server, "secureConnection");
    const under = connect(port);
    const socket = await secure(under);
    const [peer] = (await secured) as [tls.TLSSocket];
    const gone = closed(peer);
    peer.resume();
    await happens(socket, "secureConnect");
    socket.destroy();
    await within(gone, "the server's end to close");
    await closed(under);
    await shut(server);
  });

  test(`bytes that are no tls fail that connection alone · ${carrier}`, async () => {
    const { server, port } = await attached(tls.createServer(SERVER, (socket) => socket.end("fine")));
    const failed = happens(server, "tlsClientError");
    const wrong = connect(port);
    wrong.on("error", () => undefined);
    wrong.resume().write("GET / HTTP/1.1\r\n\r\n");
    await failed;
    await closed(wrong);
    const right = await secure(connect(port));
    assert.is(String(await readAll(right)), "fine");
    await closed(right);
    await shut(server);
  });

  test(`https requests · ${carrier}`, async () => {
    const { server, port, modes } = await attached(
      https.createServer(SERVER, (request, response) => void request.pipe(response)),
    );
    const random = prngFor(`https ${carrier}`);
    const under = connect(port);
    const secured = await secure(under);
    const agent = Object.assign(new http.Agent({ keepAlive: true, maxSockets: 1 }), {
      createConnection: () => secured,
    });
    for (let i = 0; i < REQUESTS; i++) {
      const body = random.fill(
        Buffer.alloc(i % 2 === 0 ? random.between(15_000, 55_000) : random.between(60_000, 300_000)),
      );
      const request = http.request({ agent, method: "POST", path: "/" });
      request.end(body);
      const [response] = (await happens(request, "response")) as [http.IncomingMessage];
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      await happens(response, "end");
      assert.is(hashOf(Buffer.concat(chunks)), hashOf(body));
    }
    assert.equal(modes, [carrier]);
    agent.destroy();
    await closed(under);
    await shut(server);
  });

  test(`a server that closes all its connections does not reset those whose clients let go · ${carrier}`, async () => {
    const { server, port } = await attached(
      https.createServer(SERVER, (request, response) => void request.pipe(response)),
    );
    const errors: unknown[] = [];
    for (let i = 0; i < 10; i++) {
      const under = connect(port);
      const secured = await secure(under);
      const request = http.request({ createConnection: () => secured, method: "POST", path: "/" });
      for (const emitter of [under, secured, request])
        emitter.on("error", (error: Error) => errors.push(error.message));
      request.end(Buffer.alloc(150_000));
      const [response] = (await happens(request, "response")) as [http.IncomingMessage];
      response.resume();
      await happens(response, "end");
      (server as https.Server).closeAllConnections();
      await closed(under);
    }
    assert.equal(errors, []);
    await shut(server);
  });

  test(`http2 streams side by side on one connection · ${carrier}`, async () => {
    const { server, port, modes } = await attached(http2.createServer() as unknown as Server & http2.Http2Server);
    server.on("stream", (stream: http2.ServerHttp2Stream) => {
      stream.respond({ ":status": 200 });
      stream.pipe(stream);
    });
    const session = http2.connect("http://127.0.0.1", { createConnection: () => connect(port) });
    const random = prngFor(`http2 ${carrier}`);
    const exchange = async (body: Uint8Array): Promise<void> => {
      const stream = session.request({ ":method": "POST", ":path": "/" });
      const chunks: Buffer[] = [];
      stream.on("data", (chunk: Buffer) => chunks.push(chunk));
      stream.end(body);
      await happens(stream, "end", "the end of a stream");
      assert.is(hashOf(Buffer.concat(chunks)), hashOf(body));
    };
    const bodies = Array.from({ length: 30 }, () => random.fill(Buffer.alloc(random.between(1, 200_000))));
    await Promise.all(bodies.map(exchange));
    assert.equal(modes, [carrier]);
    const closing = happens(session, "close");
    session.close();
    await closing;
    await shut(server);
  });
}

test("no doorbell was rescued and every page came back", () => checkNothingLeft(pagesBefore));

test.run();
