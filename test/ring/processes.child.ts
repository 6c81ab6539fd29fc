/**
 * A process that plays one side of a ring scenario with another process: in its main thread, or in a Worker of its own.
 *
 * Owns the connection and the choice of the thread. argv: where, scenario, mode, role, directory entry. The main side is
 * processes.test.ts.
 */
import type { AddressInfo, Socket } from "node:net";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import * as smc from "../../src/index.js";
import { openRing } from "../../src/ring/index.js";
import { closed, dial, listen } from "../support/pair.js";
import { checkCarrier, transport } from "../support/transports.js";
import { happens } from "../support/watchdog.js";
import { SCENARIOS } from "./scenarios.js";
import { type Mode, type Role, type Seen, SIZES, stepsOf, toolsFor } from "./sides.js";

export type RingProcessReport =
  | { readonly kind: "listening"; readonly port: number }
  /** It is where one of them is to be killed. */
  | { readonly kind: "ready" }
  | { readonly kind: "seen"; readonly seen: Seen; readonly doorbellRescued: number };

export interface RingProcessTask {
  readonly where: "main thread" | "Worker";
  readonly scenario: string;
  readonly mode: Mode;
  readonly role: Role;
  /** Where the server listens; the client's alone. */
  readonly port: number;
}

const task = (isMainThread ? JSON.parse(process.argv[2]!) : workerData) as RingProcessTask;
const tell = (report: RingProcessReport): void => {
  if (isMainThread) process.send!(report);
  else parentPort!.postMessage(report);
};

async function connect(): Promise<Socket> {
  const carrier = transport(task.mode === "copy" ? "smcd-copy" : "smcd");
  if (task.role === "client") {
    const socket = dial(carrier, task.port, { smc: SIZES });
    await happens(socket, "connect");
    checkCarrier(socket, carrier, "client", "shm");
    return socket;
  }
  const [server] = await listen(carrier, { smc: SIZES });
  const accepted = happens(server, "connection");
  tell({ kind: "listening", port: (server.address() as AddressInfo).port });
  const [socket] = (await accepted) as [Socket];
  server.close();
  checkCarrier(socket, carrier, "server", "shm");
  return socket;
}

async function play(): Promise<void> {
  const socket = await connect();
  socket.on("error", () => undefined);
  const scenario = SCENARIOS.get(task.scenario)!;
  const ready = () => tell({ kind: "ready" });
  const ring = openRing(socket, scenario.ring);
  const steps = stepsOf(scenario[task.role], toolsFor(ring, task.mode, true, scenario.name, ready));
  const { value, done } = steps.next();
  if (done !== true) throw new Error(`${scenario.name} is played by turns`);
  socket.destroy();
  await closed(socket);
  tell({ kind: "seen", seen: value, doorbellRescued: smc.stats().doorbellRescued });
}

if (isMainThread && task.where === "Worker") {
  const worker = new Worker(new URL("../ring/processes.child.mjs", import.meta.url), { workerData: task });
  worker.on("message", (report: RingProcessReport) => process.send!(report));
} else await play();
if (isMainThread) process.on("disconnect", () => process.exit());
