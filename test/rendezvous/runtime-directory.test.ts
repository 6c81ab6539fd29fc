/** The runtime directory: which it is, how it is made, and what is refused, with the path and what is wrong with it. */
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SmcError } from "../../src/errors.js";
import type { FileSystemType } from "../../src/host/files.js";
import {
  openRuntimeDirectory,
  type RuntimeDirectory,
  type RuntimeDirectoryOptions,
  runtimePath,
} from "../../src/rendezvous/runtime-directory.js";
import { rootMissing, testUnless } from "../support/missing.js";

interface Folder {
  /** A directory of this test alone. */
  base: string;
}

const UID = process.geteuid?.() ?? -1;
const GROUP = process.getegid?.() ?? -1;

const modeOf = (path: string): string => (lstatSync(path).mode & 0o7777).toString(8);

/** Opens what must be fine, wherever the tests run. */
function opened(options: RuntimeDirectoryOptions, type: FileSystemType = "local"): RuntimeDirectory {
  const result = openRuntimeDirectory(options, () => type);
  if ("reason" in result) throw new Error(result.reason);
  return result;
}

/** Errors: fails unless it is refused with its path and the words. */
function refused(
  path: string,
  words: RegExp,
  options: RuntimeDirectoryOptions = {},
  type: FileSystemType = "local",
): void {
  const result = openRuntimeDirectory({ path, ...options }, () => type);
  const reason = "reason" in result ? result.reason : "it was opened";
  assert.match(reason, words);
  assert.ok(reason.includes(path), reason);
}

const directories = suite<Folder>("runtime directory");
const noLinux = process.platform === "linux" ? undefined : `no runtime directory on ${process.platform}`;
const test = testUnless(noLinux, directories);
const testAsRoot = testUnless(noLinux ?? rootMissing(), directories);

directories.before.each((context) => {
  context.base = realpathSync(mkdtempSync(join(tmpdir(), "smcnet-test-")));
});
directories.after.each(({ base }) => {
  rmSync(base, { recursive: true });
});

test("the operator's choice comes first, then XDG_RUNTIME_DIR if it is the user's, then a name in /tmp", ({ base }) => {
  assert.is(runtimePath("/run/x/", base, UID), "/run/x");
  assert.is(runtimePath("", base, UID), join(base, "smcnet"));
  for (const xdg of ["", "relative", join(base, "missing"), "/proc/1/fd/closed", "/run\0"])
    assert.is(runtimePath("", xdg, UID), `/tmp/smcnet-${UID}`, `"${xdg}"`);
  assert.is(runtimePath("", base, UID + 1), `/tmp/smcnet-${UID + 1}`, "another user's");
});

test("XDG_RUNTIME_DIR of the environment is taken", ({ base }) => {
  const before = process.env["XDG_RUNTIME_DIR"];
  process.env["XDG_RUNTIME_DIR"] = base;
  try {
    const directory = opened({});
    assert.is(directory.path, join(base, "smcnet"));
    directory.close();
  } finally {
    if (before === undefined) Reflect.deleteProperty(process.env, "XDG_RUNTIME_DIR");
    else process.env["XDG_RUNTIME_DIR"] = before;
  }
});

test("it is made with its parts, for the user alone, and opened as it is the next time", ({ base }) => {
  const path = join(base, "run");
  const first = opened({ path });
  for (const name of ["", "l", "s"]) assert.is(modeOf(join(path, name)), "700", name);
  assert.not(first.shared);
  const second = opened({ path: `${path}/` });
  assert.is(second.path, path);
  first.close();
  second.close();
});

test("one level is made, no more", ({ base }) => {
  refused(join(base, "no", "run"), /cannot be made: ENOENT/);
  assert.equal(readdirSync(base), []);
});

test("names lead into exactly the directory that was checked, whatever lies at its path later", ({ base }) => {
  const path = join(base, "run");
  const directory = opened({ path });
  renameSync(path, join(base, "moved"));
  mkdirSync(path, 0o700);
  writeFileSync(directory.at("s/file"), "here");
  assert.equal(readdirSync(join(base, "moved", "s")), ["file"]);
  assert.equal(readdirSync(path), []);
  assert.ok(directory.at("s/").length < 40, "short enough for the name of a unix socket");
  directory.close();
});

test("after close there is no way in", ({ base }) => {
  const directory = opened({ path: join(base, "run") });
  directory.close();
  directory.close();
  for (const use of [() => directory.at("l"), () => directory.open("l"), () => directory.make("l/x")])
    assert.throws(use, (error: unknown) => error instanceof SmcError && error.code === "EINVAL");
});

test("directories are made in it, and opened unless they are links", ({ base }) => {
  const path = join(base, "run");
  const directory = opened({ path });
  directory.make("l/one");
  writeFileSync(join(path, "l/one/file"), "");
  directory.make("l/one");
  assert.equal([modeOf(join(path, "l/one")), readdirSync(join(path, "l/one"))], ["700", ["file"]]);
  symlinkSync("one", join(path, "l/link"));
  assert.throws(() => directory.open("l/link"), /ENOTDIR|ELOOP/);
  assert.throws(() => directory.make("missing/one"), /ENOENT/);
  directory.close();
});

test("a symbolic link is refused, in place of the directory or of a part, with a slash behind it or not", ({
  base,
}) => {
  const path = join(base, "run");
  opened({ path }).close();
  const link = join(base, "link");
  symlinkSync(path, link);
  refused(link, /is a symbolic link/);
  assert.match(String((openRuntimeDirectory({ path: `${link}/` }) as { reason: string }).reason), /is a symbolic link/);
  renameSync(join(path, "l"), join(base, "elsewhere"));
  symlinkSync(join(base, "elsewhere"), join(path, "l"));
  refused(path, /run\/l is a symbolic link/);
});

test("a file is refused", ({ base }) => {
  writeFileSync(join(base, "file"), "");
  refused(join(base, "file"), /is no directory/);
});

test("permissions for others or for a group nobody trusts are refused, on every part", ({ base }) => {
  const path = join(base, "run");
  opened({ path }).close();
  for (const part of ["", "l", "s"]) {
    const place = join(path, part);
    for (const mode of [0o701, 0o702, 0o704, 0o777, 0o1777, 0o755]) {
      chmodSync(place, mode);
      refused(path, new RegExp(`${place} has mode 0${mode.toString(8)}, which lets everybody in`));
    }
    for (const mode of [0o710, 0o720, 0o740, 0o2770]) {
      chmodSync(place, mode);
      refused(path, new RegExp(`${place} has mode 0${mode.toString(8)}, which lets gid ${GROUP} in`));
    }
    chmodSync(place, 0o700);
  }
  opened({ path }).close();
});

test("network and overlay file systems are refused, others are not", ({ base }) => {
  const path = join(base, "run");
  refused(path, /run lies on a network file system/, {}, "network");
  refused(path, /run lies on an overlay.*mount a volume/, {}, "overlay");
  for (const type of ["tmpfs", "local", "other"] as const) opened({ path }, type).close();
});

test("a directory is made for the first trusted group, which is not asked for when there is no operator's path", ({
  base,
}) => {
  const path = join(base, "run");
  const directory = opened({ path, gids: [GROUP] });
  assert.ok(directory.shared);
  directory.make("l/one");
  for (const name of ["", "l", "s", "l/one"]) {
    assert.is(modeOf(join(path, name)), "2770", name);
    assert.is(lstatSync(join(path, name)).gid, GROUP);
  }
  writeFileSync(join(path, "l/one/file"), "");
  directory.make("l/one");
  assert.equal(readdirSync(join(path, "l")), ["one"], "no draft is left");
  assert.ok(existsSync(join(path, "l/one/file")));
  directory.close();
  refused(path, /lets gid \d+ in/);
  refused(path, /lets gid \d+ in/, { gids: [GROUP + 1] });
});

test("a group's directory needs all of 2770, and parts that are shared alike", ({ base }) => {
  const path = join(base, "run");
  const gids = [GROUP];
  opened({ path, gids }).close();
  for (const part of ["", "l"]) {
    for (const mode of [0o770, 0o2750, 0o2740]) {
      chmodSync(join(path, part), mode);
      refused(path, new RegExp(`has mode 0${mode.toString(8)}; a directory that gid ${GROUP} shares needs 02770`), {
        gids,
      });
    }
    chmodSync(join(path, part), 0o2777);
    refused(path, /lets everybody in/, { gids });
    chmodSync(join(path, part), 0o2770);
  }
  chmodSync(join(path, "s"), 0o700);
  refused(path, /run\/s is not shared as the directory it lies in/, { gids });
});

test("a directory of the user's own stays so, whatever groups are trusted", ({ base }) => {
  const path = join(base, "run");
  opened({ path }).close();
  const directory = opened({ path, gids: [GROUP] });
  assert.not(directory.shared);
  directory.close();
});

testAsRoot("another user's directory is refused", ({ base }) => {
  const path = join(base, "run");
  opened({ path }).close();
  for (const part of ["l", ""]) {
    chownSync(join(path, part), 12345, 54321);
    refused(path, /belongs to uid 12345, not to this process's uid 0/);
    refused(path, /belongs to uid 12345/, { gids: [54321] });
  }
});

testAsRoot("a trusted group's directory may be another user's; the group of the unknown never", ({ base }) => {
  const path = join(base, "run");
  const give = (gid: number): void => {
    for (const part of ["", "l", "s"]) {
      chownSync(join(path, part), 12345, gid);
      chmodSync(join(path, part), 0o2770);
    }
  };
  opened({ path, gids: [54321] }).close();
  for (const part of ["", "l", "s"]) assert.is(lstatSync(join(path, part)).gid, 54321);
  give(54321);
  opened({ path, gids: [1, 54321] }).close();
  refused(path, /run belongs to uid 12345/, { gids: [1] });
  give(65534);
  refused(path, /run belongs to uid 12345/, { gids: [65534] });
});

/** Runs `body` as user `uid`; root comes back. */
function asUser(uid: number, body: () => void): void {
  process.seteuid?.(uid);
  try {
    body();
  } finally {
    process.seteuid?.(0);
  }
}

testAsRoot("who may not open it is told so; who cannot be told from others gets none", ({ base }) => {
  const path = join(base, "run");
  opened({ path }).close();
  chmodSync(base, 0o755);
  asUser(12345, () => refused(path, /cannot be opened: EACCES/));
  asUser(12345, () => refused(join(base, "new"), /cannot be made: EACCES/));
  asUser(65534, () => {
    const result = openRuntimeDirectory({ path }, () => "local");
    assert.match("reason" in result ? result.reason : "", /uid 65534 stands for every unknown user/);
  });
});

directories.run();
