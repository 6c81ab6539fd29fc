/**
 * Bulk copies between JavaScript buffers and the arena. The only code that touches ring bytes outside wasm.
 *
 * Two ways behind one interface, chosen once a thread: through a plain alias of the arena (needs FFI; any alignment, 100
 * GB/s), or through the shared view, where the engine copies fast only if source and target are congruent modulo 8 — then
 * bytes are staged at a congruent place. Strings go straight into the ring where there is an alias.
 *
 * Order: plain accesses; correct only between the atomic accesses of two wasm calls (sample → copy → publish).
 */
import type { Abi } from "./abi.js";

export interface RingCopy {
  /** Whether strings can be written straight into the ring. */
  readonly direct: boolean;
  /** source[from, from + length) → arena at `address`. */
  put(address: number, source: Uint8Array, from: number, length: number): void;
  /** arena at `address`, `length` bytes → target at `to`. */
  take(address: number, length: number, target: Uint8Array, to: number): void;
  /** A fresh private copy: bytes [0, length) of the returned view, whose buffer nobody else holds. */
  fresh(address: number, length: number): Uint8Array<ArrayBuffer>;
  /** Encodes `text`, whose encoding is `length` bytes long, at `address`. Only where `direct`. */
  putLatin1(address: number, text: string, length: number): void;
  putUtf8(address: number, text: string, length: number): void;
}

/** Node's string writers, absent from the public types. */
type WritableBuffer = Buffer & {
  latin1Write(text: string, offset: number, length: number): number;
  utf8Write(text: string, offset: number, length: number): number;
};

/** Copies through an ordinary ArrayBuffer over the arena's pages. */
export class AliasCopy implements RingCopy {
  readonly direct = true;
  readonly #bytes: Uint8Array<ArrayBuffer>;
  readonly #text: WritableBuffer;

  constructor(alias: ArrayBuffer) {
    this.#bytes = new Uint8Array(alias);
    this.#text = Buffer.from(alias) as unknown as WritableBuffer;
  }

  put(address: number, source: Uint8Array, from: number, length: number): void {
    if (length === source.length) this.#bytes.set(source, address);
    else this.#bytes.set(new Uint8Array(source.buffer, source.byteOffset + from, length), address);
  }

  take(address: number, length: number, target: Uint8Array, to: number): void {
    target.set(new Uint8Array(this.#bytes.buffer, address, length), to);
  }

  fresh(address: number, length: number): Uint8Array<ArrayBuffer> {
    const target = Buffer.allocUnsafeSlow(length);
    target.set(new Uint8Array(this.#bytes.buffer, address, length));
    return target;
  }

  putLatin1(address: number, text: string, length: number): void {
    this.#text.latin1Write(text, address, length);
  }

  putUtf8(address: number, text: string, length: number): void {
    this.#text.utf8Write(text, address, length);
  }
}

/** Copies shorter than this are not worth staging. */
const STAGE_FROM = 256;

/** Copies through the shared view, staged where source and target are not congruent modulo 8. */
export class AlignedCopy implements RingCopy {
  readonly direct = false;
  readonly #bytes: Uint8Array;
  readonly #abi: Abi;
  readonly #stage: number;
  readonly #stageLength: number;

  /** Takes: stage, address of a private arena range of `stageLength` bytes, 8-aligned; 0 for none. */
  constructor(shared: Uint8Array, abi: Abi, stage: number, stageLength: number) {
    this.#bytes = shared;
    this.#abi = abi;
    this.#stage = stage;
    this.#stageLength = stage === 0 ? 0 : stageLength - 8;
  }

  put(address: number, source: Uint8Array, from: number, length: number): void {
    let origin = source.byteOffset + from;
    if (length < STAGE_FROM || this.#stageLength === 0 || ((origin ^ address) & 7) === 0) {
      this.#bytes.set(new Uint8Array(source.buffer, origin, length), address);
      return;
    }
    for (let left = length, to = address; left > 0; ) {
      const piece = Math.min(left, this.#stageLength);
      const staged = this.#stage + (origin & 7);
      this.#bytes.set(new Uint8Array(source.buffer, origin, piece), staged);
      this.#abi.moveInside(to, staged, piece);
      origin += piece;
      to += piece;
      left -= piece;
    }
  }

  take(address: number, length: number, target: Uint8Array, to: number): void {
    const aim = target.byteOffset + to;
    if (length < STAGE_FROM || this.#stageLength === 0 || ((aim ^ address) & 7) === 0) {
      target.set(new Uint8Array(this.#bytes.buffer, address, length), to);
      return;
    }
    for (let left = length, from = address, at = to; left > 0; ) {
      const piece = Math.min(left, this.#stageLength);
      const staged = this.#stage + ((target.byteOffset + at) & 7);
      this.#abi.moveInside(staged, from, piece);
      target.set(new Uint8Array(this.#bytes.buffer, staged, piece), at);
      from += piece;
      at += piece;
      left -= piece;
    }
  }

  fresh(address: number, length: number): Uint8Array<ArrayBuffer> {
    const shift = address & 7;
    const target = Buffer.allocUnsafeSlow(length + shift).subarray(shift) as Uint8Array<ArrayBuffer>;
    target.set(new Uint8Array(this.#bytes.buffer, address, length));
    return target;
  }

  putLatin1(): void {
    throw new TypeError("no plain alias");
  }

  putUtf8(): void {
    throw new TypeError("no plain alias");
  }
}

/** Probe: whether writes through the alias are writes to the arena, and the other way round. Uses 8 bytes at `address`. */
export function aliasWorks(alias: ArrayBuffer, shared: Uint8Array, address: number): boolean {
  if (alias.byteLength !== shared.byteLength) return false;
  const plain = new Uint8Array(alias, address, 8);
  const view = new Uint8Array(shared.buffer, address, 8);
  plain.fill(0x5a);
  const there = view.every((byte) => byte === 0x5a);
  view.fill(0);
  return there && plain.every((byte) => byte === 0);
}
