/**
 * Locks that live as long as an open file: the kernel lets go of one when its last descriptor closes, however the
 * process ends.
 *
 * Owns the OFD write lock on byte 0 of a file, and the question whether somebody has it. It knows no path and no
 * meaning. A lock belongs to the open file, not to the process: descriptors of one `open` share it, two opens do not.
 *
 *   flock  0 type i16 · 2 whence i16 · 8 start i64 · 16 length i64 · 24 pid i32, zero · (32)
 *
 * Source: fcntl(2), open file description locks.
 */
import { constants } from "node:os";
import { fcntl, lastErrno, systemError } from "./libc.js";
import { F_OFD_GETLK, F_OFD_SETLK, F_UNLCK, F_WRLCK } from "./linux.js";

const { EACCES, EAGAIN } = constants.errno;

const FLOCK_SIZE = 32;
const FLOCK_TYPE_OFFSET = 0;
const FLOCK_LENGTH_OFFSET = 16;

/** A write lock on byte 0, counted from the beginning of the file. */
function writeLock(): Buffer {
  const lock = Buffer.alloc(FLOCK_SIZE);
  lock.writeInt16LE(F_WRLCK, FLOCK_TYPE_OFFSET);
  lock.writeBigInt64LE(1n, FLOCK_LENGTH_OFFSET);
  return lock;
}

/**
 * Takes the lock of a file, or has it already. Never blocks.
 *
 * Takes:   a descriptor open for writing, of a file that may be empty.
 * Returns: false when another open file has it.
 * Errors:  SmcError naming the call: no such descriptor, not open for writing, a file system without locks.
 */
export function lockFile(descriptor: number): boolean {
  if (fcntl(descriptor, F_OFD_SETLK, "void *", writeLock()) === 0) return true;
  const errno = lastErrno();
  if (errno === EAGAIN || errno === EACCES) return false;
  throw systemError("fcntl", errno);
}

/**
 * Whether another open file has the lock; one's own does not show. May be stale as soon as it is answered, except that
 * a lock which is gone and whose file is not opened again stays gone.
 *
 * Errors:  SmcError naming the call.
 */
export function isLocked(descriptor: number): boolean {
  const lock = writeLock();
  if (fcntl(descriptor, F_OFD_GETLK, "void *", lock) !== 0) throw systemError("fcntl");
  return lock.readInt16LE(FLOCK_TYPE_OFFSET) !== F_UNLCK;
}
