/**
 * An honest process, told what to do by the test that attacks it: it serves, dials, streams, and says how it is.
 *
 * Owns no judgement: it tells what its sockets saw. An error that nobody handles ends it, and the test with it.
 */
import { readdirSync, readFileSync } from "node:fs";
import type { AddressInfo, Socket } from "node:net";
import * as smc from "../../src/index.js";
import { Sequence, SPAN_MAX, Verifier } from "../support/sequence.js";
import { udpSockets } from "../support/udp-sockets.js";
import type { Command, Health, Seen } from "./hostile.js";

/** Until the honest have met, they wait as long as a busy machine needs. */
const PATIENCE = { claimWaitMs: 100, matchTimeoutMs: 1_000, clcTimeoutMs: 2_000 };

const told = new Map<number, Seen>();
const asked = new Map<number, (seen: Seen) => void>();
let streamed = 0;
let stopping = false;
const streams = new Set<Promise<void>>();

function note(socket: Socket): Seen {
  const seen: Seen = { mode: socket.smc?.mode, device: socket.smc?.device, bytes: 0, errors: [], closed: false };
  socket.on("error", (error: NodeJS.ErrnoException) => seen.errors.push(String(error.code)));
  return seen;
}

/** Echoes, and remembers each connection by the port of its other end. */
function serve(options: object): Promise<number> {
  const server = smc.createServer({ smc: { ...PATIENCE, ...options } }, (socket: Socket) => {
    const seen = note(socket);
    const port = socket.remotePort!;
    told.set(port, seen);
    socket.on("data", (chunk: Buffer) => {
      seen.bytes += chunk.length;
      if (!socket.write(chunk)) {
        socket.pause();
        socket.once("drain", () => socket.resume());
      }
    });
    socket.on("close", () => {
      seen.closed = true;
      asked.get(port)?.(seen);
    });
  });
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => resolve((server.address() as AddressInfo).port));
  });
}

/** What a connection from `port` saw, once it is over. */
function outcome(port: number): Promise<Seen> | Seen {
  const seen = told.get(port);
  if (seen?.closed) return seen;
  return new Promise((resolve) => asked.set(port, resolve));
}

/** One connection: sends `length` bytes, reads as many back, each where it belongs. */
function exchange(port: number, length: number, more: () => boolean): Promise<Seen> {
  return new Promise((resolve, reject) => {
    const socket = smc.connect({ port, host: "127.0.0.1", smc: PATIENCE });
    let seen: Seen = { mode: undefined, device: undefined, bytes: 0, errors: [], closed: false };
    const sequence = new Sequence(port + length);
    const verifier = new Verifier(port + length);
    let sent = 0;
    const push = (): void => {
      while (sent - verifier.received < 4 * length) {
        socket.write(sequence.span(sent, Math.min(length, SPAN_MAX)));
        sent += Math.min(length, SPAN_MAX);
      }
    };
    socket.on("connect", () => {
      seen = note(socket);
      push();
    });
    socket.on("error", (error: NodeJS.ErrnoException) => seen.errors.push(String(error.code)));
    socket.on("data", (chunk: Buffer) => {
      try {
        verifier.push(chunk);
      } catch (error) {
        reject(error as Error);
        socket.destroy();
        return;
      }
      streamed += chunk.length;
      seen.bytes = verifier.received;
      if (more()) push();
      else if (verifier.received === sent) socket.end();
    });
    socket.on("close", () => {
      seen.closed = true;
      resolve(seen);
    });
  });
}

/** Says something to whoever listens at `port`, and tells what became of it: an answer, an end, a fallback. */
function dial(port: number): Promise<Seen> {
  return new Promise((resolve) => {
    const socket = smc.connect({ port, host: "127.0.0.1" });
    const seen: Seen = { mode: undefined, device: undefined, bytes: 0, errors: [], closed: false };
    socket.on("error", (error: NodeJS.ErrnoException) => seen.errors.push(String(error.code)));
    socket.on("connect", () => {
      seen.mode = socket.smc?.mode;
      seen.device = socket.smc?.device;
      seen.fallback = socket.smc?.fallback?.name;
      socket.write("a word");
    });
    socket.on("data", (chunk: Buffer) => {
      seen.bytes += chunk.length;
      if (seen.bytes >= 6) socket.end();
    });
    socket.on("close", () => {
      seen.closed = true;
      resolve(seen);
    });
  });
}

function health(): Health {
  globalThis.gc?.();
  const maps = readFileSync("/proc/self/maps", "utf8").split("\n");
  return {
    rss: process.memoryUsage().rss,
    // The one for probes stays once it is there.
    descriptors: readdirSync("/proc/self/fd").length - Math.min(udpSockets().length, 1),
    pages: smc.poolFreePages(),
    shared: maps.filter((line) => line.includes("memfd:")).length,
  };
}

async function act(command: Command): Promise<unknown> {
  switch (command.name) {
    case "serve":
      return serve(command.options ?? {});
    case "ping":
      return "pong";
    case "health":
      return health();
    case "outcome":
      return outcome(command.port);
    case "dial":
      return dial(command.port);
    case "exchange": {
      return exchange(command.port, command.length, () => false);
    }
    case "stream":
      streams.add(
        exchange(command.port, command.length, () => !stopping).then((seen) => {
          if (seen.errors.length > 0) throw new Error(`the stream ended with ${seen.errors}`);
        }),
      );
      return undefined;
    case "resets":
      return [...told.values()].filter(({ mode, errors }) => mode === "SMCD" && errors.includes("ECONNRESET")).length;
    case "streamed":
      return streamed;
    case "stop":
      stopping = true;
      await Promise.all(streams);
      streams.clear();
      stopping = false;
      return undefined;
  }
}

process.on("message", (message: Command) => {
  const { id } = message;
  act(message).then(
    (result) => process.send!({ id, result }),
    (error: Error) => process.send!({ id, error: error.stack ?? error.message }),
  );
});
process.on("disconnect", () => process.exit());
