/**
 * Linux by number: flags and commands of the system calls that this folder makes, the same on x64 and arm64.
 *
 * Owns the numbers under the names of the kernel's headers; structs lie with who fills them. Errors have the numbers of
 * `os.constants.errno`, but for the one that Node does not name. Source: the headers below include/uapi of Linux.
 */

/** Too many descriptors on their way. */
export const ETOOMANYREFS = 109;

/** open(2) and fcntl(2). */
export const O_ACCMODE = 0o3;
export const O_RDWR = 0o2;
export const O_PATH = 0o10000000;
export const F_GETFL = 3;
export const F_DUPFD_CLOEXEC = 1030;
export const F_OFD_GETLK = 36;
export const F_OFD_SETLK = 37;
export const F_WRLCK = 1;
export const F_UNLCK = 2;

/** memfd_create(2) and the seals. */
export const MFD_CLOEXEC = 0x1;
export const MFD_ALLOW_SEALING = 0x2;
export const MFD_NOEXEC_SEAL = 0x8;
export const F_ADD_SEALS = 1033;
export const F_GET_SEALS = 1034;
export const F_SEAL_SEAL = 0x1;
export const F_SEAL_SHRINK = 0x2;
export const F_SEAL_GROW = 0x4;
export const F_SEAL_WRITE = 0x8;
export const F_SEAL_FUTURE_WRITE = 0x10;
export const TMPFS_MAGIC = 0x01021994n;

/** mmap(2), madvise(2), msync(2). */
export const PROT_READ = 0x1;
export const PROT_WRITE = 0x2;
export const MAP_SHARED = 0x01;
export const MAP_PRIVATE = 0x02;
export const MAP_FIXED = 0x10;
export const MAP_ANONYMOUS = 0x20;
export const MAP_NORESERVE = 0x4000;
export const MADV_DONTNEED = 4;
export const MADV_REMOVE = 9;
export const MS_ASYNC = 1;

/** socket(2), sendmsg(2), recvmsg(2), poll(2). */
export const AF_UNIX = 1;
export const SOCK_STREAM = 1;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = 0o2000000;
export const SOL_SOCKET = 1;
export const SO_TYPE = 3;
export const SO_PEERCRED = 17;
export const SO_DOMAIN = 39;
export const SCM_RIGHTS = 1;
export const MSG_PEEK = 0x2;
export const MSG_CTRUNC = 0x8;
export const MSG_DONTWAIT = 0x40;
export const MSG_NOSIGNAL = 0x4000;
export const MSG_CMSG_CLOEXEC = 0x4000_0000;
export const POLLIN = 0x1;
export const POLLNVAL = 0x20;
