/**
 * memfds: what one mapping of them writes, the other reads; what a peer may send in place of one is refused; and no
 * call leaves a hole. Skipped where libc is missing.
 */
import { closeSync, fstatSync, ftruncateSync, openSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { addressOf, fcntl, libcFunction, loadLibc } from "../../src/host/libc.js";
import { checkMemfd, createMemfd, mapAnonymous, mapOver, pageSize, releaseShared } from "../../src/host/memfd.js";
import { skip } from "../support/missing.js";
import { closeAll, errorOf, isCloseOnExec, openDescriptors } from "./descriptors.js";

const test = suite("memfd");
const loaded = loadLibc();

/** Linux constants. */
const MFD_ALLOW_SEALING = 0x2;
const MFD_HUGETLB = 0x4;
const F_ADD_SEALS = 1033;
const SEAL = 0x1;
const SHRINK = 0x2;
const GROW = 0x4;
const WRITE = 0x8;
const FUTURE_WRITE = 0x10;

/** Bytes of a range: whole pages on every machine. */
const RANGE = 65_536;
/** Memory as the arena's: shared, and never moved. */
const memory = new WebAssembly.Memory({ initial: 8, maximum: 8, shared: true });
const range = (index: number): Uint8Array => new Uint8Array(memory.buffer, index * RANGE, RANGE);
const all = (bytes: Uint8Array, value: number): boolean => bytes.every((byte) => byte === value);

if ("reason" in loaded) {
  skip(test, "all of it", `no libc: ${loaded.reason}`);
} else {
  const memfdCreate = libcFunction<(name: string, flags: number) => number>(
    "int memfd_create(const char *name, unsigned int flags)",
  );
  const unmap = libcFunction<(address: bigint, bytes: number) => number>(
    "int munmap(uintptr_t address, size_t length)",
  );
  const pipe = libcFunction<(pair: Int32Array) => number>("int pipe(void *pair)");

  /** A memfd as a careless or hostile peer might make it. */
  const foreignMemfd = (bytes: number, seals: number, flags = MFD_ALLOW_SEALING): number => {
    const descriptor = memfdCreate("foreign", flags);
    if (descriptor < 0) return descriptor;
    ftruncateSync(descriptor, bytes);
    if (seals !== 0) assert.is(fcntl(descriptor, F_ADD_SEALS, "int", seals), 0);
    return descriptor;
  };

  /** Why `descriptor` is refused, or "passed"; closes it. */
  const refusal = (descriptor: number, bytes = RANGE): string => {
    try {
      return checkMemfd(descriptor, bytes) ?? "passed";
    } finally {
      closeSync(descriptor);
    }
  };

  test.after.each(() => {
    mapAnonymous(addressOf(range(0)), memory.buffer.byteLength);
  });

  test("what one mapping writes, the other reads; also after the descriptor is closed", () => {
    const descriptor = createMemfd("two mappings", RANGE);
    assert.ok(mapOver(addressOf(range(1)), RANGE, descriptor));
    assert.ok(mapOver(addressOf(range(3)), RANGE, descriptor));
    closeSync(descriptor);
    range(1).set([1, 2, 3], 100);
    range(3)[RANGE - 1] = 9;
    assert.equal([...range(3).subarray(100, 103), range(1)[RANGE - 1]], [1, 2, 3, 9]);
  });

  test("a mapping replaces what was there, and nothing beside it", () => {
    for (const index of [0, 1, 2]) range(index).fill(7);
    const descriptor = createMemfd("neighbours", RANGE);
    assert.ok(mapOver(addressOf(range(1)), RANGE, descriptor));
    closeSync(descriptor);
    assert.ok(all(range(0), 7) && all(range(1), 0) && all(range(2), 7));
  });

  test("every thread's view and the plain alias see a mapping at once", () => {
    const plain = new Uint8Array(loaded.libc.alias(range(0)));
    const descriptor = createMemfd("alias", RANGE);
    assert.ok(mapOver(addressOf(range(0)), RANGE, descriptor));
    assert.ok(mapOver(addressOf(range(1)), RANGE, descriptor));
    closeSync(descriptor);
    plain[5] = 55;
    assert.is(range(1)[5], 55);
  });

  test("mapped over with private zeros, a range has left the memfd, which keeps its bytes for others", () => {
    const descriptor = createMemfd("left", RANGE);
    for (const index of [1, 2]) assert.ok(mapOver(addressOf(range(index)), RANGE, descriptor));
    range(1).fill(4);
    assert.ok(mapAnonymous(addressOf(range(1)), RANGE));
    assert.ok(all(range(1), 0) && all(range(2), 4));
    range(1).fill(5);
    assert.ok(all(range(2), 4));
    closeSync(descriptor);
  });

  test("shared pages given back read as zero in every mapping, take no memory, and can be written again", () => {
    const descriptor = createMemfd("given back", 2 * RANGE);
    assert.ok(mapOver(addressOf(range(0)), 2 * RANGE, descriptor));
    assert.ok(mapOver(addressOf(range(4)), 2 * RANGE, descriptor));
    range(0).fill(1);
    range(1).fill(2);
    const before = fstatSync(descriptor).blocks;
    assert.ok(releaseShared(addressOf(range(4)), RANGE));
    assert.is(fstatSync(descriptor).blocks, before / 2);
    assert.ok(all(range(0), 0) && all(range(4), 0) && all(range(1), 2) && all(range(5), 2));
    range(0)[8] = 3;
    assert.is(range(4)[8], 3);
    closeSync(descriptor);
  });

  test("private pages are not shared ones: giving them back is refused, and they stay", () => {
    range(2).fill(6);
    assert.not(releaseShared(addressOf(range(2)), RANGE));
    assert.ok(all(range(2), 6));
  });

  test("a range that is not whole pages is refused, and nothing happens to its neighbours", () => {
    const descriptor = createMemfd("pages", RANGE);
    const start = addressOf(range(1));
    range(1).fill(8);
    const wrong: [bigint, number][] = [
      [start + 1n, RANGE],
      [start, 100],
      [start, pageSize() + 1],
      [start, 0],
      [start, -RANGE],
      [start, Number.NaN],
      [0n, RANGE],
    ];
    for (const [address, bytes] of wrong) {
      assert.not(mapOver(address, bytes, descriptor), `mapOver ${address} ${bytes}`);
      assert.not(mapAnonymous(address, bytes), `mapAnonymous ${address} ${bytes}`);
    }
    assert.ok(all(range(1), 8));
    assert.ok(mapOver(start, RANGE, descriptor));
    range(1).fill(8);
    for (const [address, bytes] of wrong) assert.not(releaseShared(address, bytes), `releaseShared ${bytes}`);
    assert.ok(all(range(1), 8));
    closeSync(descriptor);
  });

  test("a descriptor that cannot be mapped leaves the range as it was", () => {
    const descriptor = createMemfd("read-only", RANGE);
    const readOnly = openSync(`/proc/self/fd/${descriptor}`, "r");
    range(1).fill(3);
    assert.not(mapOver(addressOf(range(1)), RANGE, readOnly));
    assert.not(mapOver(addressOf(range(1)), RANGE, -1));
    assert.ok(all(range(1), 3));
    closeAll([descriptor, readOnly]);
  });

  test("a hole that a failed mapping leaves is filled with zeros: nothing else can land in it", () => {
    range(1).fill(3);
    range(2).fill(3);
    assert.is(unmap(addressOf(range(1)), RANGE), 0);
    assert.not(mapOver(addressOf(range(1)), RANGE, -1));
    assert.ok(all(range(1), 0) && all(range(2), 3));
  });

  test("a memfd of ours passes the check, is close-on-exec, and can neither shrink nor grow", () => {
    const descriptor = createMemfd("ours", 3 * RANGE);
    assert.is(checkMemfd(descriptor, 3 * RANGE), undefined);
    assert.ok(isCloseOnExec(descriptor));
    assert.throws(() => ftruncateSync(descriptor, RANGE), /EPERM/);
    assert.throws(() => ftruncateSync(descriptor, 4 * RANGE), /EPERM/);
    assert.is(fcntl(descriptor, F_ADD_SEALS, "int", WRITE), -1, "the seals are sealed");
    closeSync(descriptor);
  });

  test("a size that is not whole pages makes no memfd", () => {
    for (const bytes of [0, -RANGE, 100, RANGE + 1, Number.NaN, 2 ** 60]) {
      assert.is(errorOf(() => createMemfd("size", bytes)).code, "EINVAL", `${bytes}`);
    }
  });

  test("a memfd that the system refuses is an error that names the call, and leaves no descriptor", () => {
    const before = openDescriptors();
    const { values, message } = errorOf(() => createMemfd("n".repeat(250), RANGE));
    assert.equal(values, { call: "memfd_create", errno: "EINVAL" });
    assert.match(message, /memfd_create failed with EINVAL/);
    assert.is(openDescriptors(), before);
  });

  test("a memfd whose size can change is refused", () => {
    assert.match(refusal(foreignMemfd(RANGE, 0)), /seals 0x0 let its size change/);
    for (const seals of [SHRINK | GROW, SHRINK | SEAL, GROW | SEAL, SEAL]) {
      assert.match(refusal(foreignMemfd(RANGE, seals)), /let its size change/, `seals ${seals}`);
    }
    assert.match(refusal(foreignMemfd(RANGE, 0, 0)), /seals 0x1 let its size change/);
    assert.is(refusal(foreignMemfd(RANGE, SHRINK | GROW | SEAL)), "passed");
  });

  test("a memfd that cannot be written is refused", () => {
    for (const seal of [WRITE, FUTURE_WRITE]) {
      assert.match(refusal(foreignMemfd(RANGE, SHRINK | GROW | SEAL | seal)), /forbid writing/, `seal ${seal}`);
    }
  });

  test("a memfd of another size than the peer said is refused", () => {
    assert.match(refusal(createMemfd("small", RANGE), 2 * RANGE), /has 65536 bytes, not 131072/);
    assert.match(refusal(createMemfd("large", 2 * RANGE)), /has 131072 bytes, not 65536/);
  });

  test("a memfd open for reading alone, or writing alone, is refused", () => {
    const descriptor = createMemfd("one way", RANGE);
    for (const flags of ["r", 1]) {
      assert.match(refusal(openSync(`/proc/self/fd/${descriptor}`, flags)), /not open for reading and writing/);
    }
    assert.is(refusal(openSync(`/proc/self/fd/${descriptor}`, "r+")), "passed");
    closeSync(descriptor);
  });

  test("what is no memfd is refused: a pipe, a socket, a folder, a device, a file of a disk", () => {
    const pair = new Int32Array(2);
    assert.is(pipe(pair), 0);
    const sockets = loaded.libc.socketpair()!;
    for (const descriptor of [...pair, ...sockets, openSync("/", "r"), openSync("/dev/zero", "r+")]) {
      assert.match(refusal(descriptor, fstatSync(descriptor).size), /not a regular file/);
    }
    const file = openSync(process.execPath, "r");
    assert.match(refusal(file, fstatSync(file).size), /file system of type 0x[0-9a-f]+, not in tmpfs/);
  });

  test("a memfd of huge pages is refused, whose pages may be missing when they are touched", () => {
    const bytes = 2 ** 21;
    const descriptor = foreignMemfd(bytes, SHRINK | GROW | SEAL, MFD_ALLOW_SEALING | MFD_HUGETLB);
    // A kernel without huge pages cannot make what it would have to refuse.
    if (descriptor >= 0) assert.match(refusal(descriptor, bytes), /type 0x958458f6, not in tmpfs/);
  });
}

test.run();
