/** The wasm as it is loaded: what it may contain and import, and that a foreign layout is refused. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BLOCK_SIZE, LAYOUT_VERSION, WASM_PAGE_SIZE } from "../../assembly/shared/layout.js";
import wasmBytes from "../../build/smcnet.wasm";
import { readOptions } from "../../src/config.js";
import { compileEngine, instantiateEngine } from "../../src/engine/load.js";
import { SmcError } from "../../src/errors.js";
import { Rig } from "../assembly/rig.js";

const load = suite("engine load");

/** Ids of the sections of a wasm, in order. */
function sections(wasm: Uint8Array): number[] {
  const ids: number[] = [];
  for (let at = 8; at < wasm.length; ) {
    ids.push(wasm[at++]);
    let length = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = wasm[at++];
      length |= (byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    at += length;
  }
  return ids;
}

load("the wasm has no data segments and no start function: instantiating it writes nothing into the arena", () => {
  const [START, DATA, DATA_COUNT] = [8, 11, 12];
  const ids = sections(wasmBytes);
  assert.ok(ids.includes(10), "sections were read: there is code");
  for (const id of [START, DATA, DATA_COUNT]) assert.not.ok(ids.includes(id), `section ${id}`);
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const bytes = new Uint8Array(memory.buffer).fill(0x77);
  instantiateEngine(compileEngine(), memory);
  assert.ok(bytes.every((byte) => byte === 0x77));
});

load("it imports the memory and nothing else", () => {
  assert.equal(WebAssembly.Module.imports(compileEngine()), [{ module: "env", name: "memory", kind: "memory" }]);
});

load("it exports functions, and the memory it was given", () => {
  const rig = new Rig();
  const others = Object.entries(rig.abi).filter(([, value]) => typeof value !== "function");
  assert.is(others.length, 1);
  assert.is(rig.abi.memory, rig.memory);
  assert.is(rig.abi.layoutVersion(), LAYOUT_VERSION);
});

/** A wasm that only answers layoutVersion, with `version`, 0..63. */
function engineOfLayout(version: number): WebAssembly.Module {
  const text = (value: string): number[] => [value.length, ...Buffer.from(value)];
  const section = (id: number, ...content: number[]): number[] => [id, content.length, ...content];
  return new WebAssembly.Module(
    new Uint8Array([
      ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
      ...section(1, 1, 0x60, 0, 1, 0x7f),
      ...section(2, 1, ...text("env"), ...text("memory"), 2, 3, 1, 0x80, 0x80, 0x04),
      ...section(3, 1, 0),
      ...section(7, 1, ...text("layoutVersion"), 0, 0),
      ...section(10, 1, 4, 0, 0x41, version, 0x0b),
    ]),
  );
}

load("a wasm of another layout is refused by name; of the same layout it is not", () => {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  assert.ok(LAYOUT_VERSION < 63);
  instantiateEngine(engineOfLayout(LAYOUT_VERSION), memory);
  for (const version of [LAYOUT_VERSION + 1, 0]) {
    try {
      instantiateEngine(engineOfLayout(version), memory);
      assert.unreachable("another layout was taken");
    } catch (error) {
      assert.instance(error, SmcError);
      assert.is((error as SmcError).code, "SMC_LAYOUT_VERSION");
      assert.equal((error as SmcError).values, { version, expected: LAYOUT_VERSION });
    }
  }
});

load("an arena of another layout's owner is not taken for ours: without arenaInit there is nothing to allocate", () => {
  const memory = new WebAssembly.Memory({ initial: 4096, maximum: 4096, shared: true });
  const abi = instantiateEngine(compileEngine(), memory);
  assert.is(abi.arenaBlocks(), 0);
  assert.ok(abi.dmbRegister(0, 0, 0, 1, 1) < 0);
});

load("the last 64 KiB of the memory are never given out", () => {
  const rig = new Rig();
  const stack = rig.stack(1);
  let end = 0;
  for (let dmb = 0; dmb >= 0; ) {
    dmb = rig.abi.dmbRegister(stack, 0, 0, 1, 1);
    if (dmb >= 0) end = Math.max(end, rig.base(dmb) + BLOCK_SIZE);
  }
  assert.is(end, rig.bytes.length - WASM_PAGE_SIZE);
});

load("an arena stays below 2 GiB, where an address is the same number in both planes", () => {
  assert.throws(() => readOptions({ arenaMiB: 2048 }, {}), /arenaMiB/);
  const rig = new Rig(2047);
  const stack = rig.stack(1);
  let last = 0;
  for (let dmb = 0; dmb >= 0; ) {
    dmb = rig.abi.dmbRegister(stack, 6, 0, 1, 1);
    if (dmb >= 0) last = Math.max(last, rig.abi.dmbBase(dmb));
    assert.ok(dmb < 0 || rig.abi.dmbBase(dmb) > 0);
  }
  assert.ok(last > 2 ** 30);
});

load.run();
