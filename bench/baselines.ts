/**
 * What SMC is compared with and that is no socket: one word bounced between two threads, and MessagePort. Both exist
 * between threads only.
 *
 * Owns their ping-pong and their flow. tcp and uds are sockets and run the code that smcd runs.
 */
import type { MessagePort } from "node:worker_threads";
import { nowUs } from "./clock.js";
import type { FlowSender, Sent } from "./flow.js";
import { patternWrites, type Receipt } from "./pattern.js";
import { BlockingPinger, EventPinger, eventEcho, type PingRequest, type PingResult, STOP_SEQUENCE } from "./rtt.js";

/** Word values beside sequence numbers 0, 1, 2, …: a ping is `2 * turn + 1`, its pong one more. */
const STOPPED = -1;

/** Answers pings in one shared word, both sides spinning, until the stop. Blocks the thread. */
export function serveWord(word: Int32Array): void {
  for (;;) {
    const value = Atomics.load(word, 0);
    if ((value & 1) === 0) continue;
    if (value === STOPPED) return void Atomics.store(word, 0, 0);
    Atomics.store(word, 0, value + 1);
  }
}

/** The floor: the round trip of one cache line. The message itself stays where it is. */
export function pingWord(word: Int32Array, bytes: number, request: PingRequest): PingResult {
  let turn = 0;
  const pinger = new BlockingPinger(bytes, (message, reply) => {
    turn = (turn + 2) & 0x3fffffff;
    const stop = message.readUInt32LE(0) === STOP_SEQUENCE;
    const pong = stop ? 0 : turn;
    Atomics.store(word, 0, stop ? STOPPED : turn - 1);
    while (Atomics.load(word, 0) !== pong);
    reply.set(message);
  });
  return pinger.run(request);
}

export function servePort(port: MessagePort, bytes: number): void {
  port.on(
    "message",
    eventEcho(bytes, (message) => port.postMessage(message)),
  );
}

export function portPinger(port: MessagePort, bytes: number): EventPinger {
  const pinger = new EventPinger(bytes, (message) => port.postMessage(message));
  port.on("message", (piece: Uint8Array) => pinger.receive(piece));
  return pinger;
}

/** A MessagePort queues without bound: no more than this lies in it, bytes and messages. */
const WINDOW_BYTES = 4 << 20;
const WINDOW_MESSAGES = 1024;
/** From here on a copy that is transferred is cheaper than a clone, bytes. */
const TRANSFER_FROM = 16_384;

/** Messages that may be under way. The receiver acknowledges each quarter of them. */
function windowOf(bytes: number): number {
  return Math.max(4, Math.min(WINDOW_MESSAGES, Math.floor(WINDOW_BYTES / bytes)));
}

export class PortSender implements FlowSender {
  readonly #port: MessagePort;
  readonly #bytes: number;
  readonly #messages: readonly Uint8Array[];
  readonly #window: number;
  #sent = 0;
  #acknowledged = 0;
  #resume: (() => void) | undefined;

  constructor(port: MessagePort, bytes: number) {
    this.#port = port;
    this.#bytes = bytes;
    this.#window = windowOf(bytes);
    const writes = patternWrites(bytes);
    this.#messages = bytes < TRANSFER_FROM ? writes.map((write) => Uint8Array.from(write)) : writes;
    port.on("message", (messages: number) => {
      this.#acknowledged += messages;
      this.#resume?.();
    });
  }

  async send(durationMs: number): Promise<Sent> {
    const startedUs = nowUs();
    const untilUs = startedUs + durationMs * 1000;
    while (nowUs() < untilUs) {
      while (this.#sent - this.#acknowledged < this.#window) this.#post();
      await new Promise<void>((resolve) => {
        this.#resume = resolve;
      });
    }
    return { startedUs, total: this.#sent * this.#bytes };
  }

  #post(): void {
    const message = this.#messages[this.#sent++ % this.#messages.length]!;
    if (this.#bytes < TRANSFER_FROM) this.#port.postMessage(message);
    else {
      const copy = Uint8Array.from(message);
      this.#port.postMessage(copy, [copy.buffer]);
    }
  }
}

export function receivePort(port: MessagePort, bytes: number, receipt: Receipt): void {
  const quarter = windowOf(bytes) >> 2;
  let unacknowledged = 0;
  port.on("message", (piece: Uint8Array) => {
    receipt.take(piece, piece.length);
    if (++unacknowledged < quarter) return;
    port.postMessage(unacknowledged);
    unacknowledged = 0;
  });
}
