/**
 * What the tests of this folder ask of descriptors and errors.
 *
 * Owns nothing that is open: each test closes what it opened.
 */
import { closeSync, readdirSync, readFileSync } from "node:fs";
import type { Server, Socket } from "node:net";
import * as assert from "uvu/assert";
import { SmcError } from "../../src/errors.js";

/** How many descriptors this process has open, and one more for the look. */
export const openDescriptors = (): number => readdirSync("/proc/self/fd").length;

export function closeAll(...descriptors: Iterable<number>[]): void {
  for (const descriptor of descriptors.flatMap((some) => [...some])) closeSync(descriptor);
}

/** Whether a program started by this process would not get the descriptor. */
export function isCloseOnExec(descriptor: number): boolean {
  const flags = /^flags:\s+(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${descriptor}`, "utf8"))![1]!;
  return (Number.parseInt(flags, 8) & 0o2000000) !== 0;
}

/** The descriptor under a socket or server of Node. */
export const descriptorOf = (handle: Socket | Server): number =>
  (handle as unknown as { _handle: { fd: number } })._handle.fd;

/** The SmcError that `act` throws. */
export function errorOf(act: () => unknown): SmcError {
  let thrown: unknown;
  try {
    act();
  } catch (error) {
    thrown = error;
  }
  assert.instance(thrown, SmcError);
  return thrown as SmcError;
}
