/** net alone: an echo, a relay that pipes one connection into another, a flood, readers that are slow or stop; loops that stand still. */
import { once } from "node:events";
import net, { type Socket } from "node:net";
import { Sequence, Verifier } from "../../support/sequence.js";
import { listening } from "./seen.js";

const SEED = 0x7e57;
const PIECE_BYTES = 50_000;
const sequence = new Sequence(SEED);

/** Echoes. */
export const serve = (): Promise<number> => listening(net.createServer((socket) => socket.pipe(socket)));

/** Passes on to `port`, both ways. */
export function relay(port: number): Promise<number> {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    const onward = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    socket.pipe(onward).pipe(socket);
  });
  return listening(server);
}

/** Sends `bytes` while they come back. Returns: the bytes that came, each checked where it stands. */
export async function converse(port: number, bytes: number): Promise<number> {
  const socket = net.connect(port, "127.0.0.1");
  const verifier = new Verifier(SEED);
  socket.on("data", (chunk: Buffer) => verifier.push(chunk));
  const ended = once(socket, "end");
  for (let sent = 0; sent < bytes; ) {
    const piece = sequence.span(sent, Math.min(PIECE_BYTES, bytes - sent));
    sent += piece.length;
    if (!socket.write(piece)) await once(socket, "drain");
  }
  socket.end();
  await ended;
  return verifier.received;
}

/** Lets the loop stand still so many times, with one turn between. */
export async function standStill(times: number, ms: number): Promise<void> {
  const nobody = new Int32Array(new SharedArrayBuffer(4));
  for (let i = 0; i < times; i++) {
    Atomics.wait(nobody, 0, 0, ms);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const floods = new Set<{ readonly socket: Socket; sent: number }>();

/** Sends to whoever connects for as long as there is room. */
export function flood(): Promise<number> {
  const server = net.createServer((socket) => {
    const state = { socket, sent: 0 };
    floods.add(state);
    socket.on("error", () => undefined);
    socket.on("close", () => floods.delete(state));
    const more = (): void => {
      let room = true;
      while (room && !socket.destroyed) {
        room = socket.write(sequence.span(state.sent, PIECE_BYTES));
        state.sent += PIECE_BYTES;
      }
    };
    socket.on("drain", more);
    more();
  });
  return listening(server);
}

/** Bytes sent to each reader, and the most that wait in a socket. */
export function flooded(): { sent: number[]; waiting: number } {
  const all = [...floods];
  return { sent: all.map(({ sent }) => sent), waiting: Math.max(0, ...all.map(({ socket }) => socket.writableLength)) };
}

let reader: { readonly socket: Socket; readonly verifier: Verifier } | undefined;

/** Connects, and reads nothing. */
export async function stop(port: number): Promise<void> {
  const socket = net.connect(port, "127.0.0.1");
  reader = { socket, verifier: new Verifier(SEED) };
  await once(socket, "connect");
}

/** Reads `bytes`, a piece and a turn of the loop at a time, then goes. Returns: bytes checked. */
export async function sip(bytes: number): Promise<number> {
  const { socket, verifier } = reader!;
  while (verifier.received < bytes) {
    const chunk = socket.read(Math.min(socket.readableLength, 3_001) || undefined) as Buffer | null;
    if (chunk === null) await once(socket, "readable");
    else verifier.push(chunk);
    await new Promise((resolve) => setImmediate(resolve));
  }
  const closed = once(socket, "close");
  socket.destroy();
  await closed;
  return verifier.received;
}
