/**
 * One end of a connection in a container: a server that says so much and then waits, or a client that counts what comes.
 *
 * Owns one socket. argv: the maker, the role, host and port, bytes. The main side is removed.test.ts.
 */
import net, { type Socket } from "node:net";
import * as smc from "../../src/index.js";
import type { NetModule } from "../support/transports.js";

export type RemovedReport =
  | { readonly kind: "listening" }
  | { readonly kind: "received"; readonly bytes: number; readonly device: string }
  | { readonly kind: "over"; readonly bytes: number; readonly events: readonly string[] };

const [maker, role, host, port, bytes] = process.argv.slice(2) as [string, string, string, string, string];
const made: NetModule = maker === "smcnet" ? smc : net;
const due = Number(bytes);
const report = (told: RemovedReport): void => void process.send?.(told);

/** Listens for a question, says its bytes and keeps the connection open. */
function serve(): void {
  const server = made.createServer({ allowHalfOpen: true });
  server.on("connection", (socket: Socket) => {
    socket.on("error", () => undefined);
    socket.resume();
    socket.write(Buffer.alloc(due, 7));
  });
  server.listen(Number(port), host, () => report({ kind: "listening" }));
}

/** Asks, counts what comes, and tells how it ended. */
function call(): void {
  const socket = made.connect({ host, port: Number(port), allowHalfOpen: false });
  const events: string[] = [];
  let received = 0;
  socket.on("data", (chunk: Buffer) => {
    received += chunk.length;
    if (received === due) report({ kind: "received", bytes: received, device: socket.smc?.device ?? "TCP" });
  });
  socket.on("end", () => events.push("end"));
  socket.on("error", (error: NodeJS.ErrnoException) => events.push(String(error.code)));
  socket.on("close", () => report({ kind: "over", bytes: received, events }));
  socket.write("a question");
}

if (role === "server") serve();
else call();
process.on("disconnect", () => process.exit());
