/**
 * A thread that connects and is then ended, by itself or from outside, as its task says.
 *
 * Owns the ways to go. The main side is ending.test.ts.
 */
import { parentPort, workerData } from "node:worker_threads";
import { dial } from "../support/pair.js";
import { prngFor } from "../support/prng.js";
import { Sequence } from "../support/sequence.js";
import { type TransportName, transport } from "../support/transports.js";

export interface EndingTask {
  readonly transport: TransportName;
  readonly port: number;
  /** `endAndExit`: end(data) and process.exit() in one turn. `pour`: write until terminated. */
  readonly way: "endAndExit" | "pour";
  /** Label of the stream written. */
  readonly stream: string;
  readonly length: number;
}

const task = workerData as EndingTask;
const sequence = new Sequence(prngFor(task.stream).seed);
const socket = dial(transport(task.transport), task.port);
socket.on("error", () => undefined);
socket.resume();
socket.on("connect", () => {
  if (task.way === "endAndExit") {
    socket.end(sequence.span(0, task.length));
    process.exit();
  }
  let offset = 0;
  const pour = () => {
    for (let writes = 0; writes < 32; writes++) {
      const room = socket.write(sequence.span(offset, task.length));
      offset += task.length;
      if (!room) {
        socket.once("drain", pour);
        return;
      }
    }
    setImmediate(pour);
  };
  parentPort!.postMessage("pouring");
  pour();
});
