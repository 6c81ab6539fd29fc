/**
 * The main side of peer.worker.ts: a Worker that plays ends of scenarios.
 *
 * Owns the Worker: a new one is started if it died or did not answer.
 */
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { WATCHDOG_MS, within } from "../support/watchdog.js";
import { failureOf, type Leftovers, type PeerReply, type PeerRequest } from "./peer.js";
import type { EndTask } from "./run-end.js";
import type { Seen } from "./scenario.js";

/** Bounds a peer whose loop stands still; an end that only waits is ended by its own watchdogs. Milliseconds. */
export const REPLY_MS = 20 * WATCHDOG_MS;

/** One request at a time. */
export class WorkerPeer {
  #worker: Worker | undefined;

  async #ask(request: PeerRequest, transfer: EndTask["port"][] = []): Promise<PeerReply> {
    if (this.#worker === undefined) {
      this.#worker = new Worker(new URL("../net/peer.worker.mjs", import.meta.url));
    }
    const worker = this.#worker;
    worker.postMessage(request, transfer);
    let reply: PeerReply;
    try {
      [reply] = (await within(once(worker, "message"), `the Worker's reply to "${request.kind}"`, REPLY_MS)) as [
        PeerReply,
      ];
    } catch (cause) {
      this.#worker = undefined;
      await worker.terminate();
      throw cause;
    }
    if (reply.kind === "failed") throw failureOf(reply, "in the Worker");
    return reply;
  }

  async run(task: EndTask): Promise<Seen> {
    const reply = await this.#ask({ kind: "run", task }, [task.port]);
    if (reply.kind !== "seen") throw new Error(`unexpected reply "${reply.kind}"`);
    return reply.seen;
  }

  async leftovers(): Promise<Leftovers> {
    const reply = await this.#ask({ kind: "leftovers" });
    if (reply.kind !== "leftovers") throw new Error(`unexpected reply "${reply.kind}"`);
    return reply.leftovers;
  }

  async close(): Promise<void> {
    await this.#worker?.terminate();
  }
}
