/**
 * The registry over a directory that others filled with rubbish: who lives is found, nothing throws, nothing waits.
 *
 * Seeded. Rounds are few in `npm test`; SMC_TEST_FUZZ scales their number. Skipped where libc is missing.
 */
import { execFileSync } from "node:child_process";
import {
  closeSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { networkNamespace } from "../../src/host/files.js";
import { lockFile } from "../../src/host/lock.js";
import { ListenerDirectory } from "../../src/rendezvous/directory.js";
import { makeEntry } from "../../src/rendezvous/entry.js";
import { keysToFind } from "../../src/rendezvous/listener-key.js";
import { openRuntimeDirectory, type RuntimeDirectory } from "../../src/rendezvous/runtime-directory.js";
import { libcMissing, testUnless } from "../support/missing.js";
import { type Prng, prngFor } from "../support/prng.js";

const ROUNDS = Math.ceil(200 * Number(process.env["SMC_TEST_FUZZ"] ?? 1));
const SERVICE = { address: "127.0.0.1", port: 80 };
const ME = "a".repeat(32);

/** What is not a name in an entry. */
const ENTRY = { netns: networkNamespace(), probe: 0 };

interface Scene {
  base: string;
  /** A file elsewhere, which must stay as it is. */
  outside: string;
  /** A pipe nobody writes to. */
  pipe: string;
  /** The directory of all keys, and the keys under which SERVICE is looked up. */
  listeners: string;
  keys: string[];
  directory: RuntimeDirectory;
  mine: ListenerDirectory;
}

const hex = (random: Prng, digits: number): string =>
  Array.from({ length: digits }, () => random.below(16).toString(16)).join("");

/** A name: an entry's, nearly an entry's, or anything that a file may be called. */
function anyName(random: Prng): string {
  const gid = random.oneIn(8) ? ME : hex(random, 32);
  const kinds = [
    () => `${gid}.${random.below(1000)}`,
    () => `${gid}.`,
    () => `.${gid}.1`,
    () => gid,
    () => `${gid.toUpperCase()}.1`,
    () => `${gid}.${"9".repeat(16)}`,
    () => String.fromCharCode(...Array.from({ length: random.between(1, 60) }, () => random.between(1, 46))),
    () => "x".repeat(255),
  ];
  return random.oneIn(2) ? kinds[0]!() : random.pick(kinds)();
}

/** Content: an entry's with one byte changed, or bytes. */
function anyContent(random: Prng, name: string): Uint8Array {
  if (random.oneIn(3)) return random.fill(Buffer.alloc(random.below(2000)));
  const entry = { version: 1, ...ENTRY, gid: name.split(".")[0], socket: hex(random, 8), uid: 1 };
  const text = Buffer.from(JSON.stringify(entry));
  text[random.below(text.length)] = random.below(256);
  return text.subarray(0, random.oneIn(4) ? random.below(text.length) : text.length);
}

/** Puts something at `path`. Returns: the descriptor that keeps it locked, where there is one. */
function putAnything(random: Prng, path: string, name: string, { outside, pipe }: Scene): number | undefined {
  let held: number | undefined;
  const kinds: (() => void)[] = [
    () => writeFileSync(path, anyContent(random, name)),
    () => {
      held = openSync(path, "wx+");
      lockFile(held);
      writeFileSync(held, anyContent(random, name));
    },
    () => {
      writeFileSync(path, "{");
      truncateSync(path, random.between(513, 2 ** 31));
    },
    () => linkSync(pipe, path),
    () => symlinkSync(random.pick([outside, "missing", name, "/dev/zero", "..", "/"]), path),
    () => mkdirSync(join(path, "deep"), { recursive: true }),
  ];
  random.pick(kinds)();
  return held;
}

const fuzz = suite<Scene>("listener directory among rubbish");
const test = testUnless(libcMissing(), fuzz);

fuzz.before.each((scene) => {
  scene.base = mkdtempSync(join(tmpdir(), "smcnet-test-"));
  scene.outside = join(scene.base, "outside");
  scene.pipe = join(scene.base, "pipe");
  scene.listeners = join(scene.base, "run", "l");
  scene.keys = keysToFind(SERVICE, networkNamespace());
  writeFileSync(scene.outside, "outside");
  execFileSync("mkfifo", [scene.pipe]);
  const directory = openRuntimeDirectory({ path: join(scene.base, "run") }, () => "local");
  if ("reason" in directory) throw new Error(directory.reason);
  scene.directory = directory;
  scene.mine = new ListenerDirectory(directory, { gid: ME });
});
fuzz.after.each(({ base, outside, directory, mine }) => {
  assert.is(readFileSync(outside, "utf8"), "outside");
  mine.close();
  directory.close();
  rmSync(base, { recursive: true });
});

/** Fills a directory with up to a dozen things. Returns: what keeps some of them locked. */
function litter(random: Prng, folder: string, scene: Scene): number[] {
  const held: number[] = [];
  for (let i = random.below(12); i > 0; i--) {
    const name = anyName(random);
    const place = join(folder, name);
    if (lstatSync(place, { throwIfNoEntry: false }) !== undefined) continue;
    const descriptor = putAnything(random, place, name, scene);
    if (descriptor !== undefined) held.push(descriptor);
  }
  return held;
}

test(`${ROUNDS} directories: the living are found, whatever else lies there`, (scene) => {
  const random = prngFor("listener directory");
  const { mine } = scene;
  for (let round = 0; round < ROUNDS; round++) {
    const folder = join(scene.listeners, random.pick(scene.keys));
    mkdirSync(folder);
    const held = litter(random, folder, scene);
    const living: string[] = [];
    for (let i = random.below(4); i > 0; i--) {
      const gid = `${i}`.repeat(32);
      held.push(makeEntry(join(folder, `${gid}.${round}`), { ...ENTRY, gid, socket: hex(random, 64) }, false)!);
      living.push(gid);
    }
    if (random.oneIn(3)) utimesSync(folder, random.below(2 ** 32), random.below(2 ** 32));
    if (random.oneIn(3)) mine.sweep();
    const leave = random.oneIn(2) ? mine.enter(SERVICE, "none", "50c4e7") : undefined;
    for (let look = 0; look < 2; look++) {
      const found = mine.find(SERVICE);
      const missing = living.filter((gid) => !found.some((entry) => entry.gid === gid));
      assert.equal(missing, [], `round ${round}`);
      for (const { gid, socket } of found) {
        assert.match(gid, /^[0-9a-f]{32}$/);
        assert.match(socket, /^[0-9a-f][0-9a-f.]{0,63}$/);
        assert.is.not(gid, ME);
      }
    }
    leave?.();
    for (const descriptor of held) closeSync(descriptor);
    rmSync(folder, { recursive: true, force: true });
  }
});

test("anything in place of a key is nobody", (scene) => {
  const random = prngFor("listener keys");
  const { mine, keys, listeners } = scene;
  for (let round = 0; round < ROUNDS; round++) {
    for (const key of keys) {
      const descriptor = putAnything(random, join(listeners, key), key, scene);
      if (descriptor !== undefined) closeSync(descriptor);
    }
    mine.sweep();
    assert.equal(mine.find(SERVICE), []);
    mine.enter(SERVICE, "none", "50c4e7")?.();
    for (const key of keys) rmSync(join(listeners, key), { recursive: true, force: true });
  }
});

fuzz.run();
