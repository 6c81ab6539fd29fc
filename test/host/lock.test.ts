/** Locks: one open file has it, in this process or another, and its end lets go of it. Skipped where libc is missing. */
import { fork } from "node:child_process";
import { closeSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { loadLibc } from "../../src/host/libc.js";
import { isLocked, lockFile } from "../../src/host/lock.js";
import { duplicate } from "../../src/host/unix-socket.js";
import { skip } from "../support/missing.js";
import { happens } from "../support/watchdog.js";
import { closeAll, errorOf } from "./descriptors.js";

const CHILD = fileURLToPath(new URL("./lock.child.mjs", import.meta.url));

const test = suite("lock");
const loaded = loadLibc();

if ("reason" in loaded) {
  skip(test, "all of it", `no libc: ${loaded.reason}`);
} else {
  const folder = mkdtempSync(join(tmpdir(), "smcnet-lock-"));
  const path = join(folder, "entry");
  closeSync(openSync(path, "w"));
  test.after(() => rmSync(folder, { recursive: true }));

  test("one open file has the lock: the others are refused, see it, and get it when it is closed", () => {
    const owner = openSync(path, "r+");
    const other = openSync(path, "r+");
    assert.not(isLocked(other), "nobody has it yet");
    assert.ok(lockFile(owner));
    assert.not(lockFile(other));
    assert.ok(isLocked(other));
    closeSync(owner);
    assert.not(isLocked(other));
    assert.ok(lockFile(other));
    closeSync(other);
  });

  test("the owner may ask again; its own lock does not show", () => {
    const owner = openSync(path, "r+");
    assert.ok(lockFile(owner));
    assert.ok(lockFile(owner));
    assert.not(isLocked(owner));
    closeSync(owner);
  });

  test("descriptors of one open file share its lock, which lives until the last is closed", () => {
    const owner = openSync(path, "r+");
    const copy = duplicate(owner);
    const other = openSync(path, "r+");
    assert.ok(lockFile(owner));
    assert.ok(lockFile(copy));
    closeSync(owner);
    assert.ok(isLocked(other));
    closeSync(copy);
    assert.not(isLocked(other));
    closeSync(other);
  });

  test("closing another open of the same file lets go of nothing", () => {
    const owner = openSync(path, "r+");
    assert.ok(lockFile(owner));
    closeSync(openSync(path, "r+"));
    const other = openSync(path, "r");
    assert.ok(isLocked(other));
    closeAll([owner, other]);
  });

  test("a process that is killed lets go; until then nobody else gets the lock", async () => {
    const mine = openSync(path, "r+");
    const child = fork(CHILD, [path]);
    try {
      const [got] = await happens(child, "message", "the child's lock");
      assert.is(got, true);
      assert.ok(isLocked(mine));
      assert.not(lockFile(mine));
      child.kill("SIGKILL");
      await happens(child, "exit", "the child's end");
      assert.not(isLocked(mine));
      assert.ok(lockFile(mine));
    } finally {
      child.kill("SIGKILL");
      closeSync(mine);
    }
  });

  test("a process cannot take what this one has", async () => {
    const mine = openSync(path, "r+");
    assert.ok(lockFile(mine));
    const child = fork(CHILD, [path]);
    const ended = happens(child, "exit", "the child's end");
    const [got] = await happens(child, "message", "the child's answer");
    assert.is(got, false);
    child.kill("SIGKILL");
    await ended;
    closeSync(mine);
  });

  test("a file open for reading alone can be asked about but not locked; what is no file can be neither", () => {
    const readOnly = openSync(path, "r");
    assert.not(isLocked(readOnly));
    const refused = { call: "fcntl", errno: "EBADF" };
    assert.equal(errorOf(() => lockFile(readOnly)).values, refused);
    closeSync(readOnly);
    assert.equal(errorOf(() => lockFile(-1)).values, refused);
    assert.equal(errorOf(() => isLocked(-1)).values, refused);
  });
}

test.run();
