/**
 * Memfds over the arena: making and adopting them, mapping them in, giving the place back.
 *
 * Owns the rule that the arena never has a hole: what is mapped out is mapped over with fresh pages in the same call, and
 * where the system refuses even that, the process ends. Knows nothing of what lies in an extent.
 */
import { EXTENT_BUSY, EXTENT_FREE, EXTENT_GIVING } from "../../assembly/shared/codes.js";
import { BLOCK_SIZE, EXTENT_CAPACITY } from "../../assembly/shared/layout.js";
import type { Abi } from "../engine/abi.js";
import type { MappedFile } from "../engine/pair-table.js";
import { closeDescriptor } from "../host/libc.js";
import { checkMemfd, createMemfd, mapAnonymous, mapOver } from "../host/memfd.js";
import { debug } from "../trace.js";

/** What an extent is for: its kind (EXTENT_*), the pair it belongs to, its number on its side of it. */
export interface Purpose {
  readonly kind: number;
  readonly pair: number;
  readonly number: number;
}

export class Extents {
  readonly #abi: Abi;
  readonly #base: bigint;

  /** Takes: base, address of the arena in this process. */
  constructor(abi: Abi, base: bigint) {
    this.#abi = abi;
    this.#base = base;
  }

  /** A fresh memfd over `blocks` blocks; undefined where memory, address space or descriptors are short. */
  make(blocks: number, purpose: Purpose): MappedFile | undefined {
    let descriptor: number;
    try {
      descriptor = createMemfd("smcnet", blocks * BLOCK_SIZE);
    } catch (error) {
      debug("no memfd: %s", (error as Error).message);
      return undefined;
    }
    const extent = this.#map(descriptor, blocks, purpose);
    if (extent === undefined) {
      closeDescriptor(descriptor);
      return undefined;
    }
    this.#abi.extentOpen(extent);
    return { extent, descriptor };
  }

  /** Maps a peer's memfd; the descriptor stays the caller's. A text says why it must not or cannot be mapped. */
  adopt(descriptor: number, blocks: number, purpose: Purpose): number | string {
    const reason = checkMemfd(descriptor, blocks * BLOCK_SIZE);
    if (reason !== undefined) return reason;
    return this.#map(descriptor, blocks, purpose) ?? "no room in the arena";
  }

  #map(descriptor: number, blocks: number, { kind, pair, number }: Purpose): number | undefined {
    const extent = this.#abi.extentTake(blocks, kind, pair, number);
    if (extent < 0) return undefined;
    if (mapOver(this.#address(extent), blocks * BLOCK_SIZE, descriptor)) return extent;
    this.giveBack(extent);
    return undefined;
  }

  #address(extent: number): bigint {
    return this.#base + BigInt(this.#abi.extentBase(extent) >>> 0);
  }

  /** Fresh pages in its place, and the blocks back to the arena. Nobody of this process uses them any more. */
  giveBack(extent: number): void {
    const kind = this.#abi.extentKind(extent);
    // Left by one that was killed: not mapped yet, or no longer.
    if (kind !== EXTENT_BUSY && kind !== EXTENT_GIVING) this.#mapBack(extent);
    this.#abi.extentGive(extent);
  }

  /** All that were taken for a pair, also those that nobody had the time to enter in a table. Nobody uses the pair any more. */
  giveBackAll(pair: number): void {
    for (let extent = 0; extent < EXTENT_CAPACITY; extent++) {
      const free = this.#abi.extentKind(extent) === EXTENT_FREE;
      if (!free && this.#abi.extentPair(extent) === pair) this.giveBack(extent);
    }
  }

  #mapBack(extent: number): void {
    const bytes = this.#abi.extentBlocks(extent) * BLOCK_SIZE;
    const address = this.#address(extent);
    // A mapping that failed half way may have left a hole, into which others' memory would fall.
    if (!mapAnonymous(address, bytes) && !mapAnonymous(address, bytes)) process.abort();
  }
}
