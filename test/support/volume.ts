/**
 * Directories that processes and containers share: in memory where the system has that, for the temporary directory of a
 * container may lie on a file system that smcnet refuses.
 *
 * Owns nothing: who makes one removes it.
 */
import { existsSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Path of a new one, mode 0700. */
export function makeVolume(): string {
  return mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "smcnet-test-"));
}
