/**
 * One-way traffic: one side writes as fast as it is allowed, the other takes, counts and checks.
 *
 * Owns the senders and receivers over sockets and rings, and the sides that `stream` and `msgrate` share. The receiver is
 * the connecting side, because only a connecting `net.Socket` takes the `onread` option. Knows nothing of metrics.
 */
import type { Server, Socket } from "node:net";
import type { openRing } from "smcnet/ring";
import { PortSender, receivePort } from "./baselines.js";
import { type Load, nowUs, startMeter } from "./clock.js";
import type { Operations, SideSetup } from "./pair.js";
import { patternWrites, Receipt } from "./pattern.js";
import { type Address, acceptOne, connectOne, isSocketTransport, loadTransport } from "./transports.js";

type Ring = ReturnType<typeof openRing>;

/** `total` counts from the opening of the connection, bytes. */
export interface Sent {
  readonly startedUs: number;
  readonly total: number;
  readonly load: Load;
}

export interface FlowSender {
  /** Writes for `durationMs`. Resolves when the last write has been accepted, not when it has arrived. */
  send(durationMs: number): Promise<Sent>;
}

/** Writes in one loop turn at most, so that a sender that is never refused still serves its event loop. */
const WRITES_PER_TURN = 256;
/** Buffer of an `onread` receiver and of a ring reader, bytes. */
const READ_BUFFER = 65_536;
/** Longest sleep of a ring reader before it asks whether the sender has finished, ms. */
const RING_WAIT_MS = 5;
/** Index in the shared memory, 8-byte words: total of a finished round, or -1 while one runs. */
const TOTAL_WORD = 1;
const RUNNING = -1n;

export class SocketSender implements FlowSender {
  readonly #socket: Socket;
  readonly #bytes: number;
  readonly #writes: readonly Buffer[];
  #next = 0;
  #total = 0;

  constructor(socket: Socket, bytes: number) {
    this.#socket = socket;
    this.#bytes = bytes;
    this.#writes = patternWrites(bytes);
  }

  send(durationMs: number): Promise<Sent> {
    const stopMeter = startMeter();
    const startedUs = nowUs();
    const untilUs = startedUs + durationMs * 1000;
    return new Promise((resolve) => {
      const turn = () => {
        if (nowUs() >= untilUs) return resolve({ startedUs, total: this.#total, load: stopMeter() });
        for (let count = 0; count < WRITES_PER_TURN; count++)
          if (!this.#write()) return void this.#socket.once("drain", turn);
        setImmediate(turn);
      };
      turn();
    });
  }

  #write(): boolean {
    const more = this.#socket.write(this.#writes[this.#next]!);
    this.#next = (this.#next + 1) % this.#writes.length;
    this.#total += this.#bytes;
    return more;
  }
}

/** A connection whose bytes go to `receipt`, by `onread` if the parameters say so, else by `data` events. */
export async function connectReceiver(
  { transport, params }: SideSetup,
  address: Address,
  receipt: Receipt,
): Promise<Socket> {
  const way = await loadTransport(transport);
  if (params.receive !== "onread") {
    const socket = await connectOne(way, address);
    socket.on("data", (piece: Buffer) => receipt.take(piece, piece.length));
    return socket;
  }
  const buffer = Buffer.allocUnsafeSlow(READ_BUFFER);
  const callback = (length: number, piece: Uint8Array) => {
    receipt.take(piece, length);
    return true;
  };
  return connectOne(way, address, { buffer, callback });
}

/** Writes into a ring, sleeping while it is full. Blocks the thread while it sends. */
class RingSender implements FlowSender {
  readonly #ring: Ring;
  readonly #bytes: number;
  readonly #writes: readonly Buffer[];
  readonly #words: BigInt64Array;
  #next = 0;
  #total = 0;

  constructor(ring: Ring, bytes: number, words: BigInt64Array) {
    this.#ring = ring;
    this.#bytes = bytes;
    this.#writes = patternWrites(bytes);
    this.#words = words;
  }

  async send(durationMs: number): Promise<Sent> {
    const stopMeter = startMeter();
    const startedUs = nowUs();
    const untilUs = startedUs + durationMs * 1000;
    while (nowUs() < untilUs) for (let count = 0; count < WRITES_PER_TURN; count++) this.#write();
    Atomics.store(this.#words, TOTAL_WORD, BigInt(this.#total));
    return { startedUs, total: this.#total, load: stopMeter() };
  }

  #write(): void {
    const write = this.#writes[this.#next]!;
    let done = this.#ring.write(write);
    while (done < write.length) {
      this.#ring.wait(RING_WAIT_MS);
      done += this.#ring.write(done === 0 ? write : write.subarray(done));
    }
    this.#next = (this.#next + 1) % this.#writes.length;
    this.#total += this.#bytes;
  }
}

/** Reads until the sender's total has come. Blocks the thread. */
function drainRing(ring: Ring, receipt: Receipt, words: BigInt64Array): void {
  const buffer = Buffer.allocUnsafeSlow(READ_BUFFER);
  for (;;) {
    const length = ring.read(buffer);
    if (length > 0) receipt.take(buffer, length);
    else if (length < 0) throw new Error("the ring ended in the middle of a round");
    else if (Atomics.load(words, TOTAL_WORD) === BigInt(receipt.received)) return;
    else ring.wait(RING_WAIT_MS);
  }
}

export interface SenderSide extends Operations {
  listen(argument: undefined): Promise<Address | undefined>;
  /** Resolves when the connection is there. */
  ready(argument: undefined): Promise<void>;
  /** Before each `send`; the receiver's `drain` may then start. */
  prepare(argument: undefined): void;
  send(durationMs: number): Promise<Sent>;
  close(argument: undefined): void;
}

export interface ReceiverSide extends Operations {
  connect(address: Address | undefined): Promise<void>;
  /** Takes a whole round where nobody calls back. `strict`: compare each byte. */
  drain(strict: boolean): void;
  /** Resolves with the arrival of byte `total`, µs. */
  arrived(total: number): Promise<number>;
  close(argument: undefined): void;
}

export async function senderSide({ transport, params, shared, port }: SideSetup): Promise<SenderSide> {
  const bytes = params.bytes!;
  const words = new BigInt64Array(shared);
  let server: Server | undefined;
  let accepted: Promise<Socket> | undefined;
  let socket: Socket | undefined;
  let ring: Ring | undefined;
  let sender: FlowSender | undefined;
  return {
    async listen() {
      if (transport === "messageport") return undefined;
      const acceptance = await acceptOne(transport);
      ({ server, accepted } = acceptance);
      return acceptance.address;
    },
    async ready() {
      socket = await accepted;
      if (!socket) sender = new PortSender(port, bytes);
      else if (isSocketTransport(transport)) sender = new SocketSender(socket, bytes);
      else {
        ring = (await import("smcnet/ring")).openRing(socket);
        sender = new RingSender(ring, bytes, words);
      }
    },
    prepare: () => void Atomics.store(words, TOTAL_WORD, RUNNING),
    send: (durationMs) => sender!.send(durationMs),
    close() {
      ring?.close();
      socket?.destroy();
      server?.close();
      port.close();
    },
  };
}

export async function receiverSide(setup: SideSetup): Promise<ReceiverSide> {
  const { transport, params, shared, port } = setup;
  const words = new BigInt64Array(shared);
  const receipt = new Receipt();
  let socket: Socket | undefined;
  let ring: Ring | undefined;
  return {
    async connect(address) {
      if (!address) return receivePort(port, params.bytes!, receipt);
      if (isSocketTransport(transport)) {
        socket = await connectReceiver(setup, address, receipt);
        return;
      }
      socket = await connectOne(await loadTransport(transport), address);
      ring = (await import("smcnet/ring")).openRing(socket);
    },
    drain(strict) {
      receipt.strict = strict;
      if (ring) drainRing(ring, receipt, words);
    },
    arrived: (total) => receipt.reached(total),
    close() {
      ring?.close();
      socket?.destroy();
      port.close();
    },
  };
}
