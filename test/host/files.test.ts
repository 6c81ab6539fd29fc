/** What the host says of its files: the file systems that are mounted here, those that are not by their number, and the network namespace. */
import fs, { mkdtempSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type FileSystemType, fileSystemType, networkNamespace } from "../../src/host/files.js";
import { skip } from "../support/missing.js";

const test = suite("files");

/** What /proc/self/mounts calls a file system -> its kind. */
const MOUNTED: Readonly<Record<string, FileSystemType>> = {
  tmpfs: "tmpfs",
  ext2: "local",
  ext3: "local",
  ext4: "local",
  xfs: "local",
  btrfs: "local",
  f2fs: "local",
  zfs: "local",
  overlay: "overlay",
  nfs: "network",
  nfs4: "network",
  cifs: "network",
  ceph: "network",
  "9p": "network",
  virtiofs: "network",
  proc: "other",
  sysfs: "other",
  cgroup2: "other",
};

/** f_type as statfs(2) lists it. */
const LISTED: readonly [string, number, FileSystemType][] = [
  ["TMPFS", 0x01021994, "tmpfs"],
  ["EXT4", 0xef53, "local"],
  ["XFS", 0x58465342, "local"],
  ["BTRFS", 0x9123683e, "local"],
  ["F2FS", 0xf2f52010, "local"],
  ["NFS", 0x6969, "network"],
  ["SMB", 0x517b, "network"],
  ["CIFS", 0xff534d42, "network"],
  ["SMB2", 0xfe534d42, "network"],
  ["FUSE", 0x65735546, "network"],
  ["V9FS", 0x01021997, "network"],
  ["CEPH", 0x00c36400, "network"],
  ["AFS", 0x5346414f, "network"],
  ["OCFS2", 0x7461636f, "network"],
  ["OVERLAYFS", 0x794c7630, "overlay"],
  ["PROC", 0x9fa0, "other"],
  ["SECRETMEM", 0x5345434d, "other"],
];

if (process.platform !== "linux") {
  skip(test, "all of it", "no file system types and no namespaces but on Linux");
} else {
  test("each mounted file system is named by its kind", () => {
    const lines = readFileSync("/proc/self/mounts", "utf8").trim().split("\n");
    // Of mounts at one place, the last one shows.
    const mounts = new Map(lines.map((line) => [line.split(" ")[1]!, line.split(" ")[2]!]));
    let known = 0;
    for (const [path, type] of mounts) {
      const kind = MOUNTED[type];
      if (kind === undefined || path.includes("\\") || !fs.existsSync(path)) continue;
      assert.is(fileSystemType(path), kind, `${path} is ${type}`);
      known++;
    }
    assert.ok(known > 0, "at least /proc");
  });

  test("file systems that cannot be mounted here are known by their number", () => {
    const { statfsSync } = fs;
    try {
      for (const [name, type, kind] of LISTED) {
        fs.statfsSync = (() => ({ type })) as unknown as typeof statfsSync;
        syncBuiltinESMExports();
        assert.is(fileSystemType("/"), kind, name);
      }
    } finally {
      fs.statfsSync = statfsSync;
      syncBuiltinESMExports();
    }
  });

  test("a path is asked for what it leads to; one that leads nowhere is Node's error", () => {
    const folder = mkdtempSync(join(tmpdir(), "smcnet-files-"));
    const link = join(folder, "link");
    fs.symlinkSync("/proc", link);
    assert.is(fileSystemType(link), "other");
    assert.throws(() => fileSystemType(join(folder, "missing")), /ENOENT/);
    rmSync(folder, { recursive: true });
  });

  test("the network namespace is the one that the kernel names", () => {
    assert.is(`net:[${networkNamespace()}]`, readlinkSync("/proc/self/ns/net"));
  });
}

test.run();
