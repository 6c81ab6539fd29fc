/**
 * A thread of a party: does what its process passes on to it.
 *
 * Owns nothing but the port to its process. What it can do stands in processes-verbs.ts.
 */
import { parentPort } from "node:worker_threads";
import { type Asked, answer } from "./processes-verbs.js";

const port = parentPort!;
port.on("message", (asked: Asked) => {
  void answer(asked).then((reply) => port.postMessage(reply));
});
