/**
 * Cutting CLC messages out of a TCP stream, without losing or inventing a byte of it.
 *
 * Owns the bytes between the socket and the handshake: a whole message comes out, everything else can be taken back.
 * Looks at headers only; what a message says is the codecs' part. Node has no peek, so bytes are kept here instead.
 * Source: smc-protocol §2.6. differs: a header that no sender of CLC writes is "foreign", not an error, so that a peer
 * which does not speak SMC keeps its stream; lengths above CLC_MAX_LENGTH are such headers, so memory is bounded.
 */
import {
  CLC_HEADER_SIZE,
  CLC_MAX_LENGTH,
  CLC_MIN_LENGTH,
  CLC_TYPES,
  EYECATCHER_SMCD,
  EYECATCHER_SMCR,
} from "../wire/clc-header.js";

/** partial: more bytes are needed. message: one whole message, consumed. foreign: the bytes cannot be CLC, all kept. */
export type Framed =
  | { readonly type: "partial" }
  | { readonly type: "message"; readonly bytes: Uint8Array }
  | { readonly type: "foreign" };

const PARTIAL: Framed = { type: "partial" };
const FOREIGN: Framed = { type: "foreign" };
const NOTHING = new Uint8Array(0);

const EYECATCHERS = [EYECATCHER_SMCR, EYECATCHER_SMCD].map((word) =>
  Uint8Array.of(word >>> 24, word >>> 16, word >>> 8, word),
);

/** True if a CLC header can begin with these bytes (the first 8 are looked at). */
function canBeHeader(bytes: Uint8Array): boolean {
  const known = Math.min(bytes.length, 4);
  if (!EYECATCHERS.some((eyecatcher) => eyecatcher.every((byte, i) => i >= known || byte === bytes[i]))) return false;
  if (bytes.length < 5) return true;
  const type = CLC_TYPES[bytes[4] - 1];
  if (type === undefined) return false;
  if (bytes.length >= 6 && bytes[5] > CLC_MAX_LENGTH >> 8) return false;
  if (bytes.length >= 7) {
    const length = bytes[5] * 256 + bytes[6];
    if (length < CLC_MIN_LENGTH[type] || length > CLC_MAX_LENGTH) return false;
  }
  return bytes.length < CLC_HEADER_SIZE || bytes[7] >> 4 >= 1;
}

/** The bytes received and not yet used, in order. */
export class ClcFraming {
  #bytes: Uint8Array = NOTHING;

  /** Append what the socket delivered, which belongs to the framing from then on. */
  push(chunk: Uint8Array): void {
    if (this.#bytes.length === 0) {
      this.#bytes = chunk;
      return;
    }
    const joined = new Uint8Array(this.#bytes.length + chunk.length);
    joined.set(this.#bytes);
    joined.set(chunk, this.#bytes.length);
    this.#bytes = joined;
  }

  /** Look at the head of the bytes. Only "message" consumes; bytes that follow it stay for the next call. */
  next(): Framed {
    const bytes = this.#bytes;
    if (!canBeHeader(bytes)) return FOREIGN;
    if (bytes.length < CLC_HEADER_SIZE) return PARTIAL;
    const length = bytes[5] * 256 + bytes[6];
    if (bytes.length < length) return PARTIAL;
    if (bytes.length === length) {
      this.#bytes = NOTHING;
      return { type: "message", bytes };
    }
    this.#bytes = bytes.subarray(length);
    return { type: "message", bytes: bytes.subarray(0, length) };
  }

  /** Every byte not consumed, for the application; nothing is kept. */
  takeRest(): Uint8Array {
    const rest = this.#bytes;
    this.#bytes = NOTHING;
    return rest;
  }
}

/**
 * After a Decline that may have crossed a message of the peer: swallows that one message at the head of the stream.
 *
 * Holds bytes only while they can still be the beginning of a CLC message. Source: smc-protocol §2.8.
 */
export class LateFilter {
  readonly #framing: ClcFraming;
  #done = false;

  /** Goes on with what the handshake's framing still holds. */
  constructor(framing: ClcFraming) {
    this.#framing = framing;
  }

  /** True once the stream is the application's: nothing is held, `push` only passes on. */
  get done(): boolean {
    return this.#done;
  }

  /** Returns the bytes for the application, perhaps none. An empty chunk looks at what is held. */
  push(chunk: Uint8Array): Uint8Array {
    if (this.#done) return chunk;
    this.#framing.push(chunk);
    if (this.#framing.next().type === "partial") return NOTHING;
    return this.release();
  }

  /** No message comes any more (end of stream, deadline): returns what is held. */
  release(): Uint8Array {
    this.#done = true;
    return this.#framing.takeRest();
  }
}
