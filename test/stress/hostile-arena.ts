/**
 * What a hostile thread of the process can reach: the whole arena, found as any Worker finds it, and the buffers of a peer in it.
 *
 * Owns the way there. Does no harm itself.
 */
import { getEnvironmentData } from "node:worker_threads";
import { DMB_ATTACHED, DMB_REGISTERED } from "../../assembly/shared/codes.js";
import {
  ARENA_DMBS_OFFSET,
  CDC_SIZE,
  DMB_BASE,
  DMB_CAPACITY,
  DMB_CDC,
  DMB_ENTRY_SIZE,
  DMB_LENGTH,
  DMB_STATE,
  DMB_TABLE_OFFSET,
  DMB_TOKEN,
  LAYOUT_VERSION,
} from "../../assembly/shared/layout.js";

/** One attached buffer: its CDC area and its ring. Arena addresses and bytes. */
export interface Target {
  readonly cdc: number;
  readonly ring: number;
  readonly ringSize: number;
}

export class HostileView {
  readonly bytes: Uint8Array;
  readonly words: BigUint64Array;
  readonly #table: Uint32Array;

  constructor() {
    const { memory } = getEnvironmentData(`smcnet/arena/${LAYOUT_VERSION}`) as unknown as {
      memory: WebAssembly.Memory;
    };
    this.bytes = new Uint8Array(memory.buffer);
    this.words = new BigUint64Array(memory.buffer);
    this.#table = new Uint32Array(memory.buffer);
  }

  #target(index: number): Target | undefined {
    const at = (offset: number): number =>
      Atomics.load(this.#table, (DMB_TABLE_OFFSET + index * DMB_ENTRY_SIZE + offset) / 4);
    const live = DMB_REGISTERED | DMB_ATTACHED;
    if ((at(DMB_STATE) & live) !== live) return undefined;
    const cdc = DMB_TABLE_OFFSET + index * DMB_ENTRY_SIZE + DMB_CDC;
    return { cdc, ring: at(DMB_BASE) + CDC_SIZE, ringSize: at(DMB_LENGTH) - CDC_SIZE };
  }

  /** The buffer a token names, while it has that token: its low 15 bits are the index of its entry. */
  byToken(token: bigint): Target | undefined {
    const index = Number(token & BigInt(DMB_CAPACITY - 1));
    const stands = Atomics.load(this.words, (DMB_TABLE_OFFSET + index * DMB_ENTRY_SIZE + DMB_TOKEN) / 8);
    return stands === token ? this.#target(index) : undefined;
  }

  /** Every buffer that has both its owner and a peer now. */
  attached(): Target[] {
    const targets: Target[] = [];
    const used = Atomics.load(this.#table, ARENA_DMBS_OFFSET / 4);
    for (let index = 0; index < used; index++) {
      const target = this.#target(index);
      if (target !== undefined) targets.push(target);
    }
    return targets;
  }
}
