/**
 * One-way traffic: one side writes as fast as it is allowed, the other takes, counts and checks.
 *
 * Owns the senders and receivers over sockets and rings, and the sides that `stream` and `msgrate` share. The receiver is
 * the connecting side, because only a connecting `net.Socket` takes the `onread` option. Knows nothing of metrics.
 */
import type { Server, Socket } from "node:net";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { openRing } from "smcnet/ring";
import { PortSender, receivePort } from "./baselines.js";
import { nowUs } from "./clock.js";
import { patternWrites, Receipt } from "./pattern.js";
import type { Operations, SideSetup } from "./side.js";
import { type Address, acceptOne, connectOne, isSocketTransport, loadTransport } from "./transports.js";

type Ring = ReturnType<typeof openRing>;

/** `total` counts from the opening of the connection, bytes. */
export interface Sent {
  readonly startedUs: number;
  readonly total: number;
}

export interface FlowSender {
  /** Writes for `durationMs`. Resolves when the last write has been accepted, not when it has arrived. */
  send(durationMs: number): Promise<Sent>;
}

/** Writes in one loop turn at most, so that a sender that is never refused still serves its event loop. */
const WRITES_PER_TURN = 256;
/** Buffer of an `onread` receiver and of a ring reader, bytes. */
const READ_BUFFER = 65_536;
/** Longest sleep of a ring reader before it looks whether it was told the total, ms. */
const RING_WAIT_MS = 5;

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
    const startedUs = nowUs();
    const untilUs = startedUs + durationMs * 1000;
    return new Promise((resolve) => {
      const turn = () => {
        if (nowUs() >= untilUs) return resolve({ startedUs, total: this.#total });
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
export async function connectReceiver(setup: SideSetup, address: Address, receipt: Receipt): Promise<Socket> {
  const way = await loadTransport(setup);
  if (setup.params.receive !== "onread") {
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
  #next = 0;
  #total = 0;

  constructor(ring: Ring, bytes: number) {
    this.#ring = ring;
    this.#bytes = bytes;
    this.#writes = patternWrites(bytes);
  }

  async send(durationMs: number): Promise<Sent> {
    const startedUs = nowUs();
    const untilUs = startedUs + durationMs * 1000;
    while (nowUs() < untilUs) for (let count = 0; count < WRITES_PER_TURN; count++) this.#write();
    return { startedUs, total: this.#total };
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

/** Reads until all has come. Blocks the thread; the event loop, which may be told the total, has a turn after a pause. */
async function drainRing(ring: Ring, receipt: Receipt, complete: () => boolean): Promise<void> {
  const buffer = Buffer.allocUnsafeSlow(READ_BUFFER);
  while (!complete()) {
    const length = ring.read(buffer);
    if (length > 0) receipt.take(buffer, length);
    else if (length < 0) throw new Error("the ring ended in the middle of a round");
    else if (!ring.wait(RING_WAIT_MS, "bytes")) await nextTurn();
  }
}

export interface SenderSide extends Operations {
  listen(argument: undefined): Promise<Address | undefined>;
  /** Resolves when the connection is there. */
  ready(argument: undefined): Promise<void>;
  send(durationMs: number): Promise<Sent>;
  close(argument: undefined): void;
}

export interface ReceiverSide extends Operations {
  connect(address: Address | undefined): Promise<void>;
  /** Takes a whole round where nobody calls back, until `arrived` has told how long it is. `strict`: compare each byte. */
  drain(strict: boolean): Promise<void>;
  /** Resolves with the arrival of byte `total`, µs of `nowUs`. */
  arrived(total: number): Promise<number>;
  close(argument: undefined): void;
}

export async function senderSide(setup: SideSetup): Promise<SenderSide> {
  const { transport, params, port } = setup;
  const bytes = params.bytes!;
  let server: Server | undefined;
  let accepted: Promise<Socket> | undefined;
  let socket: Socket | undefined;
  let ring: Ring | undefined;
  let sender: FlowSender | undefined;
  return {
    async listen() {
      if (transport === "messageport") return undefined;
      const acceptance = await acceptOne(setup);
      ({ server, accepted } = acceptance);
      return acceptance.address;
    },
    async ready() {
      socket = await accepted;
      if (!socket) sender = new PortSender(port!, bytes);
      else if (isSocketTransport(transport)) sender = new SocketSender(socket, bytes);
      else {
        ring = (await import("smcnet/ring")).openRing(socket);
        sender = new RingSender(ring, bytes);
      }
    },
    send: (durationMs) => sender!.send(durationMs),
    close() {
      ring?.close();
      socket?.destroy();
      server?.close();
      port?.close();
    },
  };
}

export async function receiverSide(setup: SideSetup): Promise<ReceiverSide> {
  const { transport, params, port } = setup;
  const receipt = new Receipt();
  /** Bytes at the end of the round, once they are known. */
  let total: number | undefined;
  let socket: Socket | undefined;
  let ring: Ring | undefined;
  return {
    async connect(address) {
      if (!address) return receivePort(port!, params.bytes!, receipt);
      if (isSocketTransport(transport)) {
        socket = await connectReceiver(setup, address, receipt);
        return;
      }
      socket = await connectOne(await loadTransport(setup), address);
      ring = (await import("smcnet/ring")).openRing(socket);
    },
    async drain(strict) {
      receipt.strict = strict;
      total = undefined;
      if (ring) await drainRing(ring, receipt, () => receipt.received === total);
    },
    arrived(bytes) {
      total = bytes;
      return receipt.reached(bytes);
    },
    close() {
      ring?.close();
      socket?.destroy();
      port?.close();
    },
  };
}
