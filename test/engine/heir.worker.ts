/** A Worker that inherits the arena and takes a stack in it. */
import { parentPort, threadId } from "node:worker_threads";
import { instantiateEngine } from "../../src/engine/load.js";
import { reserveArena } from "../../src/engine/memory.js";

const arena = reserveArena(256)!;
const abi = instantiateEngine(arena.module, arena.memory);
parentPort!.postMessage({ fresh: arena.fresh, slot: abi.stackAcquire(threadId, 0xffffffff) });
