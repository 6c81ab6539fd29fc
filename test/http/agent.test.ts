/**
 * `smcnet/http` as a program uses it: an agent and attach, over SMC and against servers that know nothing of it.
 */
import http from "node:http";
import net, { type AddressInfo, type Server, type Socket } from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Agent, attach } from "../../src/http/index.js";
import * as smc from "../../src/index.js";
import { checkNothingLeft } from "../net/stage.js";
import { prngFor } from "../support/prng.js";
import { Sequence, Verifier } from "../support/sequence.js";
import { happens, until, within } from "../support/watchdog.js";

const PATIENCE = { claimWaitMs: 100, matchTimeoutMs: 1_000, clcTimeoutMs: 2_000 };
const HOST = "127.0.0.1";
const SEED = 0x4711;

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly socket: Socket;
}

function ask(agent: http.Agent, port: number, path: string): Promise<Answer> {
  const answer = new Promise<Answer>((resolve, reject) => {
    const request = http.get({ agent, port, path, host: HOST }, (response) => {
      const { socket } = response;
      let body = "";
      response.on("data", (chunk: Buffer) => {
        body += chunk.toString("latin1");
      });
      response.on("error", reject);
      response.on("end", () => resolve({ status: response.statusCode!, body, socket }));
    });
    request.on("error", reject);
  });
  return within(answer, `the answer to ${path}`);
}

async function listening(server: Server): Promise<number> {
  server.listen(0, HOST);
  await happens(server, "listening");
  return (server.address() as AddressInfo).port;
}

async function shut(server: http.Server): Promise<void> {
  const closing = happens(server, "close");
  server.close();
  server.closeAllConnections();
  await closing;
}

/** The path, and what carries the server's side. */
const echoPath: http.RequestListener = (request, response) =>
  response.end(`${request.socket.smc?.mode} ${request.url}`);

const test = suite("smcnet/http");
let pagesBefore = 0;
test.before(() => {
  pagesBefore = smc.poolFreePages();
});

test("a keep-alive agent reaches an attached server over SMC and uses its socket again", async () => {
  const server = attach(http.createServer(echoPath), PATIENCE);
  const port = await listening(server);
  const agent = new Agent({ keepAlive: true, maxSockets: 1, smc: PATIENCE });
  const sockets = new Set<Socket>();
  for (let i = 0; i < 20; i++) {
    const { status, body, socket } = await ask(agent, port, `/${i}`);
    assert.equal([status, body, socket.smc?.mode], [200, `SMCD /${i}`, "SMCD"]);
    sockets.add(socket);
  }
  assert.is(sockets.size, 1);
  agent.destroy();
  await shut(server);
});

test("the agent's `smc` holds for its connections: switched off, they are TCP", async () => {
  const server = attach(http.createServer(echoPath), PATIENCE);
  const port = await listening(server);
  const agent = new Agent({ smc: { enabled: false } });
  const { body, socket } = await ask(agent, port, "/off");
  assert.equal([body, socket.smc?.mode], ["TCP /off", "TCP"]);
  agent.destroy();
  await shut(server);
});

test("a server that nobody attached answers over TCP, with the reason at hand", async () => {
  const server = http.createServer((request, response) => response.end(request.url));
  const port = await listening(server);
  const agent = new Agent({ keepAlive: true, smc: PATIENCE });
  const { body, socket } = await ask(agent, port, "/plain");
  assert.equal([body, socket.smc?.mode, socket.smc?.fallback?.name], ["/plain", "TCP", "PEERNOSMC"]);
  agent.destroy();
  await shut(server);
});

test("requests sent without waiting for answers are answered in their order", async () => {
  const server = attach(http.createServer(echoPath), PATIENCE);
  const port = await listening(server);
  const socket = new Agent({ smc: PATIENCE }).createConnection({ port, host: HOST });
  let heard = "";
  socket.on("data", (chunk: Buffer) => {
    heard += chunk.toString("latin1");
  });
  const paths = Array.from({ length: 32 }, (_, i) => `/${i}`);
  socket.write(paths.map((path) => `GET ${path} HTTP/1.1\r\nhost: ${HOST}\r\n\r\n`).join(""));
  await until(() => heard.split("HTTP/1.1 200").length > paths.length, "every answer");
  await until(() => heard.includes("SMCD /31"), "the last body");
  assert.equal(
    [...heard.matchAll(/SMCD (\/\d+)/g)].map((match) => match[1]!),
    paths,
  );
  const closing = happens(socket, "close");
  socket.destroy();
  await closing;
  await shut(server);
});

test("requests aborted in the middle of their bodies leave the others alone", async () => {
  const sequence = new Sequence(SEED);
  const random = prngFor("aborted bodies");
  const server = attach(
    http.createServer((_request, response) => {
      let sent = 0;
      const more = (): void => {
        while (sent < 300_000 && response.write(sequence.span(sent, 10_000))) sent += 10_000;
        if (sent >= 300_000) response.end();
        else sent += 10_000;
      };
      response.on("drain", more);
      more();
    }),
    PATIENCE,
  );
  const port = await listening(server);
  const agent = new Agent({ keepAlive: true, maxSockets: 8, smc: PATIENCE });
  let whole = 0;
  const run = (index: number): Promise<void> =>
    new Promise((resolve, reject) => {
      const request = http.get({ agent, port, path: `/${index}`, host: HOST });
      const verifier = new Verifier(SEED);
      const aborts = random.oneIn(2) ? random.below(290_000) : Number.POSITIVE_INFINITY;
      request.on("close", resolve);
      request.on("error", (error: NodeJS.ErrnoException) => {
        if (error.code !== "ECONNRESET") reject(error);
      });
      request.on("response", (response) => {
        response.on("error", () => undefined);
        response.on("data", (chunk: Buffer) => {
          try {
            verifier.push(chunk);
          } catch (cause) {
            reject(cause);
          }
          if (verifier.received > aborts) request.destroy();
        });
        response.on("end", () => {
          // What is left of an aborted answer is drained.
          if (request.destroyed && verifier.received > aborts) return;
          whole++;
          if (verifier.received !== 300_000) reject(new Error(`${verifier.received} bytes of 300000`));
        });
      });
    });
  await within(Promise.all(Array.from({ length: 80 }, (_, i) => run(i))), "all requests to be over");
  assert.ok(whole > 10 && whole < 80, `${whole} of 80 were not aborted`);
  agent.destroy();
  await shut(server);
});

test("agent.destroy closes idle sockets at both ends", async () => {
  const server = attach(http.createServer(echoPath), PATIENCE);
  const ends: Promise<unknown>[] = [];
  server.on("connection", (socket) => ends.push(happens(socket, "close", "the server's socket to close")));
  const port = await listening(server);
  const agent = new Agent({ keepAlive: true, smc: PATIENCE });
  const { socket } = await ask(agent, port, "/");
  ends.push(happens(socket, "close", "the client's socket to close"));
  await until(() => Object.keys(agent.freeSockets).length === 1, "the socket to be free");
  agent.destroy();
  await Promise.all(ends);
  assert.equal([ends.length, socket.destroyed], [2, true]);
  await shut(server);
});

test("a request to a unix socket and one to a port where nobody listens fail or go as with any agent", async () => {
  const probe = net.createServer();
  const port = await listening(probe);
  const closed = happens(probe, "close");
  probe.close();
  await closed;
  const agent = new Agent({ smc: PATIENCE });
  const refused = await ask(agent, port, "/").catch((error: NodeJS.ErrnoException) => error.code);
  assert.is(refused, "ECONNREFUSED");
  const request = http.get({ agent, socketPath: "/nonexistent/socket" });
  const [error] = (await happens(request, "close").catch((cause) => [cause])) as [NodeJS.ErrnoException];
  assert.is(error.code, "ENOENT");
});

test("no doorbell was rescued and every page came back", () => checkNothingLeft(pagesBefore));

test.run();
