/**
 * Connections that go the other way round: who connects hands its socket to a server of http, whoever accepts asks. The bytes
 * are right whatever carries them and whenever the server gets the socket, and its parser reads natively where it can.
 */
import { createHash } from "node:crypto";
import http from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as smc from "../../src/index.js";
import { shmMissing, testUnless } from "../support/missing.js";
import { closed, dial, listen, shut } from "../support/pair.js";
import { prngFor } from "../support/prng.js";
import { type ServeOptions, transport } from "../support/transports.js";
import { happens, within } from "../support/watchdog.js";
import { Guests } from "./guest.js";
import { checkNothingLeft } from "./stage.js";

const CALLEE = { host: "127.0.0.1", port: 0 };
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** A keep-alive agent with one connection, which is there already. */
class AgentOver extends http.Agent {
  readonly #socket: Socket;

  constructor(socket: Socket) {
    super({ keepAlive: true, maxSockets: 1 });
    this.#socket = socket;
  }

  override createConnection(): Duplex {
    return this.#socket;
  }
}

async function ask(agent: http.Agent, body: Buffer): Promise<Buffer> {
  const request = http.request({ agent, method: "POST" }).end(body);
  const [response] = (await happens(request, "response")) as [http.IncomingMessage];
  const chunks: Buffer[] = [];
  response.on("data", (chunk: Buffer) => chunks.push(chunk));
  await happens(response, "end");
  return Buffer.concat(chunks);
}

/** Resolves with the handshake open. */
function firstClcMessage(): Promise<void> {
  return new Promise((resolve) => {
    const told = () => {
      smc.channels.clc.unsubscribe(told);
      resolve();
    };
    smc.channels.clc.subscribe(told);
  });
}

/** When the server of http gets the socket. */
const MOMENTS: Readonly<Record<string, (socket: Socket) => Promise<unknown>>> = {
  "before it connects": async () => undefined,
  "in the handshake": () => within(firstClcMessage(), "the first CLC message"),
  "once it is connected": (socket) => happens(socket, "connect"),
};

interface Outcome {
  readonly carrier: "smcd" | "fallback: plain server";
  readonly server: ServeOptions;
  readonly mode: "SMCD" | "TCP";
  /** At which moments the parser of http gets the handle itself. */
  readonly natively: Readonly<Record<string, boolean>>;
}

const NEGOTIATED = { "before it connects": false, "in the handshake": false, "once it is connected": true };
const OUTCOMES: Readonly<Record<string, Outcome>> = {
  SMC: { carrier: "smcd", server: {}, mode: "SMCD", natively: NEGOTIATED },
  "TCP after a Decline": { carrier: "smcd", server: { smc: { ueids: ["OTHERS"] } }, mode: "TCP", natively: NEGOTIATED },
  "TCP, as the peer is plain": {
    ...{ carrier: "fallback: plain server", server: {}, mode: "TCP" },
    natively: { "before it connects": true, "once it is connected": true },
  },
};

const test = suite("reverse");
let pagesBefore = 0;
test.before(() => {
  pagesBefore = smc.poolFreePages();
});

for (const [name, { carrier, server: options, mode, natively }] of Object.entries(OUTCOMES))
  for (const [moment, native] of Object.entries(natively))
    test(`a socket handed to http ${moment} · ${name}`, async () => {
      const random = prngFor(`${name} ${moment}`);
      const [listener, port] = await listen(transport(carrier), options);
      const accepted = happens(listener, "connection");
      const server = http.createServer((request, response) => request.pipe(response));
      const socket = dial(transport(carrier), port, mode === "TCP" ? { smc: { ueids: ["OURS"] } } : {});
      await MOMENTS[moment]!(socket);
      server.emit("connection", socket);
      const [peer] = (await accepted) as [Socket];
      const agent = new AgentOver(peer);
      for (const size of [0, 1, 1_000, 300_000]) {
        const body = Buffer.alloc(size);
        random.fill(body);
        assert.is(sha256(await ask(agent, body)), sha256(body), `${size} bytes`);
      }
      assert.is(socket.smc?.mode, mode);
      assert.is((socket as unknown as { parser: { _consumed: boolean } }).parser._consumed, native, "read natively");
      peer.end();
      await Promise.all([closed(socket), closed(peer)]);
      await shut(listener);
    });

const between = testUnless(shmMissing(), test);
const QUESTION = "POST / HTTP/1.1\r\nHost: them\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";
const ANSWER = /^HTTP\/1\.1 200 OK\r\n.*\r\nhello\r\n0\r\n\r\n$/s;

for (const [name, stops, carriers] of [
  ["SMC", false, ["shm", "shm"]],
  ["TCP, as the peer stands still", true, ["TCP", "TCP"]],
] as const)
  between(`a socket handed to http while its process first meets the peer's · ${name}`, async () => {
    const guests = new Guests();
    try {
      const [asks, serves] = [guests.add("who asks"), guests.add("who serves")];
      const port = await asks.ask("listen", "smcnet", CALLEE, QUESTION);
      await serves.ask("leftovers");
      if (stops) process.kill(asks.pid, "SIGSTOP");
      const served = serves.ask("callAndServe", "smcnet", { ...CALLEE, port }, stops ? asks.pid : undefined);
      const [[call], carrier] = await Promise.all([asks.ask("taken", 1), served]);
      assert.match(call!.heard, ANSWER);
      assert.equal([call!.carrier, carrier], carriers);
    } finally {
      await guests.send();
    }
  });

test("no doorbell was rescued and every page came back", () => checkNothingLeft(pagesBefore));

test.run();
