/**
 * When functions of libc are looked up: all of them when it is loaded, and none later. A look-up in a thread that is being
 * terminated ends the process.
 */
import { closeSync } from "node:fs";
import { createRequire } from "node:module";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { testUnless } from "../support/missing.js";

interface Koffi {
  load(name: string): { func(declaration: string): unknown };
}

/** Undefined without koffi. It must not be loaded by the files under test before it is watched. */
const koffi = ((): Koffi | undefined => {
  try {
    return createRequire(import.meta.url)("koffi") as Koffi;
  } catch {
    return undefined;
  }
})();

const test = suite("looking functions of libc up");

testUnless(koffi === undefined ? "no koffi" : undefined, test)(
  "calls of every kind find their functions bound",
  async () => {
    const { load } = koffi!;
    const lookedUp: string[] = [];
    koffi!.load = (name) => {
      const library = load(name);
      return {
        func(declaration) {
          lookedUp.push(declaration);
          return library.func(declaration);
        },
      };
    };
    try {
      const [{ loadLibc }, sockets, memory] = await Promise.all([
        import("../../src/host/libc.js"),
        import("../../src/host/unix-socket.js"),
        import("../../src/host/memfd.js"),
      ]);
      assert.equal(lookedUp, [], "not before it is loaded");
      loadLibc();
      const loaded = [...lookedUp];
      assert.ok(loaded.length > 10, `${loaded.length} functions`);
      assert.is(new Set(loaded).size, loaded.length, "each once");
      assert.is(sockets.connectUnix("/nowhere/at/all"), undefined);
      closeSync(memory.createMemfd("smcnet-test", memory.pageSize()));
      assert.equal(lookedUp, loaded);
    } finally {
      koffi!.load = load;
    }
  },
);

test.run();
