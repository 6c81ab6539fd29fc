/**
 * The process in which one side of a bench runs: answers the calls that come by its IPC channel, and ends with it.
 *
 * Owns the choice of the thread. A side runs in the main thread, as applications do; but a ring blocks, and would keep
 * the calls waiting, so its side is a Worker of this process and the messages are passed on.
 */
import { Worker } from "node:worker_threads";
import { type CallMessage, type FailureMessage, makeSide, type ReplyMessage, type SideSetup } from "./side.js";
import { WORKER_PROGRAM } from "./side-host.js";

const setup = JSON.parse(process.argv[2]!) as SideSetup;

/** A Worker's error lacks properties that a message needs: what is sent is a plain one. */
function fail({ message: words, stack }: Error): void {
  const failure = Object.assign(new Error(words), { stack });
  const message: FailureMessage = { failure };
  process.send!(message, () => process.exit(1));
}

const reply = (message: ReplyMessage): void => void process.send!(message);

function inWorker(): (message: CallMessage) => void {
  const worker = new Worker(WORKER_PROGRAM, { workerData: setup });
  worker.on("message", reply);
  worker.on("error", fail);
  return (message) => worker.postMessage(message);
}

process.on("uncaughtException", fail);
process.on("disconnect", () => process.exit());
// Calls that come meanwhile wait in the channel's queue.
const answer = Promise.resolve(setup.transport === "ring" ? inWorker() : makeSide(setup, reply));
process.on("message", (message: CallMessage) => void answer.then((run) => run(message)));
