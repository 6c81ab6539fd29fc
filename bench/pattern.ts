/**
 * The stream every one-way bench sends: bytes that are known from their position, and the receiver's account of them.
 *
 * Owns the pattern and the check. Knows nothing of sockets and rings.
 *
 * The period is no divisor of any ring size, so that a byte out of its turn, a lost one and a stale one all show; it is a
 * multiple of 8, so that writes start where an application's buffers do.
 */

import { nowUs } from "./clock.js";

/** Bytes after which the pattern starts again; 509 is a prime. */
export const PERIOD = 8 * 509;
const LONGEST_WRITE = 1 << 20;

const pattern = Buffer.allocUnsafeSlow(PERIOD + LONGEST_WRITE);
for (let at = 0, state = 0x2545f491; at < PERIOD; at++) {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  pattern[at] = state >>> 24;
}
for (let at = PERIOD; at < pattern.length; at += PERIOD)
  pattern.copy(pattern, at, 0, Math.min(PERIOD, pattern.length - at));

/** `length` bytes (at most 1 MiB) of the stream from position `at`: a view, not to be written to. */
export function patternAt(at: number, length: number): Buffer {
  const phase = at % PERIOD;
  return pattern.subarray(phase, phase + length);
}

/** The writes of `bytes` each that make up the stream, in order, until it repeats: at most PERIOD views. */
export function patternWrites(bytes: number): readonly Buffer[] {
  const writes: Buffer[] = [];
  let at = 0;
  do {
    writes.push(patternAt(at, bytes));
    at = (at + bytes) % PERIOD;
  } while (at !== 0);
  return writes;
}

/**
 * What has arrived on one connection since it was opened.
 *
 * While `strict`, each byte is compared; otherwise the first and the last of each piece, so that the check is not what is
 * measured. Throws at the first byte that is not the stream's.
 */
export class Receipt {
  strict = true;
  received = 0;
  /** When the newest piece came, µs of `nowUs`. */
  lastUs = 0;
  #phase = 0;
  #awaited = Number.POSITIVE_INFINITY;
  #reached: ((lastUs: number) => void) | undefined;

  /** Account for the first `length` bytes of `piece`. */
  take(piece: Uint8Array, length: number): void {
    const phase = this.#phase;
    if (this.strict) this.#compareAll(piece, length);
    else if (piece[0] !== pattern[phase] || piece[length - 1] !== pattern[(phase + length - 1) % PERIOD])
      this.#refuse();
    this.#phase = (phase + length) % PERIOD;
    this.received += length;
    this.lastUs = nowUs();
    if (this.received >= this.#awaited) this.#settle();
  }

  /** Resolves with the arrival of byte number `total`, µs of `nowUs`. One call at a time. */
  reached(total: number): Promise<number> {
    return new Promise((resolve) => {
      this.#awaited = total;
      this.#reached = resolve;
      if (this.received >= total) this.#settle();
    });
  }

  #settle(): void {
    if (this.received > this.#awaited)
      throw new Error(`${this.received} bytes arrived of ${this.#awaited} that were sent`);
    this.#awaited = Number.POSITIVE_INFINITY;
    this.#reached?.(this.lastUs);
  }

  #compareAll(piece: Uint8Array, length: number): void {
    for (let done = 0; done < length; ) {
      const span = Math.min(length - done, LONGEST_WRITE);
      const expected = patternAt(this.#phase + done, span);
      if (expected.compare(piece, done, done + span) !== 0) this.#refuse();
      done += span;
    }
  }

  #refuse(): never {
    throw new Error(`the stream is damaged in the piece that begins at byte ${this.received}`);
  }
}
