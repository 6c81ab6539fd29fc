/**
 * libc through koffi: the only folder that touches FFI, and the only file that loads it.
 *
 * Owns the loading, the small calls every stack makes, and the way the other files of this folder get theirs
 * (`libcFunction`, `lastErrno`, `systemError`). It knows no struct and no policy. koffi is an optional dependency;
 * without it, or with SMC_FFI=off, `loadLibc` answers with the reason. There is no munmap here and there never will be:
 * the arena must not get a hole.
 */
import { constants } from "node:os";
import { getSystemErrorName } from "node:util";
import { type ErrorCode, SmcError } from "../errors.js";
import {
  AF_UNIX,
  MADV_DONTNEED,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
} from "./linux.js";

/** Where the constants and structs of this folder hold. */
const ARCHITECTURES: readonly string[] = ["x64", "arm64"];

/** Code of the errors that are a refusing system. */
const REFUSED: ErrorCode = "SMC_SYSTEM";

type ForeignFunction = (...args: unknown[]) => unknown;

interface Koffi {
  load(name: string): { func(signature: string): ForeignFunction };
  address(value: unknown): bigint;
  view(address: bigint, length: number): ArrayBuffer;
  errno(): number;
}

/** koffi and what it has bound in this thread, by signature. */
interface Native {
  readonly koffi: Koffi;
  readonly bind: (signature: string) => ForeignFunction;
}

/** The calls smcnet makes. Addresses are bigint, as koffi.address gives them; descriptors are numbers. */
export interface Libc {
  /** An ordinary ArrayBuffer over the pages of `view`, which must outlive it. */
  alias(view: Uint8Array): ArrayBuffer;
  /** An ordinary ArrayBuffer over `length` bytes at `address`. */
  window(address: bigint, length: number): ArrayBuffer;
  /** Address of the first byte of `view`. */
  address(view: Uint8Array): bigint;
  /** A connected pair of unix stream sockets, non-blocking and close-on-exec; undefined when the system refuses. */
  socketpair(): [number, number] | undefined;
  /** One byte, never blocking, never raising SIGPIPE; whether it was taken. A full socket is rung already. */
  ring(descriptor: number): boolean;
  /** Makes `target` refer to what `source` refers to, in one step. */
  replaceDescriptor(source: number, target: number): boolean;
  close(descriptor: number): void;
  /** Lets another runnable thread have this CPU; returns at once where there is none. */
  yieldCpu(): void;
  /** The shortest sleep that the timer allows, some 50 us. */
  leaveCpu(): void;
  /** Gives back whole pages: they read as zero afterwards. */
  discard(address: bigint, length: number): boolean;
}

export type LibcResult = { readonly libc: Libc } | { readonly reason: string };

function loadNative(): Native {
  const koffi = require("koffi") as Koffi;
  const library = koffi.load("libc.so.6");
  const bound = new Map<string, ForeignFunction>();
  const bind = (signature: string): ForeignFunction => {
    let found = bound.get(signature);
    if (found === undefined) bound.set(signature, (found = library.func(signature)));
    return found;
  };
  return { koffi, bind };
}

function makeLibc({ koffi, bind }: Native): Libc {
  const socketpair = bind("int socketpair(int domain, int type, int protocol, void *pair)");
  const send = bind("intptr_t send(int fd, const void *data, size_t length, int flags)");
  const dup3 = bind("int dup3(int source, int target, int flags)");
  const madvise = bind("int madvise(uintptr_t address, size_t length, int advice)");
  const close = bind("int close(int fd)");
  const schedYield = bind("int sched_yield(void)");
  const usleep = bind("int usleep(uint32_t microseconds)");
  const byte = Buffer.alloc(1, 1);
  return {
    alias: (view) => koffi.view(koffi.address(view), view.byteLength),
    window: (address, length) => koffi.view(address, length),
    address: (view) => koffi.address(view),
    socketpair() {
      const pair = new Int32Array(2);
      const status = socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair);
      return status === 0 ? [pair[0]!, pair[1]!] : undefined;
    },
    ring: (descriptor) => Number(send(descriptor, byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL)) === 1,
    replaceDescriptor: (source, target) => dup3(source, target, SOCK_CLOEXEC) === target,
    yieldCpu: () => {
      schedYield();
    },
    leaveCpu: () => {
      usleep(1);
    },
    close: (descriptor) => {
      close(descriptor);
    },
    discard: (address, length) => madvise(address, length, MADV_DONTNEED) === 0,
  };
}

type Loaded = { readonly libc: Libc; readonly native: Native } | { readonly reason: string };

let loaded: Loaded | undefined;

function load(): Loaded {
  if (loaded !== undefined) return loaded;
  if (process.platform !== "linux" || !ARCHITECTURES.includes(process.arch)) {
    loaded = { reason: `no FFI device on ${process.platform} ${process.arch}` };
    return loaded;
  }
  try {
    const native = loadNative();
    loaded = { libc: makeLibc(native), native };
    lookUpAll(native);
  } catch (error) {
    loaded = { reason: `koffi: ${(error as Error).message.split("\n")[0]}` };
  }
  return loaded;
}

/** libc, bound on first use and once a thread; or why there is none. */
export function loadLibc(): LibcResult {
  return load();
}

/** Errors: SmcError where there is no libc. */
function native(): Native {
  const result = load();
  if ("reason" in result) throw new SmcError(REFUSED, `no libc: ${result.reason}`, { reason: result.reason });
  return result.native;
}

/** What the files of this folder have declared. */
const declared: string[] = [];

/**
 * Looks everything up that was declared. A thread that is terminated in the middle of a look-up takes the whole process with it:
 * koffi throws where nothing can be thrown any more. So there is one moment for all of them, when the thread begins with SMC,
 * and none at a first call in whatever comes later. What libc does not have is found missing by its call.
 */
function lookUpAll({ bind }: Native): void {
  for (const declaration of declared) {
    try {
      bind(declaration);
    } catch {
      // As the docstring says.
    }
  }
}

/**
 * A function of libc, for the files of this folder: looked up when libc is loaded, and once a thread however many ask.
 *
 * Takes:   its C declaration, in koffi's words; `Call` says the same in TypeScript and is not checked against it.
 * Errors:  a call throws an SmcError where there is no libc or libc has no such function.
 */
export function libcFunction<Call extends (...args: never[]) => unknown>(declaration: string): Call {
  declared.push(declaration);
  let bound: ForeignFunction | undefined;
  const call = (...args: unknown[]): unknown => {
    bound ??= lookUp(declaration);
    return bound(...args);
  };
  return call as unknown as Call;
}

function lookUp(declaration: string): ForeignFunction {
  const { bind } = native();
  try {
    return bind(declaration);
  } catch (error) {
    throw new SmcError(REFUSED, `libc: ${(error as Error).message}`, { declaration });
  }
}

/** errno of this thread's last call; to be read right after it, before anything else may make one. */
export function lastErrno(): number {
  return native().koffi.errno();
}

/** Address of the first byte of `view`, whose holder keeps it reachable for as long as the address is used. */
export function addressOf(view: Uint8Array): bigint {
  return native().koffi.address(view);
}

/** The error of a call that failed. Takes: its name in C; errno. `values` holds both, `errno` by its symbol. */
export function systemError(call: string, errno: number = lastErrno()): SmcError {
  const symbol = getSystemErrorName(-errno);
  return new SmcError(REFUSED, `${call} failed with ${symbol}`, { call, errno: symbol });
}

/** Closes a descriptor that libc gave: Node keeps book of its own in Workers, and would warn of one that it does not know. */
export const closeDescriptor = libcFunction<(descriptor: number) => number>("int close(int fd)");

/** fcntl(2) of a descriptor: the one variadic call, so that its argument's type goes with it. */
export const fcntl = libcFunction<
  (descriptor: number, command: number, ...argument: ["int", number] | ["void *", Uint8Array]) => number
>("int fcntl(int fd, int command, ...)");

/** Calls again for as long as a signal interrupts it. Returns: what it returned last, and errno where that is -1. */
export function uninterrupted(call: () => number | bigint): { readonly result: number; readonly errno: number } {
  for (;;) {
    const result = Number(call());
    if (result !== -1) return { result, errno: 0 };
    const errno = lastErrno();
    if (errno !== constants.errno.EINTR) return { result, errno };
  }
}
