/**
 * memfds and the mappings of them: shared pages that two processes can trust not to vanish under them.
 *
 * Owns the seals, the checks of a foreign descriptor and every mmap of smcnet. It knows no DMB and no arena: who calls
 * says which addresses are free to be mapped over. Sealed against shrinking, a memfd has all its pages for as long as
 * it is mapped, so that no peer can cause a SIGBUS. A range is only ever mapped over; there is no way to unmap one.
 * Source: memfd_create(2), fcntl(2) on file sealing, mmap(2), madvise(2).
 */
import { fstatSync } from "node:fs";
import { constants } from "node:os";
import { SmcError } from "../errors.js";
import { closeDescriptor, fcntl, lastErrno, libcFunction, systemError } from "./libc.js";
import {
  F_ADD_SEALS,
  F_GET_SEALS,
  F_GETFL,
  F_SEAL_FUTURE_WRITE,
  F_SEAL_GROW,
  F_SEAL_SEAL,
  F_SEAL_SHRINK,
  F_SEAL_WRITE,
  MADV_REMOVE,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_NORESERVE,
  MAP_PRIVATE,
  MAP_SHARED,
  MFD_ALLOW_SEALING,
  MFD_CLOEXEC,
  MFD_NOEXEC_SEAL,
  MS_ASYNC,
  O_ACCMODE,
  O_RDWR,
  PROT_READ,
  PROT_WRITE,
  TMPFS_MAGIC,
} from "./linux.js";

/** struct statfs: 120 bytes, of which f_type, 8 bytes, is the first. */
const STATFS_SIZE = 120;
const STATFS_TYPE_OFFSET = 0;

/** Neither its size nor its seals can change any more. */
const SEALED = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
/** A mapping that may be written fails under these. */
const READ_ONLY_SEALS = F_SEAL_WRITE | F_SEAL_FUTURE_WRITE;

const memfdCreate = libcFunction<(name: string, flags: number) => number>(
  "int memfd_create(const char *name, unsigned int flags)",
);
const ftruncate = libcFunction<(descriptor: number, bytes: number) => number>("int ftruncate(int fd, int64_t length)");
const fstatfs = libcFunction<(descriptor: number, target: Uint8Array) => number>("int fstatfs(int fd, void *target)");
const getPageSize = libcFunction<() => number>("int getpagesize(void)");
const mmap = libcFunction<
  (
    address: bigint,
    bytes: number,
    protection: number,
    flags: number,
    descriptor: number,
    offset: number,
  ) => number | bigint
>("intptr_t mmap(uintptr_t address, size_t length, int protection, int flags, int fd, int64_t offset)");
const madvise = libcFunction<(address: bigint, bytes: number, advice: number) => number>(
  "int madvise(uintptr_t address, size_t length, int advice)",
);
const msync = libcFunction<(address: bigint, bytes: number, flags: number) => number>(
  "int msync(uintptr_t address, size_t length, int flags)",
);

let pageBytes = 0;

/** Bytes of a page: 4096 on x64; up to 65,536 on arm64. */
export function pageSize(): number {
  return (pageBytes ||= getPageSize());
}

/**
 * Makes a memfd whose size and seals can no longer change; all of it reads as zero and takes no memory yet.
 *
 * Takes:   a name for /proc, up to 249 bytes; its size, whole pages.
 * Returns: its descriptor, close-on-exec, the caller's to close; mappings outlive it.
 * Errors:  SmcError EINVAL for a size that is none; SmcError naming the call that the system refused.
 */
export function createMemfd(name: string, bytes: number): number {
  if (!Number.isSafeInteger(bytes) || bytes <= 0 || bytes % pageSize() !== 0) {
    throw new SmcError("EINVAL", `a memfd of ${bytes} bytes: whole pages of ${pageSize()} bytes are needed`, { bytes });
  }
  const descriptor = openMemfd(name);
  if (ftruncate(descriptor, bytes) !== 0) throw discarded(descriptor, systemError("ftruncate"));
  if (fcntl(descriptor, F_ADD_SEALS, "int", SEALED) !== 0) throw discarded(descriptor, systemError("fcntl"));
  return descriptor;
}

/** Never executable where the kernel can promise that; some are set up to refuse all others. */
function openMemfd(name: string): number {
  const flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  let descriptor = memfdCreate(name, flags | MFD_NOEXEC_SEAL);
  if (descriptor === -1 && lastErrno() === constants.errno.EINVAL) descriptor = memfdCreate(name, flags);
  if (descriptor === -1) throw systemError("memfd_create");
  return descriptor;
}

function discarded(descriptor: number, error: SmcError): SmcError {
  closeDescriptor(descriptor);
  return error;
}

/**
 * Why a descriptor that came from a peer must not be mapped; undefined when it may be.
 *
 * Takes:   an open descriptor, of whatever kind; the size that the peer said, bytes.
 * Returns: the reason, in words. Once undefined, it stays so: what is checked here cannot change any more.
 */
export function checkMemfd(descriptor: number, bytes: number): string | undefined {
  const stat = fstatSync(descriptor);
  if (!stat.isFile()) return "it is not a regular file";
  if (stat.size !== bytes) return `it has ${stat.size} bytes, not ${bytes}`;
  const fileSystem = Buffer.alloc(STATFS_SIZE);
  if (fstatfs(descriptor, fileSystem) !== 0) return systemError("fstatfs").message;
  const type = fileSystem.readBigUInt64LE(STATFS_TYPE_OFFSET);
  if (type !== TMPFS_MAGIC) return `it lies in a file system of type 0x${type.toString(16)}, not in tmpfs`;
  const status = fcntl(descriptor, F_GETFL, "int", 0);
  if (status === -1) return systemError("fcntl").message;
  if ((status & O_ACCMODE) !== O_RDWR) return "it is not open for reading and writing";
  // By mask: the kernel adds seals of its own, such as the one against executing.
  const seals = fcntl(descriptor, F_GET_SEALS, "int", 0);
  if (seals === -1) return systemError("fcntl").message;
  if ((seals & SEALED) !== SEALED) return `its seals 0x${seals.toString(16)} let its size change`;
  if ((seals & READ_ONLY_SEALS) !== 0) return `its seals 0x${seals.toString(16)} forbid writing`;
  return undefined;
}

/**
 * Maps a memfd from its beginning over a range of mapped addresses, readable and writable, for every thread at once.
 *
 * Takes:   the range, whole pages that nobody uses now; a descriptor that `checkMemfd` has passed for as many bytes.
 * Returns: whether it is mapped. If not, the range is still mapped: with what was there, or with private zeros.
 */
export function mapOver(address: bigint, bytes: number, descriptor: number): boolean {
  return mapFixed(address, bytes, MAP_SHARED, descriptor);
}

/** Maps private zeros over a range, so that it no longer shows a memfd. Takes and returns as `mapOver` does. */
export function mapAnonymous(address: bigint, bytes: number): boolean {
  return mapFixed(address, bytes, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
}

/**
 * Gives the pages of a mapped memfd back to the system: they read as zero afterwards, in every process that maps it.
 * Even a read takes memory for them again.
 *
 * Takes:   a range within one mapping, whole pages.
 * Returns: whether it was done; false for private memory.
 */
export function releaseShared(address: bigint, bytes: number): boolean {
  return isPages(address, bytes) && madvise(address, bytes, MADV_REMOVE) === 0;
}

function isPages(address: bigint, bytes: number): boolean {
  return (
    Number.isSafeInteger(bytes) &&
    bytes > 0 &&
    bytes % pageSize() === 0 &&
    address > 0n &&
    address % BigInt(pageSize()) === 0n
  );
}

function mapFixed(address: bigint, bytes: number, flags: number, descriptor: number): boolean {
  // The kernel would round a length up, over the neighbour's pages.
  if (!isPages(address, bytes)) return false;
  const protection = PROT_READ | PROT_WRITE;
  if (BigInt(mmap(address, bytes, protection, flags | MAP_FIXED, descriptor, 0)) === address) return true;
  // A failing MAP_FIXED may have taken the old mapping away. The engine believes that all of its memory is there, and
  // whatever the process mapped next could land in the hole.
  if (msync(address, bytes, MS_ASYNC) === 0) return false;
  const zeros = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  if (BigInt(mmap(address, bytes, protection, zeros, -1, 0)) !== address) process.abort();
  return false;
}
