/**
 * The foreign acceptor of the rendezvous test: another process that takes connections from the same listening sockets with node:net.
 *
 * It gets the listeners from its parent and tells what it served when asked to.
 */
import type { Server } from "node:net";
import { type Fault, serve } from "./rendezvous.js";

export interface ForeignReport {
  readonly served: readonly number[];
  readonly faults: readonly Fault[];
}

const served: number[] = [];
const faults: Fault[] = [];

process.on("message", (word: "client first" | "server first" | "report", server?: Server) => {
  if (word === "report") {
    process.send!({ served, faults } satisfies ForeignReport);
    return;
  }
  server!.on("connection", (socket) => {
    serve(socket, word === "server first").then(
      (index) => served.push(index),
      (cause: Error) => faults.push(`foreign acceptor: ${cause.message}`),
    );
  });
  process.send!(word);
});
process.on("disconnect", () => process.exit());
