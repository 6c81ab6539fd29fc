/**
 * pingpong: how long until the answer to a message is there?
 *
 * Method: two sides, one connection; the server answers each whole message with itself. mode busy: the next message
 * follows at once, and loops that may spin do; mode parked: the same with `SMC_BUSY_POLL=0`, every message wakes a sleeping
 * loop; mode rested: parked, and both sides have slept 110 ms before each message, so caches are cold as well. cpus 1: the
 * process is pinned to one CPU. The client compares each echo, outside the time kept. `floor` bounces one word between
 * two spinning threads: no message moves, whatever its size.
 * Does not show: more than one message under way, other connections on the same loops, a loop that has other work.
 */
import type { Server, Socket } from "node:net";
import type { openRing } from "smcnet/ring";
import { pingWord, portPinger, servePort, serveWord } from "./baselines.js";
import type { Case, Reading, Scenario, Subject } from "./harness.js";
import type { Load } from "./meter.js";
import { Pair } from "./pair.js";
import type { Transport } from "./record.js";
import { BlockingPinger, EventPinger, eventEcho, type PingRequest, type PingResult, STOP_SEQUENCE } from "./rtt.js";
import type { Operations, SideSetup, Sides } from "./side.js";
import { type Address, acceptOne, connectOne, isSocketTransport, loadTransport } from "./transports.js";

type Ring = ReturnType<typeof openRing>;

const STREAMS: readonly Transport[] = ["ring", "smcd", "smcd-copy", "tcp", "uds", "messageport"];
/** Longest sleep of a ring side in one wait, ms. */
const RING_WAIT_MS = 1000;

function cases(quick: boolean): readonly Case[] {
  const busy = (bytes: number, cpus: number): Case => ({
    params: { bytes, mode: "busy", cpus },
    transports: bytes === 14 && cpus > 1 ? ["floor", ...STREAMS] : STREAMS,
    ...(quick ? { rounds: 3, durationMs: 20 } : { rounds: 5, durationMs: 500 }),
  });
  const parked = (cpus: number): Case => ({
    ...busy(14, cpus),
    params: { bytes: 14, mode: "parked", cpus },
    transports: STREAMS,
  });
  const rested = (cpus: number): Case => ({
    params: { bytes: 14, mode: "rested", cpus },
    transports: STREAMS,
    ...(quick ? { rounds: 3, durationMs: 100 } : { rounds: 7, durationMs: 1000 }),
  });
  if (quick) return [busy(14, 2), busy(65_536, 2), { ...parked(2), transports: ["smcd", "tcp"] }];
  return [
    ...[14, 1024, 16_384, 65_536].map((bytes) => busy(bytes, 2)),
    ...[busy(14, 1), parked(2), parked(1), rested(2), rested(1)],
  ];
}

export interface EchoSide extends Operations {
  listen(argument: undefined): Promise<Address | undefined>;
  ready(argument: undefined): Promise<void>;
  /** Answers one round where nobody calls back: blocks until the client's last message. */
  serve(argument: undefined): void;
  close(argument: undefined): void;
}
export interface PingSide extends Operations {
  connect(address: Address | undefined): Promise<void>;
  round(request: PingRequest): Promise<PingResult>;
  close(argument: undefined): void;
}

function readWhole(ring: Ring, target: Buffer): void {
  let filled = 0;
  while (filled < target.length) {
    const length = ring.read(filled === 0 ? target : target.subarray(filled));
    if (length > 0) filled += length;
    else if (length < 0) throw new Error("the ring ended in the middle of a message");
    else ring.wait(RING_WAIT_MS);
  }
}

function writeWhole(ring: Ring, source: Buffer): void {
  let done = ring.write(source);
  while (done < source.length) {
    ring.wait(RING_WAIT_MS);
    done += ring.write(source.subarray(done));
  }
}

function serveRing(ring: Ring, bytes: number): void {
  const message = Buffer.allocUnsafeSlow(bytes);
  do {
    readWhole(ring, message);
    writeWhole(ring, message);
  } while (message.readUInt32LE(0) !== STOP_SEQUENCE);
}

async function echoSide(setup: SideSetup): Promise<EchoSide> {
  const { transport, params, shared, port } = setup;
  const bytes = params.bytes!;
  let server: Server | undefined;
  let accepted: Promise<Socket> | undefined;
  let socket: Socket | undefined;
  let ring: Ring | undefined;
  return {
    async listen() {
      if (transport === "messageport") servePort(port!, bytes);
      if (transport === "messageport" || transport === "floor") return undefined;
      const acceptance = await acceptOne(setup, (socket) => {
        if (isSocketTransport(transport))
          socket.on(
            "data",
            eventEcho(bytes, (message) => socket.write(message)),
          );
      });
      ({ server, accepted } = acceptance);
      return acceptance.address;
    },
    async ready() {
      socket = await accepted;
      if (transport === "ring") ring = (await import("smcnet/ring")).openRing(socket!);
    },
    serve() {
      if (transport === "floor") serveWord(new Int32Array(shared!));
      else if (ring) serveRing(ring, bytes);
    },
    close() {
      ring?.close();
      socket?.destroy();
      server?.close();
      port?.close();
    },
  };
}

async function pingSide(setup: SideSetup): Promise<PingSide> {
  const { transport, params, shared, port } = setup;
  const bytes = params.bytes!;
  let socket: Socket | undefined;
  let ring: Ring | undefined;
  let pinger: EventPinger | BlockingPinger | undefined;
  return {
    async connect(address) {
      if (transport === "messageport") pinger = portPinger(port!, bytes);
      if (!address) return;
      const connected = await connectOne(await loadTransport(setup), address);
      socket = connected;
      if (isSocketTransport(transport)) {
        const events = new EventPinger(bytes, (message) => connected.write(message));
        connected.on("data", (piece: Buffer) => events.receive(piece));
        pinger = events;
      } else {
        const opened = (await import("smcnet/ring")).openRing(connected);
        ring = opened;
        pinger = new BlockingPinger(bytes, (message, reply) => {
          writeWhole(opened, message);
          readWhole(opened, reply);
        });
      }
    },
    async round(request) {
      return pinger ? pinger.run(request) : pingWord(new Int32Array(shared!), bytes, request);
    },
    close() {
      ring?.close();
      socket?.destroy();
      port?.close();
    },
  };
}

function readingsOf(result: PingResult, load: Load, mode: PingRequest["mode"]): readonly Reading[] {
  const { p50, p99, p999 } = result;
  const half: Reading = { metric: "rtt_p50", value: p50, load };
  // A rested round has too few round trips for its outer percentiles to mean anything.
  if (mode === "rested") return [half];
  return [half, { metric: "rtt_p99", value: p99, load }, { metric: "rtt_p999", value: p999, load }];
}

async function open(transport: Transport, { params, durationMs }: Case): Promise<Subject> {
  const mode = params.mode!;
  const pair = new Pair<EchoSide, PingSide>("pingpong", transport, params);
  await pair.client.call("connect", await pair.server.call("listen", undefined));
  await pair.server.call("ready", undefined);
  const round = async (request: PingRequest) => {
    const [result] = await Promise.all([pair.client.call("round", request), pair.server.call("serve", undefined)]);
    return result;
  };
  return {
    async warmUp() {
      await round({ mode: "busy", durationMs: durationMs / 2 });
    },
    async round() {
      const { result, load } = await pair.meter(() => round({ mode, durationMs }));
      return readingsOf(result, load, mode);
    },
    close: () => pair.close(),
  };
}

export const scenario: Scenario = { name: "pingpong", isolated: false, cases, open };
export const sides: Sides = { server: echoSide, client: pingSide };
