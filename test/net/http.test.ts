/**
 * node:http over SMC: a stock server attached by smc.attach, keep-alive clients over SMC and plain ones mixed on one port.
 */
import { createHash } from "node:crypto";
import http from "node:http";
import type { AddressInfo, Server, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as smc from "../../src/index.js";
import { shut } from "../support/pair.js";
import { prngFor } from "../support/prng.js";
import { happens, within } from "../support/watchdog.js";
import { checkNothingLeft } from "./stage.js";

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

interface Answer {
  readonly mode: string;
  readonly status: number;
  readonly body: Buffer;
  /** The client's socket, to count how often one is used again. */
  readonly socket: Socket;
}

function ask(agent: http.Agent, port: number, path: string, body: Buffer): Promise<Answer> {
  const answer = new Promise<Answer>((resolve, reject) => {
    const request = http.request({ agent, port, path, host: "127.0.0.1", method: "POST" }, (response) => {
      const { socket } = response;
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => {
        const { statusCode, headers } = response;
        resolve({ mode: String(headers["x-mode"]), status: statusCode!, body: Buffer.concat(chunks), socket });
      });
    });
    request.on("error", reject);
    request.end(body);
  });
  return within(answer, `the answer to ${path}`);
}

/** A keep-alive agent whose connections are made by smcnet. */
class SmcAgent extends http.Agent {
  override createConnection(options: object): Duplex {
    return smc.connect(options as { port: number });
  }
}

/** Answers with the body it was sent, twice, chunked; the header says what carries the server's socket. */
function handler(request: http.IncomingMessage, response: http.ServerResponse): void {
  response.setHeader("x-mode", request.socket.smc?.mode ?? "none");
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    for (const chunk of chunks) response.write(chunk);
    response.end(Buffer.concat(chunks));
  });
}

const test = suite("http");
let pagesBefore = 0;
test.before(() => {
  pagesBefore = smc.poolFreePages();
});

async function listening(server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await happens(server, "listening");
  return (server.address() as AddressInfo).port;
}

test("keep-alive clients over SMC and plain ones share an attached http server", async () => {
  const server = http.createServer(handler);
  smc.attach(server);
  const port = await listening(server);
  const options = { keepAlive: true, maxSockets: 4 };
  const agents = { SMCD: new SmcAgent(options), TCP: new http.Agent(options) };
  const random = prngFor("http bodies");
  const sockets = { SMCD: new Set<Socket>(), TCP: new Set<Socket>() };
  const all = (["SMCD", "TCP"] as const).flatMap((mode) =>
    Array.from({ length: 40 }, async (_, index) => {
      const body = Buffer.alloc(
        index === 0 ? 0 : random.oneIn(3) ? random.between(1, 400_000) : random.between(1, 2_000),
      );
      random.fill(body);
      const answer = await ask(agents[mode], port, `/${mode}/${index}`, body);
      assert.equal([answer.mode, answer.status], [mode, 200]);
      assert.is(sha256(answer.body), sha256(Buffer.concat([body, body])));
      sockets[mode].add(answer.socket);
    }),
  );
  await Promise.all(all);
  assert.equal([sockets.SMCD.size, sockets.TCP.size], [4, 4]);
  for (const agent of Object.values(agents)) agent.destroy();
  await shut(server);
});

test("Connection: close, HEAD and an upgrade work over SMC", async () => {
  const server = http.createServer(handler);
  server.on("upgrade", (_request, socket: Socket) => {
    socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    socket.pipe(socket);
  });
  smc.attach(server);
  const port = await listening(server);
  const agent = new SmcAgent();
  const answer = await ask(agent, port, "/once", Buffer.from("once"));
  assert.equal([answer.mode, String(answer.body)], ["SMCD", "onceonce"]);
  const head = http.request({ agent, port, host: "127.0.0.1", method: "HEAD" }).end();
  const [response] = (await happens(head, "response")) as [http.IncomingMessage];
  response.resume();
  assert.is(response.headers["x-mode"], "SMCD");
  const upgrade = http
    .request({ agent, port, host: "127.0.0.1", headers: { connection: "upgrade", upgrade: "echo" } })
    .end();
  const [, socket] = (await happens(upgrade, "upgrade")) as [unknown, Socket];
  socket.write("raw bytes");
  const [echo] = (await happens(socket, "data")) as [Buffer];
  assert.is(String(echo), "raw bytes");
  const closing = happens(socket, "close");
  socket.end();
  await closing;
  agent.destroy();
  await shut(server);
});

test("no doorbell was rescued and every page came back", () => checkNothingLeft(pagesBefore));

test.run();
