/**
 * The worker in which one side of a bench runs: loads its scenario, makes the side, answers the main thread's calls.
 *
 * Owns the loop of calls. What a side does is its scenario's; an error outside a call ends the worker, and so the bench.
 */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { parentPort, workerData } from "node:worker_threads";
import { BENCH_FOLDER, type CallMessage, type ReplyMessage, type SideSetup, type Sides } from "./pair.js";

const setup = workerData as SideSetup;
const port = parentPort!;
const { sides } = (await import(pathToFileURL(join(BENCH_FOLDER, `${setup.scenario}.mjs`)).href)) as { sides: Sides };
const operations = await sides[setup.role](setup);

async function answer({ id, operation, argument }: CallMessage): Promise<void> {
  let reply: ReplyMessage;
  try {
    const run = operations[operation];
    if (!run) throw new Error(`a ${setup.role} side has no operation ${operation}`);
    reply = { id, ok: true, value: await run(argument as never) };
  } catch (error) {
    reply = { id, ok: false, error: error instanceof Error ? error : new Error(String(error)) };
  }
  port.postMessage(reply);
}

port.on("message", (message: CallMessage) => void answer(message));
