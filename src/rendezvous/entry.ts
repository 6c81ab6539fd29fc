/**
 * One entry of the registry: a file whose content says who listens, and whose lock says that it is still so.
 *
 * Owns content, lock, and when a file may be removed by others than its maker. Knows nothing of where it lies and of its
 * other names. Content is input: it is bounded, and whatever is not as it should be is no entry.
 */
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  lstatSync,
  openSync,
  readSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { SmcError } from "../errors.js";
import { isLocked, lockFile } from "../host/lock.js";

/** A stack that listens, as it says itself. */
export interface Entry {
  /** 32 hexadecimal digits: those of its process, then those of the stack. */
  readonly gid: string;
  /** Name of its process's socket in the runtime directory. */
  readonly socket: string;
  /** Number of the network namespace that it listens in: what its address means elsewhere is not said. */
  readonly netns: number;
  /** UDP port at which it takes probes from other network namespaces; 0 for none. */
  readonly probe: number;
}

const GID = /^[0-9a-f]{32}$/;
/** A name and nothing else: no path, not hidden. */
const SOCKET = /^[0-9a-f][0-9a-f.]{0,63}$/;
/** The name of an entry is its maker's gid and a serial number. */
export const ENTRY_NAME = /^([0-9a-f]{32})\.\d{1,15}$/;
const VERSION = 1;
const MAX_ENTRY_BYTES = 512;
const MAX_UID = 0xffff_ffff;
const MAX_PORT = 0xffff;

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR } = constants;
const PRIVATE_FILE = 0o600;
/** The group may take the lock: who may not could not remove a stale entry safely. */
const SHARED_FILE = 0o660;

const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code;

const isNumber = (value: unknown, least: number, most: number): value is number =>
  typeof value === "number" && Number.isInteger(value) && value >= least && value <= most;
const isNamespace = (value: unknown): value is number => isNumber(value, 1, Number.MAX_SAFE_INTEGER);
const isProbe = (value: unknown): value is number => isNumber(value, 0, MAX_PORT);

/** Errors: SmcError EINVAL for an entry that no reader would take. */
export function checkEntry({ gid, socket, netns, probe }: Entry): void {
  if (!GID.test(gid)) throw new SmcError("EINVAL", `gid ${gid}: allowed are 32 hexadecimal digits`, { gid });
  if (!SOCKET.test(socket)) throw new SmcError("EINVAL", `socket ${socket}: allowed are 64 of 0-9 a-f .`, { socket });
  if (!isNamespace(netns))
    throw new SmcError("EINVAL", `network namespace ${netns}: allowed are integers > 0`, { netns });
  if (!isProbe(probe)) throw new SmcError("EINVAL", `probe port ${probe}: allowed are 0 to ${MAX_PORT}`, { probe });
}

/** What an entry file says; undefined where it is not what an entry of `gid` has to be. */
function decodeEntry(descriptor: number, gid: string): Entry | undefined {
  const bytes = Buffer.alloc(MAX_ENTRY_BYTES + 1);
  const length = readSync(descriptor, bytes, 0, bytes.length, 0);
  if (length > MAX_ENTRY_BYTES) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString("utf8", 0, length));
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { version, gid: named, socket, netns, probe, uid } = value as Record<string, unknown>;
  if (version !== VERSION || named !== gid || typeof socket !== "string" || !SOCKET.test(socket)) return undefined;
  if (!isNamespace(netns) || !isProbe(probe) || !isNumber(uid, 0, MAX_UID)) return undefined;
  return { gid, socket, netns, probe };
}

/**
 * Makes an entry, locked before anything is in it. For members of its directory's group, too, if it is `shared`.
 *
 * Returns: the descriptor that holds the lock; undefined where the name is taken, or a cleaner was at it first.
 * Errors:  Node's and SmcError; nothing is left then.
 */
export function makeEntry(path: string, { gid, socket, netns, probe }: Entry, shared: boolean): number | undefined {
  let descriptor: number;
  try {
    descriptor = openSync(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, PRIVATE_FILE);
  } catch (error) {
    if (codeOf(error) !== "EEXIST") throw error;
    return undefined;
  }
  let made = false;
  try {
    if (shared) fchmodSync(descriptor, SHARED_FILE);
    // Locked and still there: a cleaner may have come and gone before the lock was ours, and none can from now on.
    if (lockFile(descriptor) && fstatSync(descriptor).nlink > 0) {
      const content = { version: VERSION, gid, socket, netns, probe, uid: process.geteuid?.() };
      writeSync(descriptor, `${JSON.stringify(content)}\n`);
      made = true;
    }
  } finally {
    if (!made) {
      unlinkIfThere(path);
      closeSync(descriptor);
    }
  }
  return made ? descriptor : undefined;
}

function unlinkIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (codeOf(error) !== "ENOENT") throw error;
  }
}

/** Opens an entry so that it can be locked, or where that is not allowed, so that its lock can be seen. */
function openEntry(path: string): { readonly descriptor: number; readonly lockable: boolean } {
  try {
    return { descriptor: openSync(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK), lockable: true };
  } catch (error) {
    if (codeOf(error) !== "EACCES" && codeOf(error) !== "EROFS") throw error;
    return { descriptor: openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK), lockable: false };
  }
}

/**
 * The entry at `path` if it is alive. A stale one is removed.
 *
 * Order: a cleaner holds the lock when it removes. Who makes an entry takes the lock, then looks whether the file is still
 *        there, and makes another if either fails: no entry that is in use is ever removed.
 * Errors: Node's and SmcError, where it is gone or no file.
 */
export function examineEntry(path: string, gid: string): Entry | undefined {
  const { descriptor, lockable } = openEntry(path);
  try {
    const file = fstatSync(descriptor);
    if (!file.isFile()) return undefined;
    if (isLocked(descriptor)) return decodeEntry(descriptor, gid);
    if (lockable && lockFile(descriptor) && lstatSync(path).ino === file.ino) unlinkSync(path);
    return undefined;
  } finally {
    closeSync(descriptor);
  }
}
