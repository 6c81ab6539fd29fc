/** One entry: what counts as its content, whose lock says what, and that nothing in its place can harm or hold the reader. Skipped where libc is missing. */
import { execFileSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { lockFile } from "../../src/host/lock.js";
import { type Entry, examineEntry, makeEntry } from "../../src/rendezvous/entry.js";
import { libcMissing, testUnless } from "../support/missing.js";

interface Folder {
  folder: string;
  path: string;
}

const GID = "0123456789abcdef0123456789abcdef";
const ENTRY: Entry = { gid: GID, socket: "50c4e7.0", netns: 4026531840, probe: 40_000 };
const VALID = { version: 1, ...ENTRY, uid: 1000 };

/** The descriptor of a file that is locked and holds `content`, as an entry is. */
function plant(path: string, content: string): number {
  const descriptor = openSync(path, "wx+");
  assert.ok(lockFile(descriptor));
  writeSync(descriptor, content);
  return descriptor;
}

/** What an entry with this content counts as. */
function readAs(path: string, content: string): Entry | undefined {
  const descriptor = plant(path, content);
  const entry = examineEntry(path, GID);
  unlinkSync(path);
  closeSync(descriptor);
  return entry;
}

const entries = suite<Folder>("entry");
const test = testUnless(libcMissing(), entries);

entries.before.each((context) => {
  context.folder = mkdtempSync(join(tmpdir(), "smcnet-test-"));
  context.path = join(context.folder, `${GID}.1`);
});
entries.after.each(({ folder }) => {
  rmSync(folder, { recursive: true });
});

test("an entry is what its maker said, as long as it is open", ({ path }) => {
  const descriptor = makeEntry(path, ENTRY, false)!;
  assert.equal(examineEntry(path, GID), ENTRY);
  assert.equal(JSON.parse(readFileSync(path, "utf8")), { version: 1, ...ENTRY, uid: process.geteuid?.() });
  closeSync(descriptor);
  assert.is(examineEntry(path, GID), undefined);
  assert.not(existsSync(path), "a stale one is removed by who looks");
  assert.throws(() => examineEntry(path, GID), /ENOENT/);
});

test("it is the maker's alone, or its group's, whatever the umask", ({ path }) => {
  const before = process.umask(0o077);
  for (const [shared, mode] of [
    [false, "600"],
    [true, "660"],
  ] as const) {
    closeSync(makeEntry(path, ENTRY, shared)!);
    assert.is((lstatSync(path).mode & 0o7777).toString(8), mode);
    unlinkSync(path);
  }
  process.umask(before);
});

test("a name that is taken is not taken over", ({ path, folder }) => {
  symlinkSync(join(folder, "elsewhere"), path);
  assert.is(makeEntry(path, ENTRY, false), undefined);
  assert.equal(readdirSync(folder), [`${GID}.1`]);
  assert.throws(() => makeEntry(join(folder, "no", "where"), ENTRY, false), /ENOENT/);
});

test("fields that are as they should be make an entry, unknown ones do no harm", ({ path }) => {
  const said: Partial<Entry>[] = [
    ...[{}, { socket: "0" }, { socket: "a".repeat(64) }],
    ...[{ netns: 1 }, { netns: Number.MAX_SAFE_INTEGER }, { probe: 0 }, { probe: 65_535 }],
  ];
  for (const some of said)
    assert.equal(readAs(path, JSON.stringify({ ...VALID, ...some })), { ...ENTRY, ...some }, JSON.stringify(some));
  for (const other of [{ uid: 0 }, { uid: 0xffffffff }, { later: [1, { two: 3 }] }])
    assert.equal(readAs(path, JSON.stringify({ ...VALID, ...other })), ENTRY, JSON.stringify(other));
});

test("any field that is not as it should be makes it no entry", ({ path }) => {
  const wrong: Record<keyof typeof VALID, unknown[]> = {
    version: [0, 2, "1", null, undefined, 1.5],
    gid: [GID.toUpperCase(), GID.slice(1), `${GID}0`, "f".repeat(32), "", 1, null, undefined, [GID]],
    socket: ["", ".", "..", ".a", "../a", "a/b", "a\0", "A", "g", "a\n", "a".repeat(65), 1, null, undefined, ["a"], {}],
    netns: [0, -1, 0.5, 2 ** 53, "1", null, undefined, [1], {}],
    probe: [-1, 0.5, 65_536, "1", null, undefined, [1], {}],
    uid: [-1, 0.5, 0x1_0000_0000, "0", null, undefined, Number.NaN],
  };
  for (const [field, values] of Object.entries(wrong))
    for (const value of values)
      assert.is(readAs(path, JSON.stringify({ ...VALID, [field]: value })), undefined, `${field} ${value}`);
});

test("what is no object, no JSON, or longer than 512 bytes is no entry", ({ path }) => {
  const text = JSON.stringify(VALID);
  for (let length = 0; length < text.length; length++)
    assert.is(readAs(path, text.slice(0, length)), undefined, text.slice(0, length));
  for (const content of ["null", "1", '"text"', "[]", `[${text}]`, `${text}${text}`, `\0${text}`, "{".repeat(512)])
    assert.is(readAs(path, content), undefined, content);
  assert.equal(readAs(path, text.padEnd(512)), ENTRY);
  assert.is(readAs(path, text.padEnd(513)), undefined);
});

test("a file without end costs what an entry costs", ({ path }) => {
  const descriptor = plant(path, JSON.stringify(VALID));
  ftruncateSync(descriptor, 2 ** 40);
  assert.is(examineEntry(path, GID), undefined);
  closeSync(descriptor);
});

test("a pipe, a link, a directory or a device in its place is no entry, holds nobody, and stays", ({
  path,
  folder,
}) => {
  const target = join(folder, "target");
  const held = plant(target, JSON.stringify(VALID));
  const places: Record<string, () => void> = {
    pipe: () => execFileSync("mkfifo", [path]),
    link: () => symlinkSync(target, path),
    loop: () => symlinkSync(path, path),
    device: () => symlinkSync("/dev/zero", path),
    directory: () => mkdirSync(path),
  };
  for (const [what, make] of Object.entries(places)) {
    make();
    const found = ((): unknown => {
      try {
        return examineEntry(path, GID);
      } catch {
        return undefined;
      }
    })();
    assert.is(found, undefined, what);
    assert.ok(lstatSync(path) !== undefined, `${what} stays`);
    renameSync(path, join(folder, what));
  }
  assert.ok(existsSync(target), "what a link leads to stays");
  assert.is(examineEntry("/dev/zero", GID), undefined);
  closeSync(held);
});

entries.run();
