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

/** wait: blocks in ring.wait for so many ms at most. parks: how often the loop has gone to sleep, and what had to be rescued. */
export type NeighbourRequest = { readonly kind: "wait"; readonly timeoutMs: number } | { readonly kind: "stats" };
export type NeighbourReply =
  | { readonly kind: "ready" }
  | { readonly kind: "waited"; readonly news: boolean }
  | { readonly kind: "stats"; readonly parks: number; readonly doorbellRescued: number };

const tell = (reply: NeighbourReply) => parentPort!.postMessage(reply);
const { port } = workerData as { port: number };
const carrier = transport("smcd");

const first = dial(carrier, port);
await happens(first, "connect");
const ring = openRing(first, { spinUs: 0 });
const second = dial(carrier, port);
await happens(second, "connect");
second.pipe(second);

parentPort!.on("message", (request: NeighbourRequest) => {
  if (request.kind === "wait") tell({ kind: "waited", news: ring.wait(request.timeoutMs) });
  else {
    const { parks, doorbellRescued } = smc.stats();
    tell({ kind: "stats", parks, doorbellRescued });
  }
});
tell({ kind: "ready" });
