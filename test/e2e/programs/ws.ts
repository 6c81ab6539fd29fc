/** An echo server of ws, and clients of ws: text, binary, with and without compression, pings, a close with a reason. */
import { once } from "node:events";
import { type RawData, WebSocket, WebSocketServer } from "ws";
import { bodyOf, type Seen, sha256 } from "./seen.js";

export async function serve(): Promise<number> {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1", perMessageDeflate: { threshold: 1024 } });
  server.on("connection", (socket) => {
    socket.on("message", (data: RawData, binary: boolean) => socket.send(data, { binary }));
  });
  await once(server, "listening");
  return (server.address() as { port: number }).port;
}

async function talk(port: number, perMessageDeflate: boolean): Promise<string[]> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/`, { perMessageDeflate });
  await once(socket, "open");
  const heard: string[] = [];
  const sizes = [0, 1, 125, 126, 65_535, 65_536, 300_000, 1_000_000];
  const all = new Promise<void>((resolve) => {
    socket.on("message", (data: Buffer, binary: boolean) => {
      heard.push(`${binary} ${data.length} ${sha256(data)}`);
      if (heard.length === 2 * sizes.length) resolve();
    });
  });
  for (const size of sizes) {
    socket.send(bodyOf(size, size));
    socket.send(bodyOf(size, size >> 1).toString("hex"));
  }
  await all;
  socket.ping("are you there");
  const [pong] = (await once(socket, "pong")) as [Buffer];
  heard.push(String(pong));
  socket.close(4000, "enough");
  const [code, reason] = (await once(socket, "close")) as [number, Buffer];
  heard.push(`${code} ${reason}`);
  return heard;
}

export async function converse(port: number): Promise<Seen> {
  const talks = await Promise.all([true, false, false].map((deflate) => talk(port, deflate)));
  return Object.fromEntries(talks.flatMap((heard, i) => heard.map((line, j) => [`${i} ${j}`, line])));
}
