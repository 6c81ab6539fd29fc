/**
 * Who speaks SMC is found out beside the connections: not one CLC byte may reach an application, and every connection must work, while
 * the server's loop stands still, half the clients are plain, and somebody foreign accepts on the same port.
 *
 * SMC_TEST_RENDEZVOUS sets the number of connections; 4,000 by default, 100,000 in the full run.
 */
import { type ChildProcess, fork } from "node:child_process";
import type { AddressInfo, Server, Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as smc from "../../src/index.js";
import { happens, until, within } from "../support/watchdog.js";
import type { ForeignReport } from "./rendezvous.child.js";
import { CARRIED, carrierOf, type DriveResult, type DriveTask, drive, type Fault, serve } from "./rendezvous.js";
import { checkNothingLeft } from "./stage.js";

const TOTAL = Number(process.env["SMC_TEST_RENDEZVOUS"] ?? 4_000);
/** A whole drive has no time limit of its own: each of its conversations has one. */
const UNLIMITED_MS = 2 ** 31 - 1;

interface Run {
  readonly name: string;
  /** Part of all connections. */
  readonly share: number;
  /** How long the server's loop stands still, with as long a time to run in between; milliseconds. */
  readonly blockMs: number;
  readonly clients: "in a Worker" | "in the server's thread";
  readonly foreign: boolean;
}

const RUNS: readonly Run[] = [
  { name: "free loop", share: 0.35, blockMs: 0, clients: "in a Worker", foreign: false },
  { name: "free loop of both sides", share: 0.15, blockMs: 0, clients: "in the server's thread", foreign: false },
  { name: "loop blocked 5 ms", share: 0.2, blockMs: 5, clients: "in a Worker", foreign: false },
  { name: "loop blocked 100 ms", share: 0.1, blockMs: 100, clients: "in a Worker", foreign: false },
  { name: "foreign acceptor, free loop", share: 0.1, blockMs: 0, clients: "in a Worker", foreign: true },
  { name: "foreign acceptor, loop blocked 5 ms", share: 0.05, blockMs: 5, clients: "in a Worker", foreign: true },
  { name: "foreign acceptor, loop blocked 100 ms", share: 0.05, blockMs: 100, clients: "in a Worker", foreign: true },
];

/** Stands still for `blockMs` out of every 2 * `blockMs`. Returns: the end of it. */
function blockLoop(blockMs: number): () => void {
  if (blockMs === 0) return () => undefined;
  const timer = setInterval(() => {
    for (const start = performance.now(); performance.now() - start < blockMs; );
  }, 2 * blockMs);
  return () => clearInterval(timer);
}

/** Both listeners, and what this side learned from its connections. */
class Listeners {
  readonly #servers: Server[] = [];
  /** CARRIED by the index the client told. */
  readonly carried = new Map<number, number>();
  readonly faults: Fault[] = [];
  open = 0;

  async start(): Promise<readonly [number, number]> {
    for (const speaksFirst of [false, true]) {
      const server = smc.createServer((socket) => this.#serve(socket, speaksFirst));
      server.listen({ port: 0, host: "127.0.0.1", backlog: 511 });
      await happens(server, "listening");
      this.#servers.push(server);
    }
    const [first, second] = this.#servers.map((server) => (server.address() as AddressInfo).port);
    return [first!, second!];
  }

  #serve(socket: Socket, speaksFirst: boolean): void {
    this.open++;
    socket.on("close", () => this.open--);
    serve(socket, speaksFirst).then(
      (index) => this.carried.set(index, carrierOf(socket)),
      (cause: Error) => this.faults.push(`server: ${cause.message}`),
    );
  }

  /** Lets a child process accept on the same listening sockets with node:net. */
  async share(child: ChildProcess): Promise<void> {
    const words = ["client first", "server first"];
    for (const [i, server] of this.#servers.entries()) {
      child.send(words[i]!, server);
      await happens(child, "message", `the foreign acceptor to take over "${words[i]}"`);
    }
  }

  async close(): Promise<void> {
    await Promise.all(
      this.#servers.map((server) => {
        const closing = happens(server, "close");
        server.close();
        return closing;
      }),
    );
  }
}

async function driveIn(place: Run["clients"], task: DriveTask): Promise<DriveResult> {
  if (place === "in the server's thread") return drive(task);
  const worker = new Worker(new URL("../net/rendezvous.worker.mjs", import.meta.url));
  const done = new Promise<DriveResult>((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
  worker.postMessage(task);
  const result = await within(done, "the clients", UNLIMITED_MS);
  await worker.terminate();
  return result;
}

async function reportOf(child: ChildProcess): Promise<ForeignReport> {
  child.send("report");
  const [report] = (await happens(child, "message", "the foreign acceptor's report")) as [ForeignReport];
  const gone = happens(child, "exit");
  child.disconnect();
  await gone;
  return report;
}

const test = suite("rendezvous");
let pagesBefore = 0;
test.before(() => {
  pagesBefore = smc.poolFreePages();
});

let first = 0;
for (const run of RUNS) {
  const count = Math.max(8, Math.round(TOTAL * run.share));
  const task = { first, count, inFlight: 64 };
  first += count;
  test(`${count} connections: ${run.name}, clients ${run.clients}`, async () => {
    const listeners = new Listeners();
    const ports = await listeners.start();
    const child = run.foreign
      ? fork(fileURLToPath(new URL("../net/rendezvous.child.mjs", import.meta.url)))
      : undefined;
    if (child !== undefined) await listeners.share(child);
    const unblock = blockLoop(run.blockMs);
    const clients = await driveIn(run.clients, { ...task, ports });
    unblock();
    await until(() => listeners.open === 0, "the server's sockets to close");
    const foreign = child === undefined ? { served: [], faults: [] } : await reportOf(child);
    await listeners.close();

    assert.equal([...clients.faults, ...listeners.faults, ...foreign.faults].slice(0, 5), []);
    assert.is(listeners.carried.size + foreign.served.length, count, "each connection was served once");
    for (const index of foreign.served)
      assert.is(clients.carried[index - task.first], CARRIED.TCP, `connection ${index} of the foreign acceptor`);
    let carriedBySmc = 0;
    for (const [index, carrier] of listeners.carried) {
      assert.is(clients.carried[index - task.first], carrier, `both ends of connection ${index} agree`);
      assert.ok(index % 2 === 1 || carrier === CARRIED.TCP, `connection ${index} is plain`);
      if (carrier === CARRIED.SMCD) carriedBySmc++;
    }
    if (run.blockMs === 0 && !run.foreign) assert.ok(carriedBySmc > 0, "some went over SMC");
    if (run.foreign) assert.ok(foreign.served.length > 0, "the foreign acceptor took part");
  });
}

test("no doorbell was rescued and every page came back", () => checkNothingLeft(pagesBefore));

test.run();
