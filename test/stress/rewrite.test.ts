/**
 * A thread of the process rewrites the bytes of every ring while an http server and a text reader take them in.
 *
 * Allowed outcomes for a reader: text made of what was sent and what the vandal wrote; an HTTP request with such text in its values; an
 * HTTP parse error; the end of the connection. Not allowed: a crash, a header whose name or value holds CR or LF, any other character.
 *
 * SMC_TEST_REWRITE_S sets how long it goes on, seconds; 3 by default.
 */
import { createServer as createHttpServer, type IncomingMessage } from "node:http";
import type { AddressInfo, Server, Socket } from "node:net";
import { Worker } from "node:worker_threads";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as smc from "../../src/index.js";
import { checkNothingLeft } from "../net/stage.js";
import { checkCarrier, transport } from "../support/transports.js";
import { happens, until } from "../support/watchdog.js";
import type { HonestData } from "./rewrite.worker.js";
import type { VandalData } from "./rewrite-vandal.worker.js";

const SECONDS = Number(process.env["SMC_TEST_REWRITE_S"] ?? 3);

/** Anything but a, CR, LF, what the bytes e2 82 ac make in some order, and U+FFFD for a character that is not whole. */
const IMPOSSIBLE = /[^a\r\n\u20ac\u2082\u2b02\u2b2c\ufffd]/;

/** What was taken in, and what must not have been. */
const seen = { requests: 0, forged: 0, broken: 0, text: 0, forgedText: 0, wrong: [] as string[] };

function takeRequest(request: IncomingMessage): void {
  seen.requests++;
  const { rawHeaders, url } = request;
  for (const part of [url ?? "", ...rawHeaders]) {
    if (/[\r\n]/.test(part)) seen.wrong.push(`CR or LF in ${JSON.stringify(part.slice(0, 80))}`);
    if (/[^a]/.test(part) && part.startsWith("a")) seen.forged++;
  }
}

function takeText(chunk: string): void {
  seen.text += chunk.length;
  if (chunk.includes("€")) seen.forgedText++;
  const foreign = IMPOSSIBLE.exec(chunk);
  if (foreign !== null) seen.wrong.push(`foreign character ${JSON.stringify(foreign[0])}`);
}

async function listening(server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await happens(server, "listening");
  return (server.address() as AddressInfo).port;
}

const test = suite("stress: rewrite");
let pagesBefore = 0;
test.before(() => {
  pagesBefore = smc.poolFreePages();
});

test(`readers survive ${SECONDS} s of rewriting`, async () => {
  const sockets = new Set<Socket>();
  const keep = (socket: Socket) => {
    checkCarrier(socket, transport("smcd"), "server");
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  };
  const http = createHttpServer({ maxHeaderSize: 65_536, requestTimeout: 0 }, (request, response) => {
    takeRequest(request);
    response.end("ok");
  });
  http.on("clientError", (_error, socket) => {
    seen.broken++;
    socket.destroy();
  });
  smc.attach(http, transport("smcd").smc);
  http.on("connection", keep);
  const text = smc.createServer({ smc: transport("smcd").smc }, (socket) => {
    keep(socket);
    socket.on("error", () => undefined);
    socket.setEncoding("utf8");
    socket.on("data", (chunk) => takeText(String(chunk)));
  });
  const honestData: HonestData = { http: await listening(http), text: await listening(text) };
  const honest = new Worker(new URL("../stress/rewrite.worker.mjs", import.meta.url), { workerData: honestData });
  const changed = new Int32Array(new SharedArrayBuffer(4));
  const vandalData: VandalData = { changed };
  const vandal = new Worker(new URL("../stress/rewrite-vandal.worker.mjs", import.meta.url), {
    workerData: vandalData,
  });
  try {
    const deadline = performance.now() + SECONDS * 1000;
    await until(
      () => seen.wrong.length > 0 || performance.now() > deadline,
      "the end of the attack",
      SECONDS * 2000 + 30_000,
    );
    assert.equal(seen.wrong, []);
    await until(() => seen.forged > 0 && seen.forgedText > 0 && seen.requests > 0, "a forgery that got through");
    // It counts in 32 bits and wraps in a long run.
    assert.is.not(Atomics.load(changed, 0), 0);
  } finally {
    await Promise.all([vandal.terminate(), honest.terminate()]);
    for (const socket of sockets) socket.destroy();
    http.close();
    text.close();
  }
  console.log(`  ${JSON.stringify({ ...seen, changed: Atomics.load(changed, 0) })}`);
});

test("no doorbell was rescued and every page came back", () => checkNothingLeft(pagesBefore));

test.run();
