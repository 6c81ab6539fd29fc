/**
 * Descriptors of every kind, and a way to send any number of them with any bytes: what an honest program has no use for.
 *
 * Owns the making. Whoever asks closes what it got, all of it by `closeMade`. Source: memfd_create(2), unix(7).
 */
import { closeSync, ftruncateSync, openSync, unlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { addressOf, fcntl, lastErrno, libcFunction, loadLibc } from "../../src/host/libc.js";
import {
  AF_UNIX,
  F_ADD_SEALS,
  F_SEAL_FUTURE_WRITE,
  F_SEAL_GROW,
  F_SEAL_SEAL,
  F_SEAL_SHRINK,
  F_SEAL_WRITE,
  MFD_ALLOW_SEALING,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  O_PATH,
  SCM_RIGHTS,
  SOCK_STREAM,
  SOL_SOCKET,
} from "../../src/host/linux.js";
import { sayLeftOut } from "../support/missing.js";

const AF_INET = 2;
const SOCK_DGRAM = 2;
const SOCK_SEQPACKET = 5;
const MFD_HUGETLB = 0x4;
const SYS_MEMFD_SECRET = 447;
const HUGE_PAGE = 2 << 20;
/** Descriptors that one message may carry. Source: SCM_MAX_FD of the kernel. */
export const MOST_DESCRIPTORS = 253;

const memfdCreate = libcFunction<(name: string, flags: number) => number>(
  "int memfd_create(const char *name, unsigned int flags)",
);
const makeSocket = libcFunction<(domain: number, type: number, protocol: number) => number>(
  "int socket(int domain, int type, int protocol)",
);
const makePair = libcFunction<(domain: number, type: number, protocol: number, target: Int32Array) => number>(
  "int socketpair(int domain, int type, int protocol, void *pair)",
);
const makePipe = libcFunction<(target: Int32Array) => number>("int pipe(void *pair)");
const eventfd = libcFunction<(start: number, flags: number) => number>("int eventfd(unsigned int start, int flags)");
const syscall = libcFunction<(number: number, argument: number) => number | bigint>(
  "intptr_t syscall(intptr_t number, intptr_t argument)",
);
const sendmsg = libcFunction<(descriptor: number, message: Uint8Array, flags: number) => number | bigint>(
  "intptr_t sendmsg(int fd, const void *message, int flags)",
);

const open = new Set<number>();

/** Notes a descriptor for `closeMade`. */
export function made(descriptor: number): number {
  if (descriptor < 0) throw new Error(`no descriptor: errno ${lastErrno()}`);
  open.add(descriptor);
  return descriptor;
}

/** Closes everything that was made here. */
export function closeMade(): void {
  close(...open);
}

/** Closes some of it. */
export function close(...descriptors: readonly number[]): void {
  for (const descriptor of descriptors) if (open.delete(descriptor)) closeSync(descriptor);
}

/** Makes a descriptor, or says that the system has none of the kind. */
export function ifPossible(name: string, make: () => number): number | undefined {
  try {
    return make();
  } catch (error) {
    sayLeftOut(name, (error as Error).message);
    return undefined;
  }
}

function pairOf(type: number): [number, number] {
  const pair = new Int32Array(2);
  if (makePair(AF_UNIX, type, 0, pair) !== 0) throw new Error(`no socketpair: errno ${lastErrno()}`);
  return [made(pair[0]!), made(pair[1]!)];
}

/** A bell as it should be: the end to ring, and the end to hear. */
export function bellPair(): [number, number] {
  const loaded = loadLibc();
  if ("reason" in loaded) throw new Error(loaded.reason);
  const [readEnd, writeEnd] = loaded.libc.socketpair()!;
  return [made(writeEnd), made(readEnd)];
}

/** A memfd with any seals. */
export function memfd(bytes: number, seals: number, flags = MFD_ALLOW_SEALING): number {
  const descriptor = made(memfdCreate("hostile", flags));
  ftruncateSync(descriptor, bytes);
  if (seals !== 0 && fcntl(descriptor, F_ADD_SEALS, "int", seals) !== 0) throw new Error(`no seals: ${lastErrno()}`);
  return descriptor;
}

const FIXED_SIZE = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

/** A memfd as it should be. */
export const sealedMemfd = (bytes: number): number => memfd(bytes, FIXED_SIZE);

function unlinked(folder: string): number {
  const path = join(folder, `smcnet-hostile-${process.pid}-${open.size}`);
  const descriptor = made(openSync(path, "wx+"));
  unlinkSync(path);
  return descriptor;
}

const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;
const fallocate = libcFunction<(descriptor: number, mode: number, offset: number, bytes: number) => number>(
  "int fallocate(int fd, int mode, int64_t offset, int64_t length)",
);

/** Takes pages out of a memfd: they read as zero again. No seal but that against writing forbids it. */
export function punchHole(descriptor: number, offset: number, bytes: number): void {
  if (fallocate(descriptor, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, offset, bytes) !== 0)
    throw new Error(`no hole: errno ${lastErrno()}`);
}

/** What is sent in place of a bell. */
export const WRONG_BELLS: Record<string, () => number> = {
  "a pipe": () => {
    const pair = new Int32Array(2);
    makePipe(pair);
    made(pair[0]!);
    return made(pair[1]!);
  },
  "a file": () => unlinked(tmpdir()),
  "/dev/null": () => made(openSync("/dev/null", "r+")),
  "a datagram socket": () => pairOf(SOCK_DGRAM)[0],
  "a packet socket": () => pairOf(SOCK_SEQPACKET)[0],
  "a TCP socket": () => made(makeSocket(AF_INET, SOCK_STREAM, 0)),
  "an eventfd": () => made(eventfd(0, 0)),
  "a memfd": () => sealedMemfd(4096),
  "a directory": () => made(openSync("/", "r")),
};

/** What is sent in place of a memfd of `bytes`. Errors: throws where the system does not have one. */
export const WRONG_MEMFDS: Record<string, (bytes: number) => number> = {
  ...WRONG_BELLS,
  "a memfd": (bytes) => memfd(bytes, 0),
  "a unix socket": () => bellPair()[0],
  "a memfd that may shrink": (bytes) => memfd(bytes, F_SEAL_GROW | F_SEAL_SEAL),
  "a memfd that may grow": (bytes) => memfd(bytes, F_SEAL_SHRINK | F_SEAL_SEAL),
  "a memfd whose seals may change": (bytes) => memfd(bytes, F_SEAL_SHRINK | F_SEAL_GROW),
  "a memfd sealed against writing": (bytes) => memfd(bytes, FIXED_SIZE | F_SEAL_WRITE),
  "a memfd sealed against later writing": (bytes) => memfd(bytes, FIXED_SIZE | F_SEAL_FUTURE_WRITE),
  "a memfd that is a page short": (bytes) => sealedMemfd(bytes - 4096),
  "a memfd with a page too many": (bytes) => sealedMemfd(bytes + 4096),
  "an empty memfd": () => sealedMemfd(0),
  "a memfd that is open for reading": (bytes) => made(openSync(`/proc/self/fd/${sealedMemfd(bytes)}`, "r")),
  "a memfd that is open as a path": (bytes) => made(openSync(`/proc/self/fd/${sealedMemfd(bytes)}`, O_PATH)),
  "a file in memory": (bytes) => {
    const descriptor = unlinked("/dev/shm");
    ftruncateSync(descriptor, bytes);
    return descriptor;
  },
  // Where the system has set no huge pages aside it cannot be mapped at all.
  "a memfd of huge pages": (bytes) =>
    memfd(Math.ceil(bytes / HUGE_PAGE) * HUGE_PAGE, FIXED_SIZE, MFD_ALLOW_SEALING | MFD_HUGETLB),
  "secret memory": (bytes) => {
    const descriptor = made(Number(syscall(SYS_MEMFD_SECRET, 0)));
    ftruncateSync(descriptor, bytes);
    return descriptor;
  },
};

/** Sends bytes with any number of descriptors. Returns: how many bytes were taken, or the negative errno. */
export function sendRaw(socket: number, bytes: Uint8Array, descriptors: readonly number[] = []): number {
  const vector = Buffer.alloc(16);
  vector.writeBigUInt64LE(addressOf(bytes), 0);
  vector.writeBigUInt64LE(BigInt(bytes.length), 8);
  const control = Buffer.alloc(16 + Math.ceil((4 * descriptors.length) / 8) * 8);
  control.writeBigUInt64LE(BigInt(16 + 4 * descriptors.length), 0);
  control.writeInt32LE(SOL_SOCKET, 8);
  control.writeInt32LE(SCM_RIGHTS, 12);
  for (const [i, descriptor] of descriptors.entries()) control.writeInt32LE(descriptor, 16 + 4 * i);
  const header = Buffer.alloc(56);
  header.writeBigUInt64LE(addressOf(vector), 16);
  header.writeBigUInt64LE(1n, 24);
  if (descriptors.length > 0) {
    header.writeBigUInt64LE(addressOf(control), 32);
    header.writeBigUInt64LE(BigInt(control.length), 40);
  }
  const sent = Number(sendmsg(socket, header, MSG_DONTWAIT | MSG_NOSIGNAL));
  return sent < 0 ? -lastErrno() : sent;
}
