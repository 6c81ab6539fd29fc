/**
 * A worker of a cluster: echoes on the port that all of its cluster get for 0, and tells which it is.
 *
 * Its primary is a party: the verb `cluster` of processes-verbs.ts.
 */
import cluster from "node:cluster";
import type { AddressInfo, Socket } from "node:net";
import { transport } from "../support/transports.js";

const { server: module, smc } = transport("smcd");
const server = module.createServer({ smc });
server.on("connection", (socket: Socket) => {
  socket.on("error", () => undefined);
  socket.pipe(socket);
});
server.listen({ port: 0, host: "127.0.0.1" }, () => {
  process.send!((server.address() as AddressInfo).port);
});
// The primary leaves first, or dies.
cluster.worker!.on("disconnect", () => process.exit());
