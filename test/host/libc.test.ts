/** libc through koffi: what each call does to memory and descriptors; and the bell that is made of them. Skipped where koffi is missing. */
import { closeSync, fstatSync, readSync } from "node:fs";
import { constants } from "node:os";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { makeBell } from "../../src/host/bell.js";
import { lastErrno, libcFunction, loadLibc, systemError, uninterrupted } from "../../src/host/libc.js";
import { skip } from "../support/missing.js";
import { until } from "../support/watchdog.js";
import { errorOf } from "./descriptors.js";

const loaded = loadLibc();
const PAGE = 65_536;

const test = suite("libc");

/** Memory as the arena's: shared, and never moved. */
const memory = new WebAssembly.Memory({ initial: 4, maximum: 4, shared: true });
const bytes = new Uint8Array(memory.buffer);

if ("reason" in loaded) {
  skip(test, "all of it", `no libc: ${loaded.reason}`);
} else {
  const { libc } = loaded;

  test("it is bound once a thread", () => {
    assert.is(loadLibc(), loaded);
  });

  test("an alias is an ordinary ArrayBuffer over the same bytes", () => {
    const alias = libc.alias(bytes);
    assert.instance(alias, ArrayBuffer);
    assert.is(alias.byteLength, bytes.byteLength);
    const plain = new Uint8Array(alias);
    bytes[PAGE + 1] = 0x5a;
    plain[3 * PAGE] = 0xa5;
    assert.equal([plain[PAGE + 1], bytes[3 * PAGE]], [0x5a, 0xa5]);
  });

  test("a window is the bytes at an address, and no more", () => {
    bytes.set([1, 2, 3, 4, 5, 6], 1000);
    const window = libc.window(libc.address(bytes) + 1001n, 4);
    assert.equal([window.byteLength, [...new Uint8Array(window)]], [4, [2, 3, 4, 5]]);
    new Uint8Array(window)[0] = 9;
    assert.is(bytes[1001], 9);
  });

  test("the address of a view is that of its first byte", () => {
    assert.is(libc.address(bytes.subarray(4096)) - libc.address(bytes), 4096n);
  });

  test("pages given back read as zero, and can be written again; their neighbours stay", () => {
    bytes.fill(7, PAGE - 1, 2 * PAGE + 1);
    assert.ok(libc.discard(libc.address(bytes) + BigInt(PAGE), PAGE));
    assert.ok(bytes.subarray(PAGE, 2 * PAGE).every((byte) => byte === 0));
    assert.equal([bytes[PAGE - 1], bytes[2 * PAGE]], [7, 7]);
    bytes[PAGE] = 8;
    assert.is(bytes[PAGE], 8);
  });

  test("an address that is no page's is refused", () => {
    assert.not(libc.discard(libc.address(bytes) + 1n, 100));
  });

  test("a socketpair carries rings one by one, refuses when it is full, and never blocks", () => {
    const [readEnd, writeEnd] = libc.socketpair()!;
    assert.ok(libc.ring(writeEnd));
    assert.ok(libc.ring(writeEnd));
    const target = Buffer.alloc(10);
    assert.is(readSync(readEnd, target), 2);
    assert.throws(() => readSync(readEnd, target), /EAGAIN/);
    let rings = 0;
    while (libc.ring(writeEnd)) assert.ok(++rings < 10_000_000, "a socket is finite");
    assert.ok(rings > 0);
    libc.close(readEnd);
    assert.not(libc.ring(writeEnd), "a broken pair");
    libc.close(writeEnd);
    assert.throws(() => fstatSync(writeEnd), /EBADF/);
  });

  test("a ring at a descriptor that is none is refused", () => {
    assert.not(libc.ring(-1));
  });

  test("a descriptor is replaced in one step: what was sent to its number goes to the new one", () => {
    const [oldRead, oldWrite] = libc.socketpair()!;
    const [newRead, newWrite] = libc.socketpair()!;
    assert.ok(libc.replaceDescriptor(newWrite, oldWrite));
    assert.ok(libc.ring(oldWrite));
    const target = Buffer.alloc(4);
    assert.is(readSync(newRead, target), 1);
    assert.is(readSync(oldRead, target), 0, "the old pair has lost its writer");
    assert.not(libc.replaceDescriptor(-1, oldWrite));
    for (const descriptor of [oldRead, newRead, oldWrite, newWrite]) closeSync(descriptor);
  });

  test("a function of libc is looked up at its first call; one that libc has not is an error that names it", () => {
    const getpid = libcFunction<() => number>("int getpid(void)");
    assert.is(getpid(), process.pid);
    const missing = libcFunction<() => number>("int no_such_function(void)");
    assert.match(errorOf(missing).message, /no_such_function/);
  });

  test("the error of a call that failed names the call and errno", () => {
    const dup = libcFunction<(descriptor: number) => number>("int dup(int fd)");
    assert.is(dup(-1), -1);
    assert.equal(systemError("dup").values, { call: "dup", errno: "EBADF" });
    assert.match(systemError("dup", constants.errno.EMFILE).message, /dup failed with EMFILE/);
  });

  test("a call that fails for another reason than a signal is not made again", () => {
    const dup = libcFunction<(descriptor: number) => number>("int dup(int fd)");
    let calls = 0;
    const outcome = uninterrupted(() => {
      calls++;
      return dup(-1);
    });
    assert.equal([outcome, calls], [{ result: -1, errno: constants.errno.EBADF }, 1]);
    assert.is(lastErrno(), constants.errno.EBADF);
  });

  test("a bell tells its loop once of any number of rings, and again of later ones", async () => {
    let heard = 0;
    const bell = makeBell(libc, -1, () => heard++);
    assert.ok(bell >= 0);
    for (let i = 0; i < 100; i++) libc.ring(bell);
    await until(() => heard > 0, "the bell");
    await new Promise((resolve) => setImmediate(resolve));
    assert.is(heard, 1);
    libc.ring(bell);
    await until(() => heard === 2, "the bell");
  });

  test("a new bell takes over the number of an old one: late rings wake the new owner alone", async () => {
    let old = 0;
    let fresh = 0;
    const number = makeBell(libc, -1, () => old++);
    assert.is(
      makeBell(libc, number, () => fresh++),
      number,
    );
    libc.ring(number);
    await until(() => fresh === 1, "the new bell");
    assert.is(old, 0);
  });
}

test.run();
