/** A ring that blocks its thread uses the doorbell of the whole thread: the other sockets of that thread miss nothing by it. */
import type { Socket } from "node:net";
import { Worker } from "node:worker_threads";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as smc from "../../src/index.js";
import { checkNothingLeft } from "../net/stage.js";
import { listen } from "../support/pair.js";
import { transport } from "../support/transports.js";
import { happens, until, WATCHDOG_MS } from "../support/watchdog.js";
import type { NeighbourData, NeighbourReply, NeighbourRequest } from "./neighbours.worker.js";

const ROUNDS = 10;

class Neighbour {
  readonly #worker: Worker;
  readonly #blocked = new Int32Array(new SharedArrayBuffer(4));

  constructor(port: number, env: Record<string, string>) {
    this.#worker = new Worker(new URL("../ring/neighbours.worker.mjs", import.meta.url), {
      workerData: { port, blocked: this.#blocked } satisfies NeighbourData,
      env: { ...process.env, ...env },
    });
  }

  async next<K extends NeighbourReply["kind"]>(kind: K): Promise<Extract<NeighbourReply, { kind: K }>> {
    const [reply] = (await happens(this.#worker, "message", `the reply "${kind}"`)) as [NeighbourReply];
    assert.is(reply.kind, kind);
    return reply as Extract<NeighbourReply, { kind: K }>;
  }

  ask(request: NeighbourRequest): void {
    this.#worker.postMessage(request);
  }

  /** Resolves when the thread is in its wait, or a moment before. */
  async blocks(): Promise<void> {
    await until(() => Atomics.load(this.#blocked, 0) === 1, "the thread to block");
    for (let turns = 0; turns < 1000; turns++) await new Promise((resolve) => setImmediate(resolve));
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
  }
}

const test = suite("ring neighbours");
let pagesBefore = 0;
test.before(() => {
  pagesBefore = smc.poolFreePages();
});

for (const [name, env] of Object.entries({ "with FFI": {}, "without FFI": { SMC_FFI: "off" } })) {
  test(`a wait, in vain or not, leaves the thread's other sockets awake · ${name}`, async () => {
    const [server, port] = await listen(transport("smcd"));
    const sockets: Socket[] = [];
    server.on("connection", (socket: Socket) => {
      socket.on("error", () => undefined);
      sockets.push(socket);
    });
    const neighbour = new Neighbour(port, env);
    await neighbour.next("ready");
    const [ringed, plain] = sockets as [Socket, Socket];
    const echo = async (word: string): Promise<void> => {
      const echoed = happens(plain, "data", `the echo of "${word}"`);
      plain.write(word);
      const [chunk] = (await echoed) as [Buffer];
      assert.is(String(chunk), word);
    };
    try {
      for (let round = 0; round < ROUNDS; round++) {
        await echo("before");
        neighbour.ask({ kind: "wait", timeoutMs: 10 });
        assert.not((await neighbour.next("waited")).news, "nothing has come for the ring");
        await echo("after a wait in vain");
      }
      for (let round = 0; round < ROUNDS; round++) {
        neighbour.ask({ kind: "wait", timeoutMs: WATCHDOG_MS / 2 });
        await neighbour.blocks();
        const waited = neighbour.next("waited");
        ringed.write("news");
        assert.ok((await waited).news, `round ${round}: the sleeper is woken`);
        if (round % 2 === 0) await echo("after news");
      }
      neighbour.ask({ kind: "stats" });
      assert.is((await neighbour.next("stats")).doorbellRescued, 0, "nobody had to be rescued");
    } finally {
      await neighbour.end();
      server.close();
    }
  });
}

test("no doorbell was rescued and every page came back", () => checkNothingLeft(pagesBefore));

test.run();
