/**
 * A thread that runs ends of scenarios by name, and tells its counters.
 *
 * Owns nothing but the loop of requests. The main side is worker-peer.ts.
 */
import { parentPort } from "node:worker_threads";
import { answer, type PeerRequest } from "./peer.js";

parentPort!.on("message", async (request: PeerRequest) => parentPort!.postMessage(await answer(request)));
