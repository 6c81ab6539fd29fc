/** A Worker that exposes the service to whoever connects over smcnet. Tells its port, and ends when it is told anything. */
import type { AddressInfo, Socket } from "node:net";
import { parentPort } from "node:worker_threads";
import * as Comlink from "comlink";
import { endpoint } from "../../src/comlink/index.js";
import * as smc from "../../src/index.js";
import { service } from "./service.js";

const sockets = new Set<Socket>();
const server = smc.createServer((socket) => {
  sockets.add(socket);
  socket.on("error", () => undefined);
  socket.on("close", () => sockets.delete(socket));
  Comlink.expose(service, endpoint(socket, { serving: true }));
});
server.listen(0, "127.0.0.1", () => parentPort!.postMessage((server.address() as AddressInfo).port));
parentPort!.once("message", () => {
  server.close(() => parentPort!.close());
  for (const socket of sockets) socket.destroy();
});
