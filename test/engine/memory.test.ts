/** The arena's memory: reserved once, smaller where the system refuses, inherited by Workers, seen through its views. */
import { Worker } from "node:worker_threads";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  BLOCKS_OFFSET,
  CONN_CAPACITY,
  STACK_ARMED,
  STACK_CAPACITY,
  STACK_KEY,
  STACK_READY,
  STACK_SIZE,
  STACK_TABLE_OFFSET,
} from "../../assembly/shared/layout.js";
import { instantiateEngine } from "../../src/engine/load.js";
import {
  bequeathArena,
  keyView,
  readyView,
  reserveArena,
  sharedView,
  stackWord,
  wordView,
} from "../../src/engine/memory.js";
import { happens } from "../support/watchdog.js";

const MIB = 1 << 20;
const RealMemory = WebAssembly.Memory;

/** Lets the system grant at most `most` MiB while `body` runs; the sizes that were asked for, MiB. */
function granting(most: number, body: () => void): number[] {
  const asked: number[] = [];
  class Limited extends RealMemory {
    constructor(descriptor: ConstructorParameters<typeof RealMemory>[0]) {
      asked.push(descriptor.initial / 16);
      if (descriptor.initial / 16 > most) throw new RangeError("could not allocate memory");
      super(descriptor);
    }
  }
  WebAssembly.Memory = Limited as typeof WebAssembly.Memory;
  try {
    body();
  } finally {
    WebAssembly.Memory = RealMemory;
  }
  return asked;
}

const memory = suite("engine memory");

memory("a fresh arena has the size that was asked for, and is shared", () => {
  const arena = reserveArena(256);
  assert.ok(arena?.fresh);
  assert.is(arena.memory.buffer.byteLength, 256 * MIB);
  assert.instance(arena.memory.buffer, SharedArrayBuffer);
  assert.ok(instantiateEngine(arena.module, arena.memory).arenaInit(1, 2) > 0);
});

memory("where the system refuses, half is asked for, and half of that, until it is granted", () => {
  const asked = granting(1024, () => {
    const arena = reserveArena(4000);
    assert.is(arena?.memory.buffer.byteLength, 1000 * MIB);
  });
  assert.equal(asked, [4000, 2000, 1000]);
});

memory("nothing smaller than the tables and 64 MiB of blocks is worth having", () => {
  const smallest = Math.ceil(BLOCKS_OFFSET / MIB) + 64;
  const asked = granting(0, () => assert.is(reserveArena(4000), undefined));
  assert.ok(Math.min(...asked) >= smallest, `asked for ${asked} MiB`);
  assert.is(reserveArena(smallest - 2), undefined);
  assert.is(reserveArena(0), undefined);
});

memory("views cover what they name", () => {
  const arena = reserveArena(256)!;
  const shared = sharedView(arena.memory);
  assert.is(shared.byteLength, 256 * MIB);
  for (const stack of [0, STACK_CAPACITY - 1]) {
    const block = STACK_TABLE_OFFSET + stack * STACK_SIZE;
    assert.is(stackWord(stack, STACK_ARMED), block + STACK_ARMED);
    const ready = readyView(arena.memory, stack);
    assert.equal([ready.byteOffset, ready.length], [block + STACK_READY, CONN_CAPACITY]);
    const key = keyView(arena.memory, stack);
    assert.equal([key.byteOffset, key.byteLength], [block + STACK_KEY, 40]);
    const word = wordView(arena.memory, stackWord(stack, STACK_ARMED));
    word[0] = 0x01020304;
    assert.equal([...shared.subarray(block + STACK_ARMED, block + STACK_ARMED + 5)], [4, 3, 2, 1, 0]);
  }
});

memory("a bequeathed arena is inherited: by this thread, and by Workers made from then on", async () => {
  const arena = reserveArena(256)!;
  const abi = instantiateEngine(arena.module, arena.memory);
  abi.arenaInit(1, 2);
  bequeathArena(arena);
  const again = reserveArena(999);
  assert.is(again?.fresh, false);
  assert.is(again?.memory, arena.memory);
  assert.is(again?.module, arena.module);
  const worker = new Worker(new URL("./heir.worker.mjs", import.meta.url));
  const [[answer]] = await Promise.all([happens(worker, "message"), happens(worker, "exit")]);
  assert.equal(answer, { fresh: false, slot: 0 });
  assert.is(abi.stackGeneration(0), 1, "what the Worker wrote is seen here");
});

memory.run();
