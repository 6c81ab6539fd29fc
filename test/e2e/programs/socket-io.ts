/** socket.io: polling, websocket and the way from one to the other; acknowledgements, binary attachments, rooms. */
import { once } from "node:events";
import http from "node:http";
import { Server } from "socket.io";
import { io, type Socket } from "socket.io-client";
import { bodyOf, listening, type Seen, sha256 } from "./seen.js";

export function serve(): Promise<number> {
  const server = http.createServer();
  const hub = new Server(server, { maxHttpBufferSize: 4 << 20 });
  hub.on("connection", (socket) => {
    socket.on("echo", (value: unknown, done: (value: unknown) => void) => done(value));
    socket.on("join", (room: string, done: () => void) => Promise.resolve(socket.join(room)).then(done));
    socket.on("shout", (room: string, value: unknown) => hub.to(room).emit("heard", value));
  });
  return listening(server);
}

async function talk(port: number, transports: string[]): Promise<string[]> {
  const socket: Socket = io(`http://127.0.0.1:${port}`, { transports, forceNew: true, reconnection: false });
  await new Promise<void>((resolve, reject) => {
    socket.on("connect", resolve);
    socket.on("connect_error", reject);
  });
  const heard: string[] = [];
  for (let i = 0; i < 12; i++) {
    const sent = { i, text: "ü".repeat(i * 100), bytes: bodyOf(i, i * 20_011) };
    const { bytes, ...rest } = (await socket.emitWithAck("echo", sent)) as typeof sent;
    heard.push(`${JSON.stringify(rest)} ${sha256(bytes)}`);
  }
  const room = transports.join();
  await socket.emitWithAck("join", room);
  const shouted = once(socket as unknown as NodeJS.EventEmitter, "heard");
  socket.emit("shout", room, bodyOf(7, 100_000));
  heard.push(sha256((await shouted)[0] as Buffer));
  socket.disconnect();
  return heard;
}

export async function converse(port: number): Promise<Seen> {
  const ways = [["polling"], ["websocket"], ["polling", "websocket"]];
  const talks = await Promise.all(ways.map((transports) => talk(port, transports)));
  return Object.fromEntries(talks.flatMap((heard, i) => heard.map((line, j) => [`${ways[i]} ${j}`, line])));
}
