/**
 * The Worker in which one side of a bench runs: answers the calls that come by its parent port.
 *
 * Owns nothing but that. An error outside a call ends the Worker, and so the bench.
 */
import { parentPort, workerData } from "node:worker_threads";
import { type CallMessage, makeSide, type SideSetup } from "./side.js";

const port = parentPort!;
const answer = await makeSide(workerData as SideSetup, (message) => port.postMessage(message));
port.on("message", (message: CallMessage) => void answer(message));
