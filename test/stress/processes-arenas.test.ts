/**
 * Threads of one process of which the main thread knows nothing of smcnet: each has an arena of its own, and they meet as
 * processes do. One is killed: the other sees what TCP would show, and keeps nothing of the dead.
 *
 * This file must not load smcnet.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { PATIENCE } from "../support/patience.js";
import { RUN_SEED } from "../support/prng.js";
import { WATCHDOG_MS, within } from "../support/watchdog.js";
import type { Census } from "./processes-census.js";
import type { Carried } from "./processes-connections.js";
import type { Outcome } from "./processes-ends.js";
import type { Reply, Verb, Verbs } from "./processes-verbs.js";

const ROUNDS = 3;
const BYTES = 200_000;

/** A thread that does what it is asked. */
class Thread {
  readonly #worker: Worker;
  readonly #asked = new Map<number, (reply: Reply) => void>();
  #next = 0;

  constructor(directory: string) {
    const env = { ...process.env, ...PATIENCE, SMC_TEST_SEED: String(RUN_SEED), SMC_RUNTIME_DIR: directory };
    this.#worker = new Worker(new URL("../stress/processes.worker.mjs", import.meta.url), { env });
    threads.add(this);
    this.#worker.on("message", (reply: Reply) => this.#asked.get(reply.id)?.(reply));
  }

  async ask<V extends Verb>(verb: V, ...args: Parameters<Verbs[V]>): Promise<unknown> {
    const id = this.#next++;
    const answered = new Promise<Reply>((resolve) => this.#asked.set(id, resolve));
    this.#worker.postMessage({ id, verb, args });
    const { value, error } = await within(answered, `the answer to "${verb}"`, 2 * WATCHDOG_MS);
    if (error !== undefined) throw new Error(error);
    return value;
  }

  async kill(): Promise<void> {
    threads.delete(this);
    await within(this.#worker.terminate(), "the end of a thread");
  }
}

/** Those that live: a test that fails leaves none behind. */
const threads = new Set<Thread>();

const test = suite("stress: arenas of one process");

for (const role of ["client", "server"] as const) {
  test(`the ${role} is killed: its peer gets every byte and the end, and leaves the pair`, async () => {
    const directory = mkdtempSync(join(tmpdir(), "smcnet-test-"));
    const survivor = new Thread(directory);
    try {
      const ours = (await survivor.ask("listen", "smcd")) as number;
      const before = (await survivor.ask("census")) as Census;
      for (let round = 0; round < ROUNDS; round++) {
        const victim = new Thread(directory);
        const theirs = role === "server" ? ((await victim.ask("listen", "smcd")) as number) : ours;
        const [client, server] = role === "client" ? [victim, survivor] : [survivor, victim];
        const told = (await Promise.all([
          client.ask("dial", "it", "smcd", theirs),
          server.ask("accept", "it"),
        ])) as Carried[];
        assert.equal(
          told.map(({ device }) => device),
          ["shm", "shm"],
        );
        assert.is(((await survivor.ask("census")) as Census).pairs, 1);
        // What the survivor has room for is out of the victim's hands.
        await Promise.all([victim.ask("say", "it", "stream", BYTES), survivor.ask("hear", "it", "stream", BYTES)]);
        await victim.kill();
        const { events, received } = (await survivor.ask("outcome", "it", "stream")) as Outcome;
        assert.equal([events.split(",")[0], received], ["end finish close(false)", BYTES]);
        await survivor.ask("settled", { pairs: 0, connections: 0, freeBlocks: before.freeBlocks });
      }
    } finally {
      await Promise.all([...threads].map((thread) => thread.kill()));
      rmSync(directory, { recursive: true, force: true });
    }
  });
}

test.run();
