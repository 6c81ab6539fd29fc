/**
 * A thread that runs ends of scenarios by name, and tells its counters.
 *
 * Owns nothing but the loop of requests. The main side is stage.ts.
 */
import { parentPort } from "node:worker_threads";
import * as smc from "../../src/index.js";
import { OtherEndFailed, runEnd } from "./run-end.js";
import type { PeerReply, PeerRequest } from "./stage.js";

function reply(message: PeerReply): void {
  parentPort!.postMessage(message);
}

parentPort!.on("message", async (request: PeerRequest) => {
  if (request.kind === "stats") {
    reply({ kind: "stats", doorbellRescued: smc.stats().doorbellRescued });
    return;
  }
  try {
    reply({ kind: "seen", seen: await runEnd(request.task) });
  } catch (cause) {
    const { message, stack } = cause as Error;
    reply({ kind: "failed", message, stack: stack ?? message, other: cause instanceof OtherEndFailed });
  }
});
