/**
 * A thread with a ring that blocks it at times, and a plain socket beside it that echoes.
 *
 * Owns the two connections. The main side is neighbours.test.ts.
 */
import { parentPort, workerData } from "node:worker_threads";
import * as smc from "../../src/index.js";
import { openRing } from "../../src/ring/index.js";
import { dial } from "../support/pair.js";
import { transport } from "../support/transports.js";
import { happens } from "../support/watchdog.js";

/** wait: blocks in ring.wait for so many ms at most, then reads all there is. */
export type NeighbourRequest = { readonly kind: "wait"; readonly timeoutMs: number } | { readonly kind: "stats" };
export type NeighbourReply =
  | { readonly kind: "ready" }
  | { readonly kind: "waited"; readonly news: boolean }
  | { readonly kind: "stats"; readonly doorbellRescued: number };

export interface NeighbourData {
  readonly port: number;
  /** One word: 1 from just before this thread blocks until it is awake again. */
  readonly blocked: Int32Array<SharedArrayBuffer>;
}

const tell = (reply: NeighbourReply) => parentPort!.postMessage(reply);
const { port, blocked } = workerData as NeighbourData;
const carrier = transport("smcd");

const first = dial(carrier, port);
await happens(first, "connect");
const ring = openRing(first, { spinUs: 0 });
const second = dial(carrier, port);
await happens(second, "connect");
second.pipe(second);

/** Whether news came before the time was up. */
function wait(timeoutMs: number): boolean {
  const from = performance.now();
  Atomics.store(blocked, 0, 1);
  const news = ring.wait(timeoutMs) && performance.now() - from < timeoutMs;
  Atomics.store(blocked, 0, 0);
  ring.read(Buffer.alloc(100));
  return news;
}

parentPort!.on("message", (request: NeighbourRequest) => {
  if (request.kind === "wait") tell({ kind: "waited", news: wait(request.timeoutMs) });
  else tell({ kind: "stats", doorbellRescued: smc.stats().doorbellRescued });
});
tell({ kind: "ready" });
