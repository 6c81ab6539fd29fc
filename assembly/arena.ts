/**
 * The arena: one shared memory of a process, and its page allocator.
 *
 * Owns the header and the block table. A block is free (0) or has the tag of its holder in its word: the index + 1 of a DMB
 * entry, so that whatever a killed thread held is found again from the DMB table, or that of an extent, which has free blocks
 * of its own. No lock, no free list, no counter that a kill could leave wrong: taking a run is one compare-and-swap a block,
 * undone when another thread was faster.
 */
import {
  ARENA_BLOCKS_OFFSET,
  ARENA_GID_HI_OFFSET,
  ARENA_GID_LO_OFFSET,
  ARENA_MAGIC,
  ARENA_READY_OFFSET,
  BLOCK_SIZE,
  BLOCK_TABLE_CAPACITY,
  BLOCK_TABLE_OFFSET,
  BLOCKS_OFFSET,
  WASM_PAGE_SIZE,
} from "./shared/layout";

/** Where this thread looks first; only a hint. */
let nextBlock: u32 = 0;

/** Prepares a fresh, zero-filled memory. Called once, by the thread that made it, before any other sees it. */
export function arenaInit(gidLo: u32, gidHi: u32): u32 {
  // The last 64 KiB stay unused: offset + length of a range that ends there would wrap.
  const bytes = <u64>memory.size() * <u64>WASM_PAGE_SIZE - <u64>WASM_PAGE_SIZE;
  let blocks: u32 = bytes > <u64>BLOCKS_OFFSET ? <u32>((bytes - <u64>BLOCKS_OFFSET) / <u64>BLOCK_SIZE) : 0;
  if (blocks > BLOCK_TABLE_CAPACITY) blocks = BLOCK_TABLE_CAPACITY;
  store<u32>(ARENA_BLOCKS_OFFSET, blocks);
  store<u32>(ARENA_GID_LO_OFFSET, gidLo);
  store<u32>(ARENA_GID_HI_OFFSET, gidHi);
  atomic.store<u32>(ARENA_READY_OFFSET, ARENA_MAGIC);
  return blocks;
}

/** Number of allocation blocks, 0 before arenaInit. */
export function arenaBlocks(): u32 {
  if (atomic.load<u32>(ARENA_READY_OFFSET) != ARENA_MAGIC) return 0;
  const blocks = load<u32>(ARENA_BLOCKS_OFFSET);
  return blocks <= BLOCK_TABLE_CAPACITY ? blocks : 0;
}

/** Free blocks, counted now; may be stale as soon as it is returned. */
export function arenaFreeBlocks(): u32 {
  const blocks = arenaBlocks();
  let free: u32 = 0;
  for (let i: u32 = 0; i < blocks; i++) {
    if (atomic.load<u32>(BLOCK_TABLE_OFFSET + i * 4) == 0) free++;
  }
  return free;
}

/** Turns the words of `first`, … `first + count - 1` from `free` to `tag`; how many it got in a row, from the first. */
function takeRun(first: u32, count: u32, tag: u32, free: u32): u32 {
  for (let i: u32 = 0; i < count; i++) {
    if (atomic.cmpxchg<u32>(BLOCK_TABLE_OFFSET + (first + i) * 4, free, tag) != free) return i;
  }
  return count;
}

/** Takes the run, or leaves it as it was. */
function takeWhole(first: u32, count: u32, tag: u32, free: u32): bool {
  const got = takeRun(first, count, tag, free);
  if (got == count) return true;
  for (let i: u32 = 0; i < got; i++) atomic.store<u32>(BLOCK_TABLE_OFFSET + (first + i) * 4, free);
  return false;
}

/**
 * Address of `count` adjacent free blocks, now marked with `tag`, or 0 when there is no such run.
 *
 * Takes: count, blocks, a power of two; tag, of the holder. Runs are aligned to their size.
 */
export function blocksTake(count: u32, tag: u32): u32 {
  const blocks = arenaBlocks();
  const runs = blocks / count;
  if (runs == 0) return 0;
  let run: u32 = (nextBlock + count - 1) / count;
  for (let tries: u32 = 0; tries < runs; tries++, run++) {
    if (run >= runs) run = 0;
    const first = run * count;
    if (!takeWhole(first, count, tag, 0)) continue;
    nextBlock = first + count;
    return BLOCKS_OFFSET + first * BLOCK_SIZE;
  }
  return 0;
}

/** The same among the `within` blocks at `base`, whose free blocks carry `free`. */
export function blocksTakeIn(base: u32, within: u32, count: u32, tag: u32, free: u32): u32 {
  const start = (base - BLOCKS_OFFSET) / BLOCK_SIZE;
  for (let first = start; first + count <= start + within; first += count) {
    if (takeWhole(first, count, tag, free)) return BLOCKS_OFFSET + first * BLOCK_SIZE;
  }
  return 0;
}

/** Gives back the blocks in [address, address + length) that carry `tag`: their words become `free`. */
export function blocksGive(address: u32, length: u32, tag: u32, free: u32): void {
  const first = (address - BLOCKS_OFFSET) / BLOCK_SIZE;
  const count = length / BLOCK_SIZE;
  for (let i: u32 = 0; i < count; i++) atomic.cmpxchg<u32>(BLOCK_TABLE_OFFSET + (first + i) * 4, tag, free);
  if (free == 0 && first < nextBlock) nextBlock = first;
}

/**
 * Zeroes and gives back every block that carries `tag`, wherever it is: for an owner that died while allocating or freeing.
 * `free` is the word of a free block there.
 */
export function blocksSweep(tag: u32, free: u32): void {
  const blocks = arenaBlocks();
  for (let i: u32 = 0; i < blocks; i++) {
    if (atomic.load<u32>(BLOCK_TABLE_OFFSET + i * 4) != tag) continue;
    memory.fill(BLOCKS_OFFSET + i * BLOCK_SIZE, 0, BLOCK_SIZE);
    atomic.store<u32>(BLOCK_TABLE_OFFSET + i * 4, free);
  }
}

/** Whether [address, address + length) is a run of whole blocks of this arena. For words that a peer wrote. */
export function blocksHold(address: u32, length: u32, tag: u32): bool {
  if (address < BLOCKS_OFFSET || length == 0 || (length & (BLOCK_SIZE - 1)) != 0) return false;
  const offset = address - BLOCKS_OFFSET;
  if ((offset & (BLOCK_SIZE - 1)) != 0) return false;
  const first = offset / BLOCK_SIZE;
  const count = length / BLOCK_SIZE;
  const blocks = arenaBlocks();
  if (<u64>first + <u64>count > <u64>blocks) return false;
  for (let i: u32 = 0; i < count; i++) if (atomic.load<u32>(BLOCK_TABLE_OFFSET + (first + i) * 4) != tag) return false;
  return first + count == blocks || atomic.load<u32>(BLOCK_TABLE_OFFSET + (first + count) * 4) != tag;
}
