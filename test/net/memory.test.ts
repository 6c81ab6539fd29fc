/**
 * No memory left: buffers get smaller, then connections stay on TCP and say why, and everything comes back.
 *
 * In a process of its own whose arena is the smallest there is: 64 MiB beside its tables.
 */
import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BLOCKS_OFFSET } from "../../assembly/shared/layout.js";
import { DIAGNOSIS } from "../../src/wire/clc-diagnosis.js";
import { happens } from "../support/watchdog.js";
import type { MemoryReport } from "./memory.child.js";

const CHILD = fileURLToPath(new URL("../net/memory.child.mjs", import.meta.url));
const MIB = 1 << 20;
const ARENA_MIB = Math.ceil(BLOCKS_OFFSET / MIB) + 65;
/** Allocation blocks, bytes. */
const BLOCK = 16_384;
/** Sent over each connection. */
const BYTES = 16_000;

async function filled(name: string): Promise<MemoryReport> {
  const env = { ...process.env, SMC_ARENA_MIB: String(ARENA_MIB) };
  const child = fork(CHILD, [name], { env, stdio: ["ignore", "ignore", "inherit", "ipc"] });
  const gone = happens(child, "exit", "the end of the child that uses up its memory");
  const told = new Promise<MemoryReport>((resolve) => child.once("message", resolve));
  const report = await Promise.race([told, gone.then(([code]) => Promise.reject(new Error(`it ended with ${code}`)))]);
  child.disconnect();
  await gone;
  return report;
}

const test = suite("no memory left");
for (const name of ["smcd", "smcd-copy"] as const) {
  test(`buffers get smaller, then there is TCP with the reason; twice · ${name}`, async () => {
    const { pages, pagesAfter, fills } = await filled(name);
    assert.ok(pages * BLOCK >= 60 * MIB && pages * BLOCK < 70 * MIB, `${pages} pages`);
    const mem = DIAGNOSIS.MEM.code;
    for (const { buffers, reasons, tcp, freePages, arrived, downgraded } of fills) {
      assert.is(buffers[0], MIB, "as wanted while there is room");
      assert.ok(Math.min(...buffers) < MIB, "smaller ones at last");
      assert.is(buffers.filter((size) => size < MIB).length <= downgraded, true, `${downgraded} were counted`);
      const used = buffers.reduce((sum, size) => sum + size, 0);
      assert.ok(used <= pages * BLOCK, `${used} bytes of buffers`);
      assert.ok(freePages <= 3, `${freePages} pages were left over`);
      assert.is(arrived, (buffers.length / 2 + tcp) * BYTES, "every byte arrives, whatever carries it");
      // Either end may be the one that finds no room.
      const allowed = [
        `client peer PEERDECL ${mem}`,
        "server local MEM -",
        "client local MEM -",
        `server peer PEERDECL ${mem}`,
      ];
      assert.ok(reasons.length >= 2 && reasons.every((reason) => allowed.includes(reason)), reasons.join("; "));
    }
    assert.is(pagesAfter, pages);
  });
}
test.run();
