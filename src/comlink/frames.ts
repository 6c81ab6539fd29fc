/**
 * Messages in a byte stream: a length, a channel, the message.
 *
 *     0               4               8
 *    ┌───────────────┬───────────────┬────────────────┐
 *    │ length u32 le │ channel u32 le│ length bytes … │      length 0: the channel is closed
 *    └───────────────┴───────────────┴────────────────┘
 *
 * Owns the cutting up. Knows nothing of what the bytes mean, and believes no length above its bound.
 */
import { SmcError } from "../index.js";

/** Bytes before the message. */
export const HEAD_BYTES = 8;
/** First memory for a message that comes in pieces; doubled as they come, so that a length alone costs nothing. */
const FIRST_BYTES = 64 * 1024;

export interface Frame {
  readonly channel: number;
  /** A view of what was pushed: copy what is to stay. */
  readonly payload: Buffer;
}

/** Fills in the head of a message that was written behind HEAD_BYTES. */
export function seal(frame: Buffer, channel: number): Buffer {
  frame.writeUInt32LE(frame.length - HEAD_BYTES, 0);
  frame.writeUInt32LE(channel, 4);
  return frame;
}

export class FrameReader {
  readonly #maxBytes: number;
  /** What has come of the frame that is not complete: the first `#filled` bytes. */
  #partial: Buffer = Buffer.alloc(0);
  #filled = 0;

  /** Takes: maxBytes, longest message. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Whether the stream stands in the middle of a frame. */
  get isInside(): boolean {
    return this.#filled > 0;
  }

  /** The frames that `chunk` completes, in order. Errors: SmcError EPROTO for a length above the bound. */
  *push(chunk: Buffer): Generator<Frame> {
    let at = 0;
    while (this.#filled > 0 && at < chunk.length) {
      const wanted = this.#wanted(this.#partial.subarray(0, this.#filled));
      const end = Math.min(at + wanted - this.#filled, chunk.length);
      this.#keep(chunk.subarray(at, end), wanted);
      at = end;
      // Of the head, only that it is there: it says how much more is wanted.
      if (this.#filled < this.#wanted(this.#partial.subarray(0, this.#filled))) continue;
      const whole = this.#partial.subarray(0, this.#filled);
      this.#filled = 0;
      yield frameOf(whole);
    }
    while (at < chunk.length) {
      const rest = chunk.subarray(at);
      const wanted = this.#wanted(rest);
      if (rest.length < wanted) {
        this.#partial = Buffer.alloc(0);
        this.#keep(rest, wanted);
        return;
      }
      at += wanted;
      yield frameOf(rest.subarray(0, wanted));
    }
  }

  /** Bytes of the frame that begins with `bytes`; HEAD_BYTES until its head is there. */
  #wanted(bytes: Buffer): number {
    if (bytes.length < HEAD_BYTES) return HEAD_BYTES;
    const length = bytes.readUInt32LE(0);
    if (length > this.#maxBytes)
      throw new SmcError("EPROTO", `a message of ${length} bytes; allowed are ${this.#maxBytes}`, {
        length,
        maxFrameBytes: this.#maxBytes,
      });
    return HEAD_BYTES + length;
  }

  #keep(bytes: Buffer, wanted: number): void {
    const filled = this.#filled + bytes.length;
    if (filled > this.#partial.length) {
      const room = Math.min(wanted, Math.max(FIRST_BYTES, 2 * this.#partial.length, filled));
      const larger = Buffer.allocUnsafeSlow(room);
      this.#partial.copy(larger, 0, 0, this.#filled);
      this.#partial = larger;
    }
    bytes.copy(this.#partial, this.#filled);
    this.#filled = filled;
  }
}

function frameOf(whole: Buffer): Frame {
  return { channel: whole.readUInt32LE(4), payload: whole.subarray(HEAD_BYTES) };
}
