/**
 * Unix stream sockets read and written by hand, because libuv drops the descriptors that come with the bytes.
 *
 * Owns the structs of sendmsg and recvmsg, what a peer is asked for, and the doorbell checks. It knows no message: a
 * frame is bytes. A socket that is read here must not be given to libuv. Nothing blocks but `waitReadable`.
 *
 * Structs are 64-bit little-endian, the same on x64 and arm64:
 *
 *   msghdr   0 name · 8 namelen u32 · 16 iov · 24 iovlen · 32 control · 40 controllen · 48 flags i32 · (56)
 *   iovec    0 base · 8 length · (16)
 *   cmsghdr  0 length · 8 level i32 · 12 type i32 · 16 data, padded to 8
 *   ucred    0 pid i32 · 4 uid u32 · 8 gid u32 · (12)
 *   pollfd   0 fd i32 · 4 events i16 · 6 revents i16 · (8)
 *   sockaddr_un  0 family u16 · 2 path, ended by a zero byte · (110)
 *
 * Source: unix(7), cmsg(3), recvmsg(2), poll(2).
 */
import { closeSync, constants as files, openSync } from "node:fs";
import { constants } from "node:os";
import { SmcError } from "../errors.js";
import { debug } from "../trace.js";
import { addressOf, closeDescriptor, fcntl, lastErrno, libcFunction, systemError, uninterrupted } from "./libc.js";
import {
  AF_UNIX,
  ETOOMANYREFS,
  F_DUPFD_CLOEXEC,
  MSG_CMSG_CLOEXEC,
  MSG_CTRUNC,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  MSG_PEEK,
  O_PATH,
  POLLIN,
  POLLNVAL,
  SCM_RIGHTS,
  SO_DOMAIN,
  SO_PEERCRED,
  SO_TYPE,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
} from "./linux.js";

const { EAGAIN, EBADF, EFAULT, EINVAL, ENOBUFS, ENOMEM, ENOTSOCK } = constants.errno;

const MSGHDR_SIZE = 56;
const MSGHDR_IOV_OFFSET = 16;
const MSGHDR_IOVLEN_OFFSET = 24;
const MSGHDR_CONTROL_OFFSET = 32;
const MSGHDR_CONTROLLEN_OFFSET = 40;
const MSGHDR_FLAGS_OFFSET = 48;
const IOVEC_SIZE = 16;
const IOVEC_LENGTH_OFFSET = 8;
const CMSG_LEVEL_OFFSET = 8;
const CMSG_TYPE_OFFSET = 12;
const CMSG_DATA_OFFSET = 16;
const CMSG_ALIGNMENT = 8;
const DESCRIPTOR_SIZE = 4;
const UCRED_SIZE = 12;
const UCRED_UID_OFFSET = 4;
const UCRED_GID_OFFSET = 8;
const POLLFD_SIZE = 8;
const POLLFD_EVENTS_OFFSET = 4;
const POLLFD_REVENTS_OFFSET = 6;
const SOCKADDR_PATH_OFFSET = 2;

/** Longest path of a unix socket, bytes; its 108th is the zero at the end. */
const PATH_LIMIT = 107;
/** Descriptors that one frame carries. */
const DESCRIPTOR_LIMIT = 4;
/** What SO_PEERCRED says of a socket that has no peer process. */
const NO_UID = 0xffff_ffff;
/** Rounds of one drain: a peer that writes without end must not hold the thread. */
const DRAIN_ROUNDS = 64;
const DRAIN_SIZE = 4096;
/** Longest wait that poll(2) can be told, milliseconds. */
const WAIT_LIMIT_MS = 0x7fff_ffff;

/** What a call's arguments are to blame for, and what the peer cannot cause. */
const ARGUMENT_ERRORS: ReadonlySet<number> = new Set([EBADF, EFAULT, EINVAL, ENOTSOCK]);
/** What passes by itself. */
const NO_ROOM: ReadonlySet<number> = new Set([EAGAIN, ENOBUFS, ENOMEM, ETOOMANYREFS]);

/** The structs of the call being made: this thread's, reachable for good, and free again when it returns. */
const header = Buffer.alloc(MSGHDR_SIZE);
const vector = Buffer.alloc(IOVEC_SIZE);
const control = Buffer.alloc(CMSG_DATA_OFFSET + DESCRIPTOR_LIMIT * DESCRIPTOR_SIZE);

const socket = libcFunction<(domain: number, type: number, protocol: number) => number>(
  "int socket(int domain, int type, int protocol)",
);
const connect = libcFunction<(descriptor: number, address: Uint8Array, length: number) => number>(
  "int connect(int fd, const void *address, uint32_t length)",
);
const sendmsg = libcFunction<(descriptor: number, message: Uint8Array, flags: number) => number | bigint>(
  "intptr_t sendmsg(int fd, const void *message, int flags)",
);
const recvmsg = libcFunction<(descriptor: number, message: Uint8Array, flags: number) => number | bigint>(
  "intptr_t recvmsg(int fd, void *message, int flags)",
);
const recv = libcFunction<(descriptor: number, target: Uint8Array, length: number, flags: number) => number | bigint>(
  "intptr_t recv(int fd, void *target, size_t length, int flags)",
);
const getsockopt = libcFunction<
  (descriptor: number, level: number, option: number, target: Uint8Array, length: Uint32Array) => number
>("int getsockopt(int fd, int level, int option, void *target, void *length)");
const poll = libcFunction<(descriptors: Uint8Array, count: number, timeoutMs: number) => number>(
  "int poll(void *descriptors, unsigned long count, int timeout)",
);

/**
 * A socket connected to the listener at `path`, non-blocking and close-on-exec, the caller's to close.
 *
 * Takes:   a path of 1 to 107 bytes; a longer one is reached by way of /proc/self/fd. A symbolic link is not followed.
 * Returns: its descriptor; undefined where nobody listens, the backlog is full or the caller may not.
 * Errors:  SmcError EINVAL for a path that is none; SmcError where the system grants no socket.
 */
export function connectUnix(path: string): number | undefined {
  const { descriptor, errno } = tryConnect(path);
  if (descriptor === undefined) debug("no connection to %s: errno %d", path, errno);
  return descriptor;
}

/** Whether a path names a socket that nobody listens on any more: not one that is only busy. Errors: as connectUnix. */
export function isAbandoned(path: string): boolean {
  const { descriptor, errno } = tryConnect(path);
  if (descriptor !== undefined) closeDescriptor(descriptor);
  return errno === constants.errno.ECONNREFUSED;
}

function tryConnect(path: string): { readonly descriptor: number | undefined; readonly errno: number } {
  const length = Buffer.byteLength(path);
  if (length === 0 || length > PATH_LIMIT || path.includes("\0")) {
    throw new SmcError("EINVAL", `${length} bytes are no path of a unix socket, which has 1 to ${PATH_LIMIT}`, {
      path,
    });
  }
  let place: number;
  try {
    place = openSync(path, O_PATH | files.O_NOFOLLOW);
  } catch (error) {
    return { descriptor: undefined, errno: -((error as NodeJS.ErrnoException).errno ?? 0) };
  }
  try {
    return connectTo(`/proc/self/fd/${place}`);
  } finally {
    closeSync(place);
  }
}

/** Takes: the way to an inode, so that a link put in its place leads nowhere. */
function connectTo(path: string): { readonly descriptor: number | undefined; readonly errno: number } {
  const address = Buffer.alloc(SOCKADDR_PATH_OFFSET + path.length + 1);
  address.writeUInt16LE(AF_UNIX, 0);
  address.write(path, SOCKADDR_PATH_OFFSET);
  const descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (descriptor === -1) throw systemError("socket");
  if (connect(descriptor, address, address.length) === 0) return { descriptor, errno: 0 };
  const errno = lastErrno();
  closeDescriptor(descriptor);
  return { descriptor: undefined, errno };
}

/** What becomes of a frame: taken whole; nothing of it was, try again later; the socket is of no use any more. */
export type SendOutcome = "sent" | "full" | "closed";

/**
 * Sends a frame, and descriptors with it, in one call that never blocks and never raises SIGPIPE.
 *
 * Takes:   a unix stream socket; 1 byte or more, up to 32 KiB if it is to be taken whole or not at all; up to four
 *          descriptors, which stay the caller's.
 * Returns: "closed" for a frame taken in part as well, since the stream is broken then: close the socket.
 * Errors:  SmcError where an argument is none: no such descriptor, no socket, an empty frame.
 */
export function sendFrame(socketDescriptor: number, frame: Uint8Array, ...descriptors: readonly number[]): SendOutcome {
  const count = descriptors.length;
  if (count > DESCRIPTOR_LIMIT)
    throw new SmcError("EINVAL", `${count} descriptors: one frame carries ${DESCRIPTOR_LIMIT}`, { count });
  point(frame, count === 0 ? 0 : controlSize(count));
  if (count > 0) {
    control.writeBigUInt64LE(BigInt(CMSG_DATA_OFFSET + count * DESCRIPTOR_SIZE), 0);
    control.writeInt32LE(SOL_SOCKET, CMSG_LEVEL_OFFSET);
    control.writeInt32LE(SCM_RIGHTS, CMSG_TYPE_OFFSET);
    for (const [i, descriptor] of descriptors.entries())
      control.writeInt32LE(descriptor, CMSG_DATA_OFFSET + i * DESCRIPTOR_SIZE);
  }
  const { result, errno } = uninterrupted(() => sendmsg(socketDescriptor, header, MSG_DONTWAIT | MSG_NOSIGNAL));
  if (result === frame.length) return "sent";
  if (ARGUMENT_ERRORS.has(errno)) throw systemError("sendmsg", errno);
  return NO_ROOM.has(errno) ? "full" : "closed";
}

/** What came: bytes at the beginning of the frame, 1 or more, and descriptors, the caller's to close. */
export interface Received {
  readonly length: number;
  readonly descriptors: readonly number[];
}

/**
 * Receives bytes and the descriptors that came with them, in one call that never blocks.
 *
 * Takes:   a unix stream socket; room for 1 byte or more. A stream keeps no borders: bytes of several frames may come at
 *          once, or part of one; but bytes after a descriptor's frame do not come with it.
 * Returns: "empty" when nothing is there; "closed" at the end of the stream, after a failure, and when more than four
 *          descriptors came or one could not be taken (all are closed then): close the socket.
 * Errors:  SmcError where an argument is none: no such descriptor, no socket, no room.
 */
export function receiveFrame(socketDescriptor: number, frame: Uint8Array): Received | "empty" | "closed" {
  point(frame, controlSize(DESCRIPTOR_LIMIT));
  const { result, errno } = uninterrupted(() => recvmsg(socketDescriptor, header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC));
  if (ARGUMENT_ERRORS.has(errno)) throw systemError("recvmsg", errno);
  if (result === -1) return errno === EAGAIN ? "empty" : "closed";
  const descriptors = receivedDescriptors();
  const whole = (header.readInt32LE(MSGHDR_FLAGS_OFFSET) & MSG_CTRUNC) === 0;
  if (whole && result > 0 && result <= frame.length) return { length: result, descriptors };
  for (const descriptor of descriptors) closeDescriptor(descriptor);
  return "closed";
}

/** Bytes that a control message takes, its padding included. */
function controlSize(descriptors: number): number {
  return CMSG_DATA_OFFSET + padded(descriptors * DESCRIPTOR_SIZE);
}

function padded(bytes: number): number {
  return Math.ceil(bytes / CMSG_ALIGNMENT) * CMSG_ALIGNMENT;
}

/** Points the header at `frame`, which the caller still uses after the call, and at so much of the control part. */
function point(frame: Uint8Array, controlBytes: number): void {
  // With no byte Linux sends no descriptor, and with no room it receives what looks like the end of the stream.
  if (frame.length === 0) throw new SmcError("EINVAL", "a frame has one byte or more", { length: 0 });
  vector.writeBigUInt64LE(addressOf(frame), 0);
  vector.writeBigUInt64LE(BigInt(frame.length), IOVEC_LENGTH_OFFSET);
  header.fill(0);
  header.writeBigUInt64LE(addressOf(vector), MSGHDR_IOV_OFFSET);
  header.writeBigUInt64LE(1n, MSGHDR_IOVLEN_OFFSET);
  if (controlBytes === 0) return;
  control.fill(0);
  header.writeBigUInt64LE(addressOf(control), MSGHDR_CONTROL_OFFSET);
  header.writeBigUInt64LE(BigInt(controlBytes), MSGHDR_CONTROLLEN_OFFSET);
}

/** The descriptors that a receive has put into the control part: every one, or it would never be closed. */
function receivedDescriptors(): number[] {
  const found: number[] = [];
  const end = Number(header.readBigUInt64LE(MSGHDR_CONTROLLEN_OFFSET));
  for (let at = 0; at + CMSG_DATA_OFFSET <= end; ) {
    const length = Number(control.readBigUInt64LE(at));
    if (length < CMSG_DATA_OFFSET) break;
    const rights =
      control.readInt32LE(at + CMSG_LEVEL_OFFSET) === SOL_SOCKET &&
      control.readInt32LE(at + CMSG_TYPE_OFFSET) === SCM_RIGHTS;
    const last = Math.min(at + length, end) - DESCRIPTOR_SIZE;
    for (let data = at + CMSG_DATA_OFFSET; rights && data <= last; data += DESCRIPTOR_SIZE) {
      found.push(control.readInt32LE(data));
    }
    at += padded(length);
  }
  return found;
}

/** Who made the other end of a socket, as this process's namespaces name them. A pid may be another's by now. */
export interface Credentials {
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
}

/** Of the process that called listen, connect or socketpair for the other end; undefined where there is no such end. */
export function peerCredentials(descriptor: number): Credentials | undefined {
  const ucred = socketOption(descriptor, SO_PEERCRED, UCRED_SIZE);
  const uid = ucred?.readUInt32LE(UCRED_UID_OFFSET) ?? NO_UID;
  if (ucred === undefined || uid === NO_UID) return undefined;
  return { uid, gid: ucred.readUInt32LE(UCRED_GID_OFFSET), pid: ucred.readInt32LE(0) };
}

/** Whether a descriptor that came from a peer is a unix stream socket, on which a non-blocking send never blocks. */
export function isUnixStream(descriptor: number): boolean {
  const domain = socketOption(descriptor, SO_DOMAIN, 4);
  const type = socketOption(descriptor, SO_TYPE, 4);
  return domain?.readInt32LE(0) === AF_UNIX && type?.readInt32LE(0) === SOCK_STREAM;
}

/** The value of an option; undefined where the descriptor has none of that size. */
function socketOption(descriptor: number, option: number, size: number): Buffer | undefined {
  const target = Buffer.alloc(size);
  const length = new Uint32Array([size]);
  return getsockopt(descriptor, SOL_SOCKET, option, target, length) === 0 && length[0] === size ? target : undefined;
}

/** A second descriptor of the same open file, close-on-exec, never 0 to 2. Errors: SmcError where none is to be had. */
export function duplicate(descriptor: number): number {
  const copy = fcntl(descriptor, F_DUPFD_CLOEXEC, "int", 3);
  if (copy === -1) throw systemError("fcntl");
  return copy;
}

/**
 * Blocks the thread until `descriptor` has bytes or its end to read. For threads without an event loop of their own.
 *
 * Takes:   how long at most, milliseconds; a thread cannot be terminated meanwhile.
 * Returns: whether a read would not block now.
 * Errors:  SmcError EINVAL for a limit that is none; SmcError for a descriptor that is none.
 */
export function waitReadable(descriptor: number, timeoutMs: number): boolean {
  if (!(timeoutMs >= 0 && timeoutMs <= WAIT_LIMIT_MS)) {
    throw new SmcError("EINVAL", `cannot wait for ${timeoutMs} ms`, { timeoutMs });
  }
  const entry = Buffer.alloc(POLLFD_SIZE);
  entry.writeInt32LE(descriptor, 0);
  entry.writeInt16LE(POLLIN, POLLFD_EVENTS_OFFSET);
  const deadline = performance.now() + timeoutMs;
  // A signal does not make the wait longer.
  const { result, errno } = uninterrupted(() => poll(entry, 1, Math.max(0, Math.ceil(deadline - performance.now()))));
  if (result === -1) throw systemError("poll", errno);
  const events = entry.readInt16LE(POLLFD_REVENTS_OFFSET);
  if ((events & POLLNVAL) !== 0) throw systemError("poll", EBADF);
  return result > 0;
}

/** Whether somebody has the other end of a stream socket on which nothing ever comes: its end is all that could. */
export function isHeard(descriptor: number): boolean {
  return Number(recv(descriptor, Buffer.alloc(1), 1, MSG_DONTWAIT | MSG_PEEK)) !== 0;
}

/** Reads what a socket has and drops it, descriptors included. Bounded: 256 KiB at most. False when the stream has ended. */
export function drain(descriptor: number): boolean {
  const target = Buffer.allocUnsafe(DRAIN_SIZE);
  for (let round = 0; round < DRAIN_ROUNDS; round++) {
    const length = Number(recv(descriptor, target, target.length, MSG_DONTWAIT));
    if (length === 0) return false;
    if (length < 0) return true;
  }
  return true;
}
