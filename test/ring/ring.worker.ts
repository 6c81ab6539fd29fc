/**
 * A thread that plays sides of ring scenarios by name, each over a fresh connection.
 *
 * Owns the connection and the loop of tasks. The main side is theatre.ts.
 */
import type { AddressInfo, Socket } from "node:net";
import { parentPort } from "node:worker_threads";
import * as smc from "../../src/index.js";
import { openRing } from "../../src/ring/index.js";
import { closed, dial, listen } from "../support/pair.js";
import { checkCarrier, transport } from "../support/transports.js";
import { happens } from "../support/watchdog.js";
import { SCENARIOS } from "./scenarios.js";
import { Baton, type Mode, READY, type RingScenario, type Role, type Seen, SIZES, stepsOf, toolsFor } from "./sides.js";

export interface RingTask {
  readonly kind: "play";
  readonly scenario: string;
  readonly mode: Mode;
  readonly role: Role;
  /** Where the server listens; the client's task only. */
  readonly port: number;
  readonly baton: Int32Array<SharedArrayBuffer>;
}
/** `clear` closes the connection of the last task: once both sides have ended, so that neither sees the other's tidying up. */
export type RingRequest = RingTask | { readonly kind: "clear" | "stats" };
export type RingReport =
  | { readonly kind: "listening"; readonly port: number }
  | { readonly kind: "seen"; readonly seen: Seen }
  | { readonly kind: "failed"; readonly stack: string }
  | { readonly kind: "cleared" }
  | { readonly kind: "stats"; readonly doorbellRescued: number };

const tell = (report: RingReport) => parentPort!.postMessage(report);
const ffi = smc.options().ffi;

function play(socket: Socket, scenario: RingScenario, { mode, role, baton }: RingTask): Seen {
  const ready = () => void Atomics.store(baton, READY, 1);
  const tools = toolsFor(openRing(socket, scenario.ring), mode, ffi, scenario.name, ready);
  const side = stepsOf(scenario[role], tools);
  return new Baton(baton, role, scenario.free).play(side);
}

async function connect(task: RingTask): Promise<Socket> {
  const carrier = transport(task.mode === "copy" ? "smcd-copy" : "smcd");
  if (task.role === "client") {
    const socket = dial(carrier, task.port, { smc: SIZES });
    await happens(socket, "connect");
    checkCarrier(socket, carrier, "client");
    return socket;
  }
  const [server] = await listen(carrier, { smc: SIZES });
  const accepted = happens(server, "connection");
  tell({ kind: "listening", port: (server.address() as AddressInfo).port });
  const [socket] = (await accepted) as [Socket];
  server.close();
  checkCarrier(socket, carrier, "server");
  return socket;
}

let socket: Socket | undefined;

async function perform(task: RingTask): Promise<void> {
  try {
    socket = await connect(task);
    socket.on("error", () => undefined);
    tell({ kind: "seen", seen: play(socket, SCENARIOS.get(task.scenario)!, task) });
  } catch (error) {
    tell({ kind: "failed", stack: (error as Error).stack ?? String(error) });
  }
}

async function clear(): Promise<void> {
  socket?.destroy();
  if (socket !== undefined) await closed(socket);
  socket = undefined;
  tell({ kind: "cleared" });
}

parentPort!.on("message", (request: RingRequest) => {
  if (request.kind === "play") perform(request);
  else if (request.kind === "clear") clear();
  else tell({ kind: "stats", doorbellRescued: smc.stats().doorbellRescued });
});
