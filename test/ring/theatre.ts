/**
 * Plays ring scenarios: in this thread, or between two Workers, with FFI or without.
 *
 * Owns the two Workers of a cast and the reports they give. Knows nothing of what is played.
 */
import { Worker } from "node:worker_threads";
import { openRing } from "../../src/ring/index.js";
import { connectPair } from "../support/pair.js";
import { transport } from "../support/transports.js";
import { until, WATCHDOG_MS, within } from "../support/watchdog.js";
import type { RingReport, RingRequest } from "./ring.worker.js";
import {
  BATON_BYTES,
  type Mode,
  playHere,
  READY,
  type RingScenario,
  type Role,
  type Seen,
  SIZES,
  toolsFor,
} from "./sides.js";

/** A side blocks its thread, so its own watchdogs come first. Milliseconds. */
const REPORT_MS = 4 * WATCHDOG_MS;

/** Both sides in this thread, over a connection with itself. */
export async function stageHere(scenario: RingScenario, mode: Mode): Promise<{ client: Seen; server: Seen }> {
  const pair = await connectPair(transport(mode === "copy" ? "smcd-copy" : "smcd"), {
    server: { smc: SIZES },
    client: { smc: SIZES },
  });
  for (const socket of [pair.client, pair.accepted]) socket.on("error", () => undefined);
  try {
    const tools = (socket: typeof pair.client) => toolsFor(openRing(socket, scenario.ring), mode, true, scenario.name);
    return playHere(scenario, tools(pair.client), tools(pair.accepted));
  } finally {
    await pair.close();
  }
}

class Actor {
  readonly #worker: Worker;
  readonly #reports: RingReport[] = [];
  #arrived: () => void = () => undefined;
  readonly failed: Promise<never>;

  constructor(env: NodeJS.ProcessEnv) {
    this.#worker = new Worker(new URL("../ring/ring.worker.mjs", import.meta.url), { env });
    this.#worker.on("message", (report: RingReport) => {
      this.#reports.push(report);
      this.#arrived();
    });
    this.failed = new Promise((_, reject) => this.#worker.once("error", reject));
    this.failed.catch(() => undefined);
    // Whoever still waits for a report of a Worker that was ended gets this one.
    this.#worker.once("exit", () => {
      this.#reports.push({ kind: "failed", stack: "the Worker has ended" });
      this.#arrived();
    });
  }

  ask(request: RingRequest): void {
    this.#worker.postMessage(request);
  }

  /** The next report, of the kind given. Errors: rejects with what the side threw instead. */
  async next<K extends RingReport["kind"]>(kind: K): Promise<Extract<RingReport, { kind: K }>> {
    if (this.#reports.length === 0) {
      const arrival = new Promise<void>((resolve) => {
        this.#arrived = resolve;
      });
      await Promise.race([within(arrival, `the report "${kind}"`, REPORT_MS), this.failed]);
    }
    const report = this.#reports.shift()!;
    if (report.kind === "failed") throw new Error(`in the Worker: ${report.stack}`);
    if (report.kind !== kind) throw new Error(`a report "${report.kind}" instead of "${kind}"`);
    return report as Extract<RingReport, { kind: K }>;
  }

  terminate(): Promise<number> {
    return this.#worker.terminate();
  }
}

/** Two Workers that play with each other; new ones after a play that failed. */
export class Cast {
  readonly #env: Record<string, string>;
  #actors: Record<Role, Actor> | undefined;

  constructor(env: Record<string, string> = {}) {
    this.#env = env;
  }

  #present(): Record<Role, Actor> {
    const actor = () => new Actor({ ...process.env, ...this.#env });
    this.#actors ??= { client: actor(), server: actor() };
    return this.#actors;
  }

  async play(scenario: RingScenario, mode: Mode): Promise<{ client: Seen; server: Seen }> {
    try {
      return await this.#play(scenario, mode);
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  async #play(scenario: RingScenario, mode: Mode): Promise<{ client: Seen; server: Seen }> {
    const { client, server } = this.#present();
    await this.#begin(scenario, mode, client, server);
    const [atClient, atServer] = await Promise.all([client.next("seen"), server.next("seen")]);
    for (const actor of [client, server]) actor.ask({ kind: "clear" });
    await Promise.all([client.next("cleared"), server.next("cleared")]);
    return { client: atClient.seen, server: atServer.seen };
  }

  async #begin(scenario: RingScenario, mode: Mode, client: Actor, server: Actor): Promise<Int32Array> {
    const baton = new Int32Array(new SharedArrayBuffer(BATON_BYTES));
    const task = { kind: "play", scenario: scenario.name, mode, baton } as const;
    server.ask({ ...task, role: "server", port: 0 });
    const { port } = await server.next("listening");
    client.ask({ ...task, role: "client", port });
    return baton;
  }

  /** Kills the server's thread where the server says so; what the client saw of it. The next play has a new cast. */
  async playToDeath(scenario: RingScenario, mode: Mode): Promise<Seen> {
    const { client, server } = this.#present();
    try {
      const baton = await this.#begin(scenario, mode, client, server);
      await until(() => Atomics.load(baton, READY) === 1, "the server to be where it is to be killed");
      await server.terminate();
      return (await client.next("seen")).seen;
    } finally {
      await this.close();
    }
  }

  /** Doorbells rescued in both threads. */
  async doorbellRescued(): Promise<number> {
    let sum = 0;
    for (const actor of Object.values(this.#actors ?? {})) {
      actor.ask({ kind: "stats" });
      sum += (await actor.next("stats")).doorbellRescued;
    }
    return sum;
  }

  async close(): Promise<void> {
    await Promise.all(Object.values(this.#actors ?? {}).map((actor) => actor.terminate()));
    this.#actors = undefined;
  }
}
