/**
 * Puts the two ends of a scenario in place, on each transport, and compares what they saw with what they see over node:net.
 *
 * Owns the placements, the Worker of a test file, and the checks that hold at the end of every file: no doorbell was rescued, all
 * pages of the arena came back. Knows nothing of what the scenarios do.
 *
 * SMC_TEST_TRANSPORTS=net,smcd narrows the transports; the reference is always run.
 */
import { once } from "node:events";
import { MessageChannel, Worker } from "node:worker_threads";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as smc from "../../src/index.js";
import type { Side, Transport } from "../support/transports.js";
import { TRANSPORTS } from "../support/transports.js";
import { until, WATCHDOG_MS, within } from "../support/watchdog.js";
import { type EndTask, OtherEndFailed, runEnd } from "./run-end.js";
import type { Scenario, Seen } from "./scenario.js";

export type PeerRequest = { readonly kind: "run"; readonly task: EndTask } | { readonly kind: "stats" };
export type PeerReply =
  | { readonly kind: "seen"; readonly seen: Seen }
  | { readonly kind: "failed"; readonly message: string; readonly stack: string; readonly other: boolean }
  | { readonly kind: "stats"; readonly doorbellRescued: number };

/** Where the ends live; the side named is the one in the Worker. */
export const PLACEMENTS = {
  "one thread": undefined,
  "server in a Worker": "server",
  "client in a Worker": "client",
} as const;
export type Placement = keyof typeof PLACEMENTS;

/** Bounds a Worker whose loop stands still; an end that only waits is ended by its own watchdogs. Milliseconds. */
const REPLY_MS = 20 * WATCHDOG_MS;

/** The thread of peer.worker.ts: one request at a time; a new one is started if it died or did not answer. */
export class Peer {
  #worker: Worker | undefined;

  async #ask(request: PeerRequest, transfer: EndTask["port"][] = []): Promise<PeerReply> {
    if (this.#worker === undefined) {
      this.#worker = new Worker(new URL("../net/peer.worker.mjs", import.meta.url));
    }
    const worker = this.#worker;
    worker.postMessage(request, transfer);
    try {
      const reply = await within(once(worker, "message"), `the Worker's reply to "${request.kind}"`, REPLY_MS);
      return reply[0] as PeerReply;
    } catch (cause) {
      this.#worker = undefined;
      await worker.terminate();
      throw cause;
    }
  }

  async run(task: EndTask): Promise<Seen> {
    const reply = await this.#ask({ kind: "run", task }, [task.port]);
    if (reply.kind === "seen") return reply.seen;
    if (reply.kind !== "failed") throw new Error(`unexpected reply "${reply.kind}"`);
    const failure = reply.other ? new OtherEndFailed(reply.message) : new Error(`in the Worker: ${reply.message}`);
    failure.stack = `in the Worker: ${reply.stack}`;
    throw failure;
  }

  async doorbellRescued(): Promise<number> {
    const reply = await this.#ask({ kind: "stats" });
    return reply.kind === "stats" ? reply.doorbellRescued : Number.NaN;
  }

  async close(): Promise<void> {
    await this.#worker?.terminate();
  }
}

/** Both ends of a scenario, and what they saw. */
export async function play(scenario: Scenario, transport: Transport, placement: Placement, peer: Peer) {
  const { port1, port2 } = new MessageChannel();
  const end = (side: Side, port: EndTask["port"]) => {
    const task = { scenario: scenario.name, transport: transport.name, side, port };
    return PLACEMENTS[placement] === side ? peer.run(task) : runEnd(task);
  };
  const results = await Promise.allSettled([end("server", port1), end("client", port2)]);
  const failures = results.flatMap((result) => (result.status === "rejected" ? [result.reason as unknown] : []));
  const cause = failures.find((failure) => !(failure instanceof OtherEndFailed)) ?? failures[0];
  if (cause !== undefined) throw cause;
  const [server, client] = results.map((result) => (result as PromiseFulfilledResult<Seen>).value);
  return { server, client };
}

/** Fails a process that something keeps alive after its last test. The timer itself keeps nothing alive. */
function goByItself(): void {
  const stays = () => {
    process.stderr.write(`still alive ${WATCHDOG_MS} ms after the last test\n`);
    process.exit(1);
  };
  setTimeout(stays, WATCHDOG_MS).unref();
}

/** Checks that hold at the end of every file that used smcnet. `pagesBefore` is smc.poolFreePages() from its start. */
export async function checkNothingLeft(pagesBefore: number): Promise<void> {
  goByItself();
  await until(
    () => smc.poolFreePages() === pagesBefore,
    `all pages of the arena to come back; ${pagesBefore} were free before the first test`,
  );
  assert.is(smc.stats().doorbellRescued, 0, "doorbells rescued in the main thread");
}

/** One uvu suite: every scenario on every transport in every placement. */
export function stageAll(
  name: string,
  scenarios: readonly Scenario[],
  placements = Object.keys(PLACEMENTS) as Placement[],
) {
  const test = suite(name);
  const wanted = process.env["SMC_TEST_TRANSPORTS"]?.split(",");
  let peer: Peer;
  let pagesBefore = 0;
  test.before(() => {
    pagesBefore = smc.poolFreePages();
    peer = new Peer();
  });
  for (const scenario of scenarios) {
    for (const placement of placements) {
      let reference: unknown;
      for (const transport of TRANSPORTS) {
        const isReference = transport === TRANSPORTS[0];
        if (!isReference && wanted !== undefined && !wanted.includes(transport.name)) continue;
        test(`${scenario.name} · ${transport.name} · ${placement}`, async () => {
          const seen = await play(scenario, transport, placement, peer);
          if (isReference) reference = seen;
          else assert.equal(seen, reference, "not what node:net shows");
        });
      }
    }
  }
  test("no doorbell was rescued and every page came back", async () => {
    assert.is(await peer.doorbellRescued(), 0, "doorbells rescued in the Worker");
    await peer.close();
    await checkNothingLeft(pagesBefore);
  });
  test.run();
}
