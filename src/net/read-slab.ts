/**
 * Where small reads land: cut from one slab after another, as the engine's own buffer pool does it. One for a thread.
 *
 * Owns the slab of now. A full one lives as long as a read that was cut from it.
 */

const SLAB_SIZE = 65536;

export class ReadSlab {
  #buffer = Buffer.allocUnsafeSlow(SLAB_SIZE).buffer as ArrayBuffer;
  #bytes = new Uint8Array(this.#buffer);
  offset = 0;

  /** Room for `length` bytes at `offset` of the returned array. */
  room(length: number): Uint8Array<ArrayBuffer> {
    if (this.offset + length > SLAB_SIZE) {
      this.#buffer = Buffer.allocUnsafeSlow(SLAB_SIZE).buffer as ArrayBuffer;
      this.#bytes = new Uint8Array(this.#buffer);
      this.offset = 0;
    }
    return this.#bytes;
  }

  /** Counts `length` bytes as used, and keeps the next read 8-aligned. */
  used(length: number): void {
    this.offset = (this.offset + length + 7) & ~7;
  }
}
