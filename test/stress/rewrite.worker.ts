/**
 * A client that sends honest text all the time: requests with long header values to one port, plain text to another; over and over.
 *
 * Owns the sending. What becomes of it on the way is the vandal's part; a connection that breaks is made anew.
 */
import type { Socket } from "node:net";
import { workerData } from "node:worker_threads";
import { dial } from "../support/pair.js";
import { transport } from "../support/transports.js";

export interface HonestData {
  readonly http: number;
  readonly text: number;
}

const { http, text } = workerData as HonestData;
const value = "a".repeat(1500);
const REQUEST = `GET /${value} HTTP/1.1\r\nHost: honest\r\nX-First: ${value}\r\nX-Second: ${value}\r\n\r\n`;
const TEXT = "a".repeat(6000);

/** Writes `what` as often as there is room for it; starts again with a new connection when this one has ended. */
function sendForEver(port: number, what: string): void {
  const socket: Socket = dial(transport("smcd"), port);
  const send = () => {
    for (let i = 0; i < 8 && socket.writable; i++) {
      if (!socket.write(what, "latin1")) {
        socket.once("drain", send);
        return;
      }
    }
    if (socket.writable) setImmediate(send);
  };
  socket.on("connect", send);
  socket.on("error", () => undefined);
  socket.resume();
  socket.on("close", () => setImmediate(sendForEver, port, what));
}

for (let i = 0; i < 4; i++) sendForEver(http, REQUEST);
for (let i = 0; i < 2; i++) sendForEver(text, TEXT);
