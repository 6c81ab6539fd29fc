/**
 * Round trips: sends a message, waits for its echo, compares it, and keeps the time between.
 *
 * Owns the message's form, the loop of a client that is called back and of one that blocks, and the percentiles. Knows
 * nothing of what carries the message. Comparing lies outside the time kept; one clock read (some 40 ns) lies inside.
 */
import { nowUs } from "./clock.js";
import { patternAt } from "./pattern.js";
import { percentile } from "./statistics.js";

/** Sequence number that ends a blocking echo loop. */
export const STOP_SEQUENCE = 0xffffffff;
/** Round trips kept in a round; a round ends when they are full. */
const RTT_CAPACITY = 200_000;
/** Rest before each rested round trip, ms: long enough for caches to go cold and CPUs to sleep. */
const REST_MS = 110;

export interface PingRequest {
  readonly mode: "busy" | "parked" | "rested";
  /** Length of the round, ms; rested, that is one round trip for each rest in it. */
  readonly durationMs: number;
}

/** One round: percentiles, µs; how many round trips there were, and from when to when, µs of `nowUs`. */
export interface PingResult {
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly count: number;
  readonly startedUs: number;
  readonly endedUs: number;
}

/** A message of `bytes` (at least 14): u32 sequence number, then pattern. It has a buffer of its own. */
export function pingMessage(bytes: number): Buffer {
  const message = Buffer.allocUnsafeSlow(bytes);
  patternAt(0, bytes).copy(message);
  return message;
}

/** The round trips of one round. */
class Account {
  readonly #times = new Float64Array(RTT_CAPACITY);
  readonly #startedUs = nowUs();
  readonly #rested: boolean;
  readonly #pings: number;
  readonly #untilMs: number;
  #count = 0;

  constructor({ mode, durationMs }: PingRequest) {
    this.#rested = mode === "rested";
    this.#pings = Math.ceil(durationMs / REST_MS);
    this.#untilMs = performance.now() + durationMs;
  }

  /** Keep the time between two readings of `performance.now`. */
  add(sentMs: number, receivedMs: number): void {
    this.#times[this.#count++] = (receivedMs - sentMs) * 1000;
  }

  over(nowMs: number): boolean {
    if (this.#count === RTT_CAPACITY) return true;
    return this.#rested ? this.#count >= this.#pings : nowMs >= this.#untilMs;
  }

  result(): PingResult {
    const period = { count: this.#count, startedUs: this.#startedUs, endedUs: nowUs() };
    const times = this.#times.subarray(0, this.#count).sort();
    return { p50: percentile(times, 0.5), p99: percentile(times, 0.99), p999: percentile(times, 0.999), ...period };
  }
}

function checkEcho(message: Buffer, reply: Uint8Array): void {
  if (message.compare(reply) !== 0) throw new Error(`the echo of message ${message.readUInt32LE(0)} differs from it`);
}

/** The client of a transport that calls back: give it each piece that arrives. */
export class EventPinger {
  readonly #message: Buffer;
  readonly #reply: Buffer;
  readonly #send: (message: Buffer) => void;
  #filled = 0;
  #sequence = 0;
  #sentMs = 0;
  #mode: PingRequest["mode"] = "busy";
  #account: Account | undefined;
  #finish: { resolve(result: PingResult): void; reject(error: unknown): void } | undefined;

  constructor(bytes: number, send: (message: Buffer) => void) {
    this.#message = pingMessage(bytes);
    this.#reply = Buffer.allocUnsafeSlow(bytes);
    this.#send = send;
  }

  run(request: PingRequest): Promise<PingResult> {
    return new Promise((resolve, reject) => {
      this.#finish = { resolve, reject };
      this.#mode = request.mode;
      this.#account = new Account(request);
      this.#next();
    });
  }

  receive(piece: Uint8Array): void {
    if (this.#filled + piece.length > this.#reply.length) throw new Error("more bytes came back than were sent");
    if (piece.length < this.#reply.length) {
      this.#reply.set(piece, this.#filled);
      this.#filled += piece.length;
      if (this.#filled < this.#reply.length) return;
      this.#filled = 0;
      this.#received(this.#reply);
    } else this.#received(piece);
  }

  #received(reply: Uint8Array): void {
    const receivedMs = performance.now();
    const account = this.#account;
    if (!account) throw new Error("an echo came that nobody waits for");
    account.add(this.#sentMs, receivedMs);
    checkEcho(this.#message, reply);
    if (account.over(receivedMs)) {
      this.#account = undefined;
      this.#finish?.resolve(account.result());
    } else this.#next();
  }

  #next(): void {
    if (this.#mode === "rested") setTimeout(() => this.#ping(), REST_MS);
    else this.#ping();
  }

  #ping(): void {
    this.#message.writeUInt32LE(this.#sequence, 0);
    this.#sequence = (this.#sequence + 1) % STOP_SEQUENCE;
    this.#sentMs = performance.now();
    this.#send(this.#message);
  }
}

/** The server of a transport that calls back: answers each whole message with itself. */
export function eventEcho(bytes: number, send: (message: Uint8Array) => void): (piece: Uint8Array) => void {
  const message = Buffer.allocUnsafeSlow(bytes);
  let filled = 0;
  return (piece) => {
    if (filled === 0 && piece.length === bytes) return send(piece);
    message.set(piece, filled);
    filled += piece.length;
    if (filled < bytes) return;
    filled = 0;
    send(message);
  };
}

/** The client of a transport that blocks: `exchange` sends the message and returns when the reply is whole. */
export class BlockingPinger {
  readonly #message: Buffer;
  readonly #reply: Buffer;
  readonly #exchange: (message: Buffer, reply: Buffer) => void;
  readonly #never = new Int32Array(new SharedArrayBuffer(4));
  #sequence = 0;

  constructor(bytes: number, exchange: (message: Buffer, reply: Buffer) => void) {
    this.#message = pingMessage(bytes);
    this.#reply = Buffer.allocUnsafeSlow(bytes);
    this.#exchange = exchange;
  }

  run(request: PingRequest): PingResult {
    const account = new Account(request);
    for (let receivedMs = 0; !account.over(receivedMs); ) {
      if (request.mode === "rested") Atomics.wait(this.#never, 0, 0, REST_MS);
      this.#message.writeUInt32LE(this.#sequence, 0);
      this.#sequence = (this.#sequence + 1) % STOP_SEQUENCE;
      const sentMs = performance.now();
      this.#exchange(this.#message, this.#reply);
      receivedMs = performance.now();
      account.add(sentMs, receivedMs);
      checkEcho(this.#message, this.#reply);
    }
    const result = account.result();
    this.#message.writeUInt32LE(STOP_SEQUENCE, 0);
    this.#exchange(this.#message, this.#reply);
    return result;
  }
}
