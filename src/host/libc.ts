/**
 * libc through koffi: the only folder that touches FFI, and the only file that loads it.
 *
 * koffi is an optional dependency; without it, or with SMC_FFI=off, `loadLibc` answers with the reason. There is no
 * munmap here and there never will be: the arena must not get a hole.
 */

/** Linux constants, the same on x64 and arm64. */
const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MADV_DONTNEED = 4;

interface Koffi {
  load(name: string): { func(signature: string): (...args: unknown[]) => unknown };
  address(value: unknown): bigint;
  view(address: bigint, length: number): ArrayBuffer;
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

function bind(koffi: Koffi): Libc {
  const library = koffi.load("libc.so.6");
  const socketpair = library.func("int socketpair(int domain, int type, int protocol, void *pair)");
  const send = library.func("intptr_t send(int fd, const void *data, size_t length, int flags)");
  const dup3 = library.func("int dup3(int source, int target, int flags)");
  const madvise = library.func("int madvise(uintptr_t address, size_t length, int advice)");
  const close = library.func("int close(int fd)");
  const schedYield = library.func("int sched_yield(void)");
  const usleep = library.func("int usleep(uint32_t microseconds)");
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

let loaded: LibcResult | undefined;

/** libc, bound on first use and once a thread; or why there is none. */
export function loadLibc(): LibcResult {
  if (loaded !== undefined) return loaded;
  if (process.platform !== "linux") {
    loaded = { reason: `no FFI device on ${process.platform}` };
    return loaded;
  }
  try {
    loaded = { libc: bind(require("koffi") as Koffi) };
  } catch (error) {
    loaded = { reason: `koffi: ${(error as Error).message.split("\n")[0]}` };
  }
  return loaded;
}
