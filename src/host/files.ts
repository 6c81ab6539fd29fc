/**
 * What the host says of its files: the kind of a file system, and which network this process is in.
 *
 * Owns the magic numbers. It knows no policy: who asks decides what a kind is good for.
 * Source: statfs(2) and linux/magic.h; namespaces(7).
 */
import { statfsSync, statSync } from "node:fs";

/**
 * tmpfs: in memory, of this kernel. local: on a disk of this kernel. network: other kernels, or a program, may have a
 * hand in it, so locks and sockets may not mean what they mean here. overlay: a file may be copied under its users.
 */
export type FileSystemType = "tmpfs" | "local" | "network" | "overlay" | "other";

/** f_type -> what it is. */
const FILE_SYSTEMS: ReadonlyMap<number, FileSystemType> = new Map([
  [0x01021994, "tmpfs"],
  [0x858458f6, "tmpfs"], // ramfs
  [0xef53, "local"], // ext2, ext3, ext4
  [0x58465342, "local"], // xfs
  [0x9123683e, "local"], // btrfs
  [0xf2f52010, "local"], // f2fs
  [0x2fc12fc1, "local"], // zfs
  [0xca451a4e, "local"], // bcachefs
  [0x6969, "network"], // nfs
  [0x517b, "network"], // smb
  [0xff534d42, "network"], // cifs
  [0xfe534d42, "network"], // smb2
  [0x65735546, "network"], // fuse, virtiofs
  [0x01021997, "network"], // 9p
  [0x00c36400, "network"], // ceph
  [0x5346414f, "network"], // afs
  [0x6b414653, "network"], // the kernel's afs
  [0x73757245, "network"], // coda
  [0x01161970, "network"], // gfs2
  [0x7461636f, "network"], // ocfs2
  [0x0bd00bd0, "network"], // lustre
  [0x47504653, "network"], // gpfs
  [0x19830326, "network"], // beegfs
  [0x786f4256, "network"], // vboxsf
  [0xbacbacbc, "network"], // vmhgfs
  [0x7c7c6673, "network"], // prl_fs
  [0x794c7630, "overlay"],
  [0x61756673, "overlay"], // aufs
]);

/** The kind of file system that `path` lies in, symlinks followed. Errors: Node's, such as ENOENT. */
export function fileSystemType(path: string): FileSystemType {
  return FILE_SYSTEMS.get(statfsSync(path).type) ?? "other";
}

/**
 * The network namespace of this process, as a number that no other living namespace of this kernel has.
 *
 * Errors: Node's, where /proc is missing.
 */
export function networkNamespace(): number {
  return statSync("/proc/self/ns/net").ino;
}
