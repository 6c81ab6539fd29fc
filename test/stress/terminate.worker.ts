/**
 * A thread that uses smcnet in the way its task says, without end: to be killed at any moment.
 *
 * Owns the ways. The survivor is terminate.test.ts.
 */
import type { AddressInfo, Socket } from "node:net";
import { parentPort, Worker, workerData } from "node:worker_threads";
import { END, openRing, type Ring } from "../../src/ring/index.js";
import { dial, listen } from "../support/pair.js";
import { prngFor } from "../support/prng.js";
import { Sequence } from "../support/sequence.js";
import { transport } from "../support/transports.js";
import { PROGRESS, PUBLISHED, type VictimTask } from "./terminate.js";

const task = workerData as VictimTask;
const { board, length, port } = task;
const carrier = transport(task.transport);
const sequence = new Sequence(prngFor(task.stream).seed);
const done = (more: number) => Atomics.add(board, PROGRESS, more);
const published = (bytes: number) => Atomics.store(board, PUBLISHED, bytes);

function connected(then: (socket: Socket) => void): void {
  const socket = dial(carrier, port);
  socket.on("error", (error) => {
    // Before it is connected nothing may go wrong.
    if (socket.connecting || socket.bytesWritten === 0) throw error;
  });
  socket.once("connect", () => then(socket));
}

/** Writes the stream without end; a write that leaves nothing queued is in the ring. */
function pour(socket: Socket): void {
  let offset = 0;
  const burst = () => {
    for (let writes = 0; writes < 16; writes++) {
      const room = socket.write(sequence.span(offset, length));
      offset += length;
      if (socket.writableLength === 0) published(offset);
      done(length);
      if (!room) {
        socket.once("drain", () => {
          published(offset);
          burst();
        });
        return;
      }
    }
    setImmediate(burst);
  };
  burst();
}

function ringPour(ring: Ring): void {
  let offset = 0;
  const burst = () => {
    for (let writes = 0; writes < 64; writes++) {
      const taken = ring.write(sequence.span(offset, length));
      offset += taken;
      published(offset);
      done(taken);
      if (taken === 0 && !ring.wait(20)) break;
    }
    setImmediate(burst);
  };
  burst();
}

function ringEcho(ring: Ring): void {
  const target = Buffer.alloc(50_000);
  ring.write(Buffer.of(0));
  done(1);
  const burst = () => {
    for (let reads = 0; reads < 64; reads++) {
      const taken = ring.read(target);
      if (taken === END) return;
      for (let sent = 0; sent < taken; ) {
        const more = ring.write(target.subarray(sent, taken));
        if (more === 0) ring.wait(20);
        sent += more;
      }
      done(taken);
      if (taken === 0) ring.wait(5);
    }
    setImmediate(burst);
  };
  burst();
}

function echo(socket: Socket): void {
  socket.write(Buffer.of(0));
  done(1);
  socket.on("data", (chunk: Buffer) => {
    done(chunk.length);
    if (!socket.write(chunk)) {
      socket.pause();
      socket.once("drain", () => socket.resume());
    }
  });
}

/** One connection after the other; 24 of these loops run side by side. */
function dialOn(): void {
  const socket = dial(carrier, port);
  socket.on("error", () => undefined);
  socket.on("connect", () => socket.end("hello"));
  socket.resume();
  socket.on("close", () => {
    done(1);
    dialOn();
  });
}

async function serve(): Promise<void> {
  const [server] = await listen(carrier);
  server.on("connection", (socket: Socket) => {
    socket.on("error", () => undefined);
    socket.pipe(socket);
    done(1);
  });
  parentPort!.postMessage((server.address() as AddressInfo).port);
}

function nest(): void {
  const inner: VictimTask = { ...task, way: "pour" };
  new Worker(new URL("../stress/terminate.worker.mjs", import.meta.url), { workerData: inner });
}

const ways: Record<VictimTask["way"], () => void> = {
  pour: () => connected(pour),
  echo: () => connected(echo),
  deaf: () =>
    connected((socket) => {
      socket.pause();
      socket.write(sequence.span(0, 100), () => published(100));
      done(100);
    }),
  "ring pour": () => connected((socket) => ringPour(openRing(socket))),
  "ring echo": () => connected((socket) => ringEcho(openRing(socket))),
  dial: () => {
    for (let i = 0; i < 24; i++) dialOn();
  },
  serve: () => void serve(),
  nest,
  exit: () =>
    connected((socket) => {
      socket.on("data", () => process.exit());
      pour(socket);
    }),
};
ways[task.way]();
// A victim does not end by itself.
setInterval(() => undefined, 60_000);
