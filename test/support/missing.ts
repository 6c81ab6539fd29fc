/**
 * What tests need and a machine may lack: they run where it is there, and where it is not they are skipped and say why.
 * uvu by itself counts what was skipped, and prints neither name nor reason.
 */
import type { Callback, Test } from "uvu";
import { readOptions } from "../../src/config.js";
import { loadLibc } from "../../src/host/libc.js";

/** Why libc cannot be called; undefined where it can. */
export function libcMissing(): string | undefined {
  const loaded = loadLibc();
  return "reason" in loaded ? `no libc: ${loaded.reason}` : undefined;
}

/** Why there is no SMC between processes; undefined where there is. */
export function shmMissing(): string | undefined {
  const { ffi, shm } = readOptions();
  return ffi && shm ? libcMissing() : "SMC between processes is switched off";
}

/** Why this process may not be somebody else; undefined where it may. */
export const rootMissing = (): string | undefined => (process.geteuid?.() === 0 ? undefined : "needs root");

/** Says that something is left out of a run, and why. */
export function sayLeftOut(what: string, reason: string): void {
  process.stdout.write(`skipped: ${what}: ${reason}\n`);
}

/** Counts one test as skipped. */
export function skip<T>(test: Test<T>, name: string, reason: string): void {
  sayLeftOut(name, reason);
  test.skip(name);
}

/** How to write down tests that need something: like all others if it is not `missing`, else as skipped. */
export function testUnless<T>(missing: string | undefined, test: Test<T>): (name: string, body: Callback<T>) => void {
  return missing === undefined ? test : (name) => skip(test, name, missing);
}
