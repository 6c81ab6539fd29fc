/**
 * A thread with a server or a client of smcnet whose event loop the main thread can stop: negotiations stay open at will.
 *
 * Owns the stop and the report. The main side is negotiation.test.ts.
 *
 * `gate` is one i32: the loop stands still while it is 1. A server echoes, and reports each connection once it is closed.
 */
import type { AddressInfo } from "node:net";
import { parentPort, workerData } from "node:worker_threads";
import * as smc from "../../src/index.js";
import { journal } from "./scenario.js";

export interface GateData {
  readonly gate: Int32Array;
}
export type GateRequest = { readonly kind: "stop" } | { readonly kind: "dial"; readonly port: number };
export type GateReport =
  | { readonly kind: "listening"; readonly port: number }
  | { readonly kind: "stopping" }
  | { readonly kind: "connection over"; readonly got: string; readonly code: unknown }
  | { readonly kind: "dial over"; readonly events: readonly string[]; readonly code: unknown };

const { gate } = workerData as GateData;
const tell = (report: GateReport) => parentPort!.postMessage(report);

function stop(): void {
  tell({ kind: "stopping" });
  Atomics.wait(gate, 0, 1);
}

const server = smc.createServer((socket) => {
  const seen = journal(socket);
  let got = "";
  socket.on("data", (chunk: Buffer) => {
    got += chunk.toString("latin1");
    socket.write(chunk);
  });
  socket.on("close", () => tell({ kind: "connection over", got, code: seen.error?.["code"] }));
});
server.listen(0, "127.0.0.1", () => tell({ kind: "listening", port: (server.address() as AddressInfo).port }));

parentPort!.on("message", (request: GateRequest) => {
  if (request.kind === "dial") {
    const socket = smc.connect({ host: "127.0.0.1", port: request.port });
    const seen = journal(socket);
    socket.resume();
    socket.on("close", () => tell({ kind: "dial over", events: seen.events, code: seen.error?.["code"] }));
  }
  stop();
});
