/**
 * A byte stream whose every position is known: the sender takes spans of it, the receiver checks each chunk where it stands.
 *
 * Owns the pattern and its verifier. Knows nothing of rings or sockets. A lost, doubled, moved or foreign byte is reported with
 * its stream offset and, where it can be told, with the offset the bytes really belong to.
 */
import { Prng } from "./prng.js";

/** Length after which the pattern repeats, bytes: a prime, so that it is in step with no ring size. */
export const SEQUENCE_PERIOD = 1_048_573;
/** Longest span of one call, bytes. */
export const SPAN_MAX = 1 << 20;

const blocks = new Map<number, Buffer>();

/** The pattern of a seed, [(SEQUENCE_PERIOD + SPAN_MAX) bytes], so that each span lies in one piece. */
function blockOf(seed: number): Buffer {
  let block = blocks.get(seed);
  if (block === undefined) {
    block = Buffer.allocUnsafeSlow(SEQUENCE_PERIOD + SPAN_MAX);
    new Prng(seed).fill(block.subarray(0, SEQUENCE_PERIOD));
    block.copy(block, SEQUENCE_PERIOD, 0, SPAN_MAX);
    if (blocks.size >= 8) blocks.delete(blocks.keys().next().value!);
    blocks.set(seed, block);
  }
  return block;
}

/** The endless stream of a seed. */
export class Sequence {
  readonly #block: Buffer;

  constructor(readonly seed: number) {
    this.#block = blockOf(seed);
  }

  /** View of the bytes at stream offset `offset`; not to be written to. Takes: `length` bytes, 0..SPAN_MAX. */
  span(offset: number, length: number): Buffer {
    if (length > SPAN_MAX) throw new RangeError(`span of ${length} bytes: allowed are ${SPAN_MAX}`);
    const phase = offset % SEQUENCE_PERIOD;
    return this.#block.subarray(phase, phase + length);
  }

  /** Errors: throws unless `chunk` is exactly what stands at stream offset `offset`. */
  check(chunk: Uint8Array, offset: number): void {
    for (let at = 0; at < chunk.length; at += SPAN_MAX) {
      const part = chunk.subarray(at, at + SPAN_MAX);
      if (this.span(offset + at, part.length).equals(part)) continue;
      let bad = 0;
      while (part[bad] === this.span(offset + at + bad, 1)[0]) bad++;
      const found = Buffer.from(part.subarray(bad, bad + 24));
      const elsewhere = found.length < 8 ? -1 : this.#block.indexOf(found);
      throw new Error(
        `stream offset ${offset + at + bad} (byte ${at + bad} of a chunk of ${chunk.length}): ` +
          `expected ${this.span(offset + at + bad, found.length).toString("hex")}, found ${found.toString("hex")}` +
          (elsewhere < 0 ? "" : `, which stands at ${elsewhere} (mod ${SEQUENCE_PERIOD})`),
      );
    }
  }
}

/** Receiving side: checks chunk after chunk and counts them. */
export class Verifier {
  readonly #sequence: Sequence;
  /** Bytes checked so far: the stream offset that comes next. */
  received = 0;

  constructor(seed: number) {
    this.#sequence = new Sequence(seed);
  }

  /** Errors: throws at the first byte that is not the next one of the stream. */
  push(chunk: Uint8Array): void {
    this.#sequence.check(chunk, this.received);
    this.received += chunk.length;
  }
}
