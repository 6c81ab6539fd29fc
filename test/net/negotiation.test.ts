/**
 * Cancelling while both sides still find out whether they speak SMC: in every way, from either side, at every moment.
 *
 * The peer's event loop is stopped where a negotiation must stay open.
 */
import type { Socket } from "node:net";
import { Worker } from "node:worker_threads";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as smc from "../../src/index.js";
import { connectPair, dial, listen } from "../support/pair.js";
import { prngFor } from "../support/prng.js";
import { transport } from "../support/transports.js";
import { happens, until, within } from "../support/watchdog.js";
import type { GateReport, GateRequest } from "./gate.worker.js";
import { journal } from "./scenario.js";
import { checkNothingLeft } from "./stage.js";

const smcd = transport("smcd");
/** Long enough for a negotiation to stay open while a test looks at it. */
const PATIENT = { smc: { matchTimeoutMs: 1_000 } };

/** The thread of gate.worker.ts. */
class Gate {
  readonly #gate = new Int32Array(new SharedArrayBuffer(4));
  readonly #worker = new Worker(new URL("../net/gate.worker.mjs", import.meta.url), {
    workerData: { gate: this.#gate },
  });
  readonly reports: GateReport[] = [];
  port = 0;

  async open(): Promise<void> {
    this.#worker.on("message", (report: GateReport) => this.reports.push(report));
    this.port = (await this.next("listening")).port;
  }

  /** The next report of a kind; reports are taken in the order of each kind. */
  async next<K extends GateReport["kind"]>(kind: K): Promise<Extract<GateReport, { kind: K }>> {
    await until(() => this.reports.some((report) => report.kind === kind), `the report "${kind}"`);
    const at = this.reports.findIndex((report) => report.kind === kind);
    return this.reports.splice(at, 1)[0] as Extract<GateReport, { kind: K }>;
  }

  /** Stops the other loop; it stands still when this resolves. */
  async stop(request: GateRequest = { kind: "stop" }): Promise<void> {
    Atomics.store(this.#gate, 0, 1);
    this.#worker.postMessage(request);
    await this.next("stopping");
  }

  go(): void {
    Atomics.store(this.#gate, 0, 0);
    Atomics.notify(this.#gate, 0);
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }
}

/** A message is written at once: a server gets all of it or none. */
const WHOLE_OR_NOTHING = /^(message \d+;)?$/;

/** Resolves after a while in which a connect has got as far as it can with a stopped peer. */
const aWhile = () => new Promise((resolve) => setTimeout(resolve, 15));

async function echoes(port: number): Promise<string | undefined> {
  const socket = dial(smcd, port);
  await happens(socket, "connect");
  socket.write("are you well?");
  const [echo] = (await happens(socket, "data")) as [Buffer];
  assert.is(String(echo), "are you well?");
  const mode = socket.smc?.mode;
  socket.end();
  await happens(socket, "close");
  return mode;
}

const test = suite("negotiation");
let gate: Gate;
let pagesBefore = 0;
test.before(async () => {
  pagesBefore = smc.poolFreePages();
  gate = new Gate();
  await gate.open();
});

test.before.each(() => gate.go());

const controllers = new WeakMap<Socket, AbortController>();
const WAYS: Record<string, { cancel: (socket: Socket) => void; code?: string; events: string[] }> = {
  destroy: { cancel: (socket) => socket.destroy(), events: ["close(false)"] },
  "destroy with an error": {
    cancel: (socket) => socket.destroy(Object.assign(new Error("enough"), { code: "ENOUGH" })),
    code: "ENOUGH",
    events: ["error", "close(true)"],
  },
  "an AbortSignal": {
    cancel: (socket) => controllers.get(socket)!.abort(),
    code: "ABORT_ERR",
    events: ["error", "close(true)"],
  },
  "the timeout event": {
    cancel: (socket) => socket.setTimeout(5, () => socket.destroy()),
    events: ["timeout", "close(false)"],
  },
};

const CANCELS = [WAYS["destroy"]!.cancel, WAYS["an AbortSignal"]!.cancel, (socket: Socket) => socket.resetAndDestroy()];

for (const [name, way] of Object.entries(WAYS)) {
  test(`${name} during the negotiation ends it without a connect event`, async () => {
    await gate.stop();
    const controller = new AbortController();
    const socket = dial(smcd, gate.port, { ...PATIENT, signal: controller.signal });
    controllers.set(socket, controller);
    const seen = journal(socket);
    socket.write("never to be seen");
    await aWhile();
    assert.ok(socket.connecting, "the negotiation is open");
    way.cancel(socket);
    await seen.closed();
    gate.go();
    assert.equal([seen.events, seen.error?.["code"]], [way.events, way.code]);
    assert.is(await echoes(gate.port), "SMCD");
    await until(
      () => gate.reports.some((report) => report.kind === "connection over" && report.got !== ""),
      "the echo's end",
    );
    for (const report of gate.reports.splice(0))
      if (report.kind === "connection over") assert.ok(["", "are you well?"].includes(report.got), report.got);
  });
}

test("resetAndDestroy during the negotiation waits for the connect event, as in net, and resets then", async () => {
  await gate.stop();
  const socket = dial(smcd, gate.port, PATIENT);
  const seen = journal(socket);
  await aWhile();
  assert.ok(socket.connecting, "the negotiation is open");
  socket.resetAndDestroy();
  gate.go();
  await seen.closed();
  assert.equal(seen.events, ["connect", "ready", "close(false)"]);
  const { code } = await gate.next("connection over");
  assert.is(code, "ECONNRESET");
});

test("end and writes during the negotiation reach the server once it goes on", async () => {
  await gate.stop();
  const socket = dial(smcd, gate.port, PATIENT);
  const seen = journal(socket);
  await aWhile();
  assert.ok(socket.connecting);
  socket.write("early ");
  socket.end("and last");
  let got = "";
  socket.on("data", (chunk: Buffer) => {
    got += String(chunk);
  });
  gate.go();
  await seen.closed();
  assert.is(got, "early and last");
  assert.equal(seen.events.sort(), ["close(false)", "connect", "end", "finish", "ready"]);
  assert.is((await gate.next("connection over")).got, "early and last");
});

test("a connect does not wait for a stopped server: it goes on as TCP with every byte", async () => {
  await gate.stop();
  const socket = dial(smcd, gate.port);
  const seen = journal(socket);
  socket.write("from a patient client");
  await happens(socket, "connect");
  assert.is(socket.smc?.mode, "TCP");
  gate.go();
  const [echo] = (await happens(socket, "data")) as [Buffer];
  assert.is(String(echo), "from a patient client");
  socket.end();
  await seen.closed();
  assert.is((await gate.next("connection over")).got, "from a patient client");
});

test("server.close while a connection negotiates drops it and closes", async () => {
  const [server, port] = await listen(smcd);
  let connections = 0;
  server.on("connection", () => connections++);
  await gate.stop({ kind: "dial", port });
  await aWhile();
  const closing = happens(server, "close");
  server.close();
  await closing;
  gate.go();
  const over = await gate.next("dial over");
  assert.ok(over.events.at(-1)!.startsWith("close"), over.events.join(" "));
  assert.ok([undefined, "ECONNRESET", "ECONNREFUSED"].includes(over.code as undefined), String(over.code));
  assert.ok(connections <= 1);
});

test("connects that are cancelled at any turn leave nothing behind", async () => {
  const random = prngFor("cancelled at any turn");
  const [server, port] = await listen(smcd);
  const wrong: string[] = [];
  let open = 0;
  server.on("connection", (socket: Socket) => {
    let got = "";
    open++;
    socket.on("data", (chunk: Buffer) => {
      got += chunk.toString("latin1");
    });
    socket.on("error", () => undefined);
    socket.on("close", () => {
      open--;
      if (!WHOLE_OR_NOTHING.test(got)) wrong.push(got);
    });
  });
  for (const target of [port, gate.port]) {
    const stories = Array.from({ length: 300 }, async (_, index) => {
      for (let turn = random.below(60); turn > 0; turn--) await new Promise((resolve) => setImmediate(resolve));
      const controller = new AbortController();
      const socket = dial(smcd, target, { signal: controller.signal });
      controllers.set(socket, controller);
      const seen = journal(socket);
      socket.write(`message ${index};`);
      const cancel = random.pick(CANCELS);
      for (let turn = random.below(40); turn > 0; turn--) await new Promise((resolve) => setImmediate(resolve));
      cancel(socket);
      await seen.closed();
    });
    await Promise.all(stories);
  }
  await until(() => open === 0, "the server's sockets to close");
  assert.equal(wrong, []);
  const got = gate.reports.splice(0).flatMap((report) => (report.kind === "connection over" ? [report.got] : []));
  for (const bytes of got) assert.match(bytes, WHOLE_OR_NOTHING);
  assert.is(await echoes(gate.port), "SMCD");
  const closing = happens(server, "close");
  server.close();
  await closing;
});

test("names and both address families lead to SMC", async () => {
  const server = smcd.server.createServer({});
  server.on("connection", (socket: Socket) => socket.pipe(socket));
  server.listen(0, "::");
  await happens(server, "listening");
  const port = (server.address() as { port: number }).port;
  for (const host of ["127.0.0.1", "::1", "localhost"]) {
    const socket = dial(smcd, port, { host });
    await happens(socket, "connect");
    assert.equal([host, socket.smc?.mode], [host, "SMCD"]);
    socket.end("echo");
    const [echo] = (await happens(socket, "data")) as [Buffer];
    assert.is(String(echo), "echo");
    await within(journal(socket).closed(), host);
  }
  const closing = happens(server, "close");
  server.close();
  await closing;
});

test("a pair that is destroyed on both sides at once is closed on both", async () => {
  for (let i = 0; i < 20; i++) await (await connectPair(smcd)).close();
});

test("no doorbell was rescued and every page came back", async () => {
  await gate.close();
  await checkNothingLeft(pagesBefore);
});

test.run();
