/**
 * The data plane's wasm: compiled once a process, instantiated once a thread.
 *
 * Refuses a wasm whose layout differs from the constants this code was built with.
 */

import { LAYOUT_VERSION } from "../../assembly/shared/layout.js";
import wasmBytes from "../../build/smcnet.wasm";
import { SmcError } from "../errors.js";
import type { Abi } from "./abi.js";

/** Compiles the inlined wasm: about a millisecond. Threads that inherit the arena inherit the module as well. */
export function compileEngine(): WebAssembly.Module {
  return new WebAssembly.Module(wasmBytes as Uint8Array<ArrayBuffer>);
}

/**
 * An instance of the data plane over `memory`. Statics are per instance, the memory is not.
 *
 * Errors: SmcError SMC_LAYOUT_VERSION when wasm and constants disagree.
 */
export function instantiateEngine(module: WebAssembly.Module, memory: WebAssembly.Memory): Abi {
  const instance = new WebAssembly.Instance(module, { env: { memory } });
  const abi = instance.exports as unknown as Abi;
  const version = abi.layoutVersion();
  if (version !== LAYOUT_VERSION)
    throw new SmcError("SMC_LAYOUT_VERSION", `wasm has layout ${version}, this code has ${LAYOUT_VERSION}`, {
      version,
      expected: LAYOUT_VERSION,
    });
  return abi;
}
