/**
 * The arena's memory: reserved once a process, inherited by its Workers, seen through views made here and nowhere else.
 *
 * Owns the reservation and every view. A shared WebAssembly memory never moves, so a view of the whole of it stays good.
 */
import { getEnvironmentData, setEnvironmentData } from "node:worker_threads";
import {
  ARENA_GID_HI_OFFSET,
  ARENA_GID_LO_OFFSET,
  BLOCKS_OFFSET,
  CONN_CAPACITY,
  LAYOUT_VERSION,
  STACK_KEY,
  STACK_READY,
  STACK_SIZE,
  STACK_TABLE_OFFSET,
  WASM_PAGE_SIZE,
} from "../../assembly/shared/layout.js";
import { compileEngine } from "./load.js";

/** What Workers inherit. The key carries the layout version: another version neither sees nor disturbs it. */
interface Inheritance {
  readonly memory: WebAssembly.Memory;
  readonly module: WebAssembly.Module;
}
const KEY = `smcnet/arena/${LAYOUT_VERSION}`;

export interface Reservation extends Inheritance {
  /** Whether this thread made it, and so has to initialise it. */
  readonly fresh: boolean;
}

/** The smallest arena worth having: the tables and 64 MiB of blocks. */
const SMALLEST_PAGES = Math.ceil(BLOCKS_OFFSET / WASM_PAGE_SIZE) + 1024;

function reserve(pages: number): WebAssembly.Memory | undefined {
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  } catch {
    return undefined;
  }
}

/**
 * The process's arena: the inherited one, or a fresh one of `wantedMiB`, halved until the system grants it.
 *
 * Returns: undefined when not even the smallest can be reserved (address-space limits, strict overcommit).
 */
export function reserveArena(wantedMiB: number): Reservation | undefined {
  const inherited = getEnvironmentData(KEY) as Inheritance | undefined;
  if (inherited?.memory instanceof WebAssembly.Memory) return { ...inherited, fresh: false };
  for (let pages = wantedMiB * 16; pages >= SMALLEST_PAGES; pages = pages >> 1) {
    const memory = reserve(pages);
    if (memory !== undefined) return { memory, module: compileEngine(), fresh: true };
  }
  return undefined;
}

/** Hands the arena to every Worker created from now on. After arenaInit. */
export function bequeathArena({ memory, module }: Inheritance): void {
  setEnvironmentData(KEY, { memory, module } as never);
}

/** The shared view of the whole arena: for FFI addresses and for copies where there is no plain alias. */
export function sharedView(memory: WebAssembly.Memory): Uint8Array<SharedArrayBuffer> {
  return new Uint8Array(memory.buffer as unknown as SharedArrayBuffer);
}

/** The arena's 64-bit GID, as arenaInit stored it. */
export function arenaGid(memory: WebAssembly.Memory): bigint {
  const header = new DataView(memory.buffer);
  const high = BigInt(header.getUint32(ARENA_GID_HI_OFFSET, true));
  return (high << 32n) | BigInt(header.getUint32(ARENA_GID_LO_OFFSET, true));
}

function stackAddress(stack: number): number {
  return STACK_TABLE_OFFSET + stack * STACK_SIZE;
}

/** The ready list of a stack: slots written by cqPoll, [16384 × u32]. Private to the owning thread. */
export function readyView(memory: WebAssembly.Memory, stack: number): Uint32Array {
  return new Uint32Array(memory.buffer, stackAddress(stack) + STACK_READY, CONN_CAPACITY);
}

/** The address-key argument of a stack, 40 bytes: client address, server address, client port, server port. */
export function keyView(memory: WebAssembly.Memory, stack: number): DataView {
  return new DataView(memory.buffer, stackAddress(stack) + STACK_KEY, 40);
}

/** The word at an arena address as an Int32Array of length 1: for Atomics.waitAsync in the doorbell. */
export function wordView(memory: WebAssembly.Memory, address: number): Int32Array<SharedArrayBuffer> {
  return new Int32Array(memory.buffer as unknown as SharedArrayBuffer, address, 1);
}

/** Address of the doorbell word's stack block plus `offset`. */
export function stackWord(stack: number, offset: number): number {
  return stackAddress(stack) + offset;
}
