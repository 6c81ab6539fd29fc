/**
 * A process that exposes the service. Tells its port, then when asked how many bytes wait to be sent on its sockets; goes with
 * its parent.
 */
import type { AddressInfo, Socket } from "node:net";
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
server.listen(0, "127.0.0.1", () => process.send!((server.address() as AddressInfo).port));
process.on("message", () => {
  let most = 0;
  for (const socket of sockets) most = Math.max(most, socket.writableLength);
  process.send!({ queued: most, sockets: sockets.size });
});
process.on("disconnect", () => process.exit());
