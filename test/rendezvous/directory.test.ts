/** The registry of listeners between processes: who is found, for how long, and what is left behind. Skipped where libc is missing. */
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { networkInterfaces, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SmcError } from "../../src/errors.js";
import { networkNamespace } from "../../src/host/files.js";
import type { Endpoint } from "../../src/rendezvous/address.js";
import { ListenerDirectory } from "../../src/rendezvous/directory.js";
import { openRuntimeDirectory, type RuntimeDirectory } from "../../src/rendezvous/runtime-directory.js";
import { libcMissing, rootMissing, testUnless } from "../support/missing.js";
import { until } from "../support/watchdog.js";
import { Peer } from "./directory-peer.js";

const at = (port: number, address = "127.0.0.1"): Endpoint => ({ address, port });
const SERVICE = at(80);
const NETWORK = "10.1.2.3";
const SOCKET = "50c4e7.0";

/** A gid that says who it is. */
const gidOf = (who: number): string => who.toString(16).padStart(32, "0");
const ME = gidOf(0xabc);

/** What every listener of this network namespace says that takes no probes. */
const HERE = { netns: networkNamespace(), probe: 0 };

interface Place {
  path: string;
  directory: RuntimeDirectory;
  /** The registry of the test itself. */
  mine: ListenerDirectory;
  /** Others in this thread: their locks are as foreign as those of another process. */
  other: (who: number) => ListenerDirectory;
}

/** Keys and entries that lie there now. */
const left = ({ path }: Place): string[] => readdirSync(join(path, "l"), { recursive: true }).map(String).sort();
/** Entries that lie there now, without their keys, each once. */
const names = (place: Place): string[] => [
  ...new Set(left(place).flatMap((name) => (name.includes("/") ? [name.split("/")[1]!] : []))),
];
const gids = (found: readonly { gid: string }[]): string[] => found.map(({ gid }) => gid).sort();

/** Runs `body` at a time that stands still until it is set. */
function atTimes(body: (clock: { date: number; monotonic: number }) => void): void {
  const clock = { date: Date.now(), monotonic: performance.now() };
  const { now } = Date;
  Date.now = () => clock.date;
  Object.defineProperty(performance, "now", { configurable: true, value: () => clock.monotonic });
  try {
    body(clock);
  } finally {
    Date.now = now;
    Reflect.deleteProperty(performance, "now");
  }
}

const registry = suite<Place>("listener directory");
const noLibc = libcMissing();
const test = testUnless(noLibc, registry);

registry.before.each((place) => {
  place.path = join(realpathSync(mkdtempSync(join(tmpdir(), "smcnet-test-"))), "run");
  const directory = openRuntimeDirectory({ path: place.path }, () => "local");
  if ("reason" in directory) throw new Error(directory.reason);
  place.directory = directory;
  place.mine = new ListenerDirectory(directory, { gid: ME });
  place.other = (who) => new ListenerDirectory(directory, { gid: gidOf(who) });
});
registry.after.each(({ path, mine, directory }) => {
  mine.close();
  directory.close();
  rmSync(join(path, ".."), { recursive: true });
});

test("two processes find each other's listeners and not their own", async ({ path, mine }) => {
  const peer = await Peer.process(path, { gid: gidOf(1) });
  assert.equal(mine.find(SERVICE), []);
  assert.ok(await peer.ask("enter", SERVICE, "none"));
  assert.ok(mine.enter(at(81), "none", SOCKET) !== undefined);
  assert.equal(mine.find(SERVICE), [{ ...HERE, gid: peer.gid, socket: "50c4e7.1" }]);
  assert.equal(await peer.ask("find", at(81)), [{ ...HERE, gid: ME, socket: SOCKET }]);
  assert.equal([mine.find(at(81)), await peer.ask("find", SERVICE)], [[], []]);
  await peer.kill();
});

test("several listeners at one port are all found, a stack with several of them once", ({ mine, other }) => {
  const [one, two] = [other(1), other(2)];
  one.enter(SERVICE, "none", "a1");
  two.enter(SERVICE, "none", "a2");
  two.enter(at(80, "0.0.0.0"), "any4", "a2");
  other(3).enter(at(80, "0.0.0.0"), "any4", "a3");
  assert.equal(gids(mine.find(SERVICE)), [gidOf(1), gidOf(2), gidOf(3)]);
  assert.equal(gids(mine.find(at(80, "127.0.0.2"))), [gidOf(2), gidOf(3)]);
  assert.equal(gids(one.find(SERVICE)), [gidOf(2), gidOf(3)]);
});

test("a listener is found from the moment it is entered until the moment it leaves, however fast that goes", (place) => {
  const { mine, other } = place;
  const others = [other(1), other(2), other(3)];
  for (let round = 0; round < 200; round++) {
    const leaves = others.map((one, i) => {
      const leave = one.enter(SERVICE, "none", SOCKET)!;
      assert.is(mine.find(SERVICE).length, i + 1, `round ${round}, entered`);
      return leave;
    });
    for (const [i, leave] of leaves.entries()) {
      leave();
      leave();
      assert.is(mine.find(SERVICE).length, 2 - i, `round ${round}, left`);
    }
  }
  assert.equal(left(place), []);
});

test("no name is used twice, and a name that is taken is passed over", (place) => {
  const { path, mine } = place;
  const seen: string[] = [];
  for (let i = 0; i < 20; i++) {
    const leave = mine.enter(SERVICE, "none", SOCKET)!;
    seen.push(...names(place));
    if (i < 10) leave();
  }
  const [key] = left(place) as [string];
  writeFileSync(join(path, "l", key, `${ME}.21`), "taken");
  mine.enter(SERVICE, "none", SOCKET);
  const serials = new Set(seen.map((name) => Number(name.split(".")[1])));
  assert.equal(
    [...serials],
    Array.from({ length: 20 }, (_, i) => i + 1),
  );
  assert.ok(names(place).includes(`${ME}.22`));
});

test("a wildcard listener is one entry under many names, found at every local address", (place) => {
  const { mine, other } = place;
  const one = other(1);
  const leave = one.enter(at(80, "::"), "dual", SOCKET)!;
  const local = Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map(({ address }) => address));
  for (const address of [...local, "127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"])
    assert.is(mine.find(at(80, address)).length, 1, address);
  assert.is(mine.find(at(80, "192.0.2.199")).length, 0);
  assert.is(names(place).length, 1);
  leave();
  assert.equal(left(place), []);
});

test("loopback listeners of another network namespace are not found, others are", ({ directory, mine }) => {
  const there = new ListenerDirectory(directory, { gid: gidOf(1) }, 1);
  for (const address of ["127.0.0.1", "::1", NETWORK]) there.enter(at(80, address), "none", SOCKET);
  assert.equal(
    ["127.0.0.1", "::1", NETWORK].map((address) => mine.find(at(80, address)).length),
    [0, 0, 1],
  );
  assert.equal(
    mine.find(at(80, NETWORK)),
    [{ gid: gidOf(1), socket: SOCKET, netns: 1, probe: 0 }],
    "with their namespace",
  );
});

test("a listener's port for probes is told with it; one that is none is refused", ({ mine, other }) => {
  const one = other(1);
  one.enter(at(80, NETWORK), "none", SOCKET, 65_535);
  assert.is(mine.find(at(80, NETWORK))[0]!.probe, 65_535);
  for (const probe of [-1, 65_536, 0.5])
    assert.throws(
      () => one.enter(SERVICE, "none", SOCKET, probe),
      (error: unknown) => error instanceof SmcError && error.code === "EINVAL",
    );
});

test("close takes all entries out, and ends entering and finding", (place) => {
  const { mine, other } = place;
  const one = other(1);
  for (const port of [80, 81, 82]) one.enter(at(port, "0.0.0.0"), "any4", SOCKET);
  mine.enter(SERVICE, "none", SOCKET);
  assert.is(one.find(SERVICE).length, 1);
  one.close();
  one.close();
  assert.equal(mine.find(SERVICE), []);
  assert.equal([one.enter(SERVICE, "none", SOCKET), one.find(SERVICE)], [undefined, []]);
  mine.close();
  assert.equal(left(place), []);
});

for (const how of ["kill", "exit"] as const) {
  for (const what of ["process", "thread"] as const) {
    test(`a ${what} that ends by ${how} leaves stale entries, which whoever looks removes`, async (place) => {
      const { path, mine } = place;
      const peer = what === "process" ? await Peer.process(path, { gid: gidOf(1) }) : await Peer.thread(path, gidOf(1));
      await peer.ask("enter", SERVICE, "none");
      await peer.ask("enter", at(80, "::"), "dual");
      assert.is(mine.find(SERVICE).length, 1);
      await peer[how]();
      assert.is(names(place).length, 2, "its entries are still there");
      await until(() => mine.find(SERVICE).length === 0, "the dead listener to be forgotten");
      for (const address of [
        "::1",
        ...Object.values(networkInterfaces())
          .flatMap((list) => list ?? [])
          .map((one) => one.address),
      ])
        mine.find(at(80, address));
      assert.equal(left(place), []);
    });
  }
}

test("a sweep removes what is stale where nobody looks, and nothing that lives", async (place) => {
  const { path, mine, other } = place;
  const peer = await Peer.process(path, { gid: gidOf(1) });
  for (const port of [80, 81, 82]) await peer.ask("enter", at(port, "0.0.0.0"), "any4");
  other(2).enter(at(81), "none", SOCKET);
  const living = left(place).length;
  mine.sweep();
  assert.is(left(place).length, living);
  await peer.kill();
  mine.sweep();
  assert.equal(names(place), [`${gidOf(2)}.1`]);
});

test("several cleaners at once remove what is stale, and no entry that lives or is just being made", async (place) => {
  const { path, mine } = place;
  const victim = await Peer.process(path, { gid: gidOf(1) });
  for (let i = 0; i < 30; i++)
    await victim.ask("enter", i % 2 === 0 ? SERVICE : at(80, "::"), i % 2 === 0 ? "none" : "dual");
  const keeper = await Peer.process(path, { gid: gidOf(2) });
  await keeper.ask("enter", SERVICE, "none");
  const peers = await Promise.all([3, 4, 5].map((who) => Peer.process(path, { gid: gidOf(who) })));
  const [churner, ...cleaners] = peers as [Peer, Peer, Peer];
  const cleaned = cleaners.map((cleaner) => cleaner.ask("sweep", 2000));
  await victim.kill();
  assert.equal(await churner.ask("churn", SERVICE, 500), { refused: 0, missing: 0 }, "beside a listener");
  assert.equal(
    await churner.ask("churn", at(99), 1000),
    { refused: 0, missing: 0 },
    "in a directory that comes and goes",
  );
  await Promise.all(cleaned);
  mine.sweep();
  assert.equal(names(place), [`${keeper.gid}.1`]);
  assert.equal(gids(mine.find(SERVICE)), [keeper.gid]);
  await Promise.all([...peers, keeper].map((peer) => peer.kill()));
});

/** Two others; the second enters after the first reading, and the time of the directory is put back as if it had stood still. */
function secondUnseen({ path, mine, other }: Place, mtimeMs: number): void {
  other(1).enter(SERVICE, "none", SOCKET);
  const [key] = readdirSync(join(path, "l")) as [string];
  const folder = join(path, "l", key);
  utimesSync(folder, mtimeMs / 1000, mtimeMs / 1000);
  assert.is(mine.find(SERVICE).length, 1);
  other(2).enter(SERVICE, "none", SOCKET);
  utimesSync(folder, mtimeMs / 1000, mtimeMs / 1000);
}

test("what was read of a directory that just changed is not believed: its clock may not have ticked since", (place) => {
  atTimes((clock) => {
    clock.date = 1_700_000_000_000;
    secondUnseen(place, clock.date - 15);
    assert.is(place.mine.find(SERVICE).length, 2);
  });
});

test("what was read of a settled directory is believed for 100 ms", (place) => {
  atTimes((clock) => {
    clock.date = 1_700_000_000_000;
    secondUnseen(place, clock.date - 1000);
    assert.is(place.mine.find(SERVICE).length, 1);
    clock.monotonic += 99;
    assert.is(place.mine.find(SERVICE).length, 1);
    clock.monotonic += 1;
    assert.is(place.mine.find(SERVICE).length, 2);
  });
});

test("that nobody is there is believed for 100 ms where the directory of all keys is settled, and not at all where it is not", (place) => {
  const { path, mine, other } = place;
  const all = join(path, "l");
  atTimes((clock) => {
    clock.date = 1_700_000_000_000;
    for (const [age, seen] of [
      [15, [1, 1, 1]],
      [1000, [0, 0, 1]],
    ] as const) {
      const mtime = (clock.date - age) / 1000;
      utimesSync(all, mtime, mtime);
      assert.equal(mine.find(SERVICE), []);
      const leave = other(1).enter(SERVICE, "none", SOCKET)!;
      utimesSync(all, mtime, mtime);
      const found = [0, 99, 1].map((passed) => {
        clock.monotonic += passed;
        return mine.find(SERVICE).length;
      });
      assert.equal(found, seen, `changed ${age} ms ago`);
      leave();
    }
  });
});

test("a name that no reader would take is refused", ({ directory, mine }) => {
  const wrong = (use: () => unknown): void =>
    assert.throws(use, (error: unknown) => error instanceof SmcError && error.code === "EINVAL");
  for (const name of ["", ".", "..", ".a", "../a", "a/b", "A", "g", "a".repeat(65), "a\n"])
    wrong(() => mine.enter(SERVICE, "none", name));
  mine.enter(SERVICE, "none", "a".repeat(64))!();
  for (const gid of ["", "a".repeat(31), "A".repeat(32), `${"a".repeat(32)}\n`])
    wrong(() => new ListenerDirectory(directory, { gid }).enter(SERVICE, "none", "a"));
});

test("where nothing can be entered, that is told, and nothing is left", (place) => {
  const { path, mine, other } = place;
  const leave = other(1).enter(at(80, "127.0.0.1"), "none", SOCKET)!;
  const [key] = readdirSync(join(path, "l")) as [string];
  leave();
  symlinkSync("..", join(path, "l", key));
  assert.is(mine.enter(SERVICE, "none", SOCKET), undefined, "a link in place of the key");
  assert.equal(mine.find(SERVICE), []);
  rmSync(join(path, "l", key));
  writeFileSync(join(path, "l", key.replace(/-.*_/, "-any4_")), "");
  assert.is(mine.enter(at(80, "::"), "dual", SOCKET), undefined, "a file in place of one of many");
  assert.equal(names(place), []);
  rmSync(join(path, "l"), { recursive: true });
  assert.is(mine.enter(SERVICE, "none", SOCKET), undefined, "no directory at all");
  assert.equal(mine.find(SERVICE), []);
  mine.sweep();
});

/** Why other users cannot run the built tests; undefined where they can. Every folder above has to let them in. */
function othersMissing(): string | undefined {
  for (let at = dirname(fileURLToPath(import.meta.url)); at !== dirname(at); at = dirname(at))
    if ((statSync(at).mode & 0o005) !== 0o005) return `other users may not read ${at}`;
  return undefined;
}

testUnless(noLibc ?? rootMissing() ?? othersMissing(), registry)(
  "users of a trusted group find each other, and remove each other's stale entries",
  async ({ path }) => {
    const GROUP = 54321;
    const shared = join(path, "..", "shared");
    mkdirSync(shared);
    chownSync(shared, 0, GROUP);
    chmodSync(shared, 0o2770);
    chmodSync(join(path, ".."), 0o755);
    const trusted = [GROUP];
    const [one, two] = (await Promise.all(
      [12345, 12346].map((uid, i) => Peer.process(shared, { gid: gidOf(i + 1), ids: { uid, gid: GROUP }, trusted })),
    )) as [Peer, Peer];
    await one.ask("enter", SERVICE, "none");
    await one.ask("enter", at(80, "0.0.0.0"), "any4");
    await two.ask("enter", SERVICE, "none");
    assert.equal(gids(await two.ask("find", SERVICE)), [one.gid]);
    assert.equal(gids(await one.ask("find", SERVICE)), [two.gid]);
    const place = { path: shared } as Place;
    const [entry] = left(place).filter((name) => name.endsWith(`/${one.gid}.1`)) as [string];
    assert.is(statSync(join(shared, "l", entry)).uid, 12345);
    chmodSync(join(shared, "l", entry), 0o640);
    await two.ask("sweep", 1);
    assert.is(names(place).length, 3);
    await one.kill();
    await two.ask("sweep", 1);
    assert.equal(names(place).sort(), [`${one.gid}.1`, `${two.gid}.1`], "what may not be locked stays, all else goes");
    chmodSync(join(shared, "l", entry), 0o660);
    await two.ask("sweep", 1);
    assert.equal(names(place), [`${two.gid}.1`]);
    await two.kill();
  },
);

/** Options of unshare for a process of another container. */
const NAMESPACES = ["--net", "--pid", "--fork"];

/** Why no process can be put into namespaces of its own; undefined where one can. Tried out. */
function namespacesMissing(): string | undefined {
  const { status, error, stderr } = spawnSync("unshare", [...NAMESPACES, "true"], { encoding: "utf8" });
  return status === 0 ? undefined : (error?.message ?? stderr.trim());
}

testUnless(noLibc ?? namespacesMissing(), registry)(
  "processes in other network and pid namespaces meet by their addresses",
  async ({ path, mine }) => {
    const peer = await Peer.process(path, {
      gid: gidOf(1),
      by: ["unshare", ...NAMESPACES, "--kill-child"],
    });
    for (const address of ["127.0.0.1", "::1", NETWORK]) await peer.ask("enter", at(80, address), "none");
    mine.enter(at(81), "none", SOCKET);
    mine.enter(at(81, NETWORK), "none", SOCKET);
    assert.equal([mine.find(SERVICE), mine.find(at(80, "::1")), await peer.ask("find", at(81))], [[], [], []]);
    assert.equal(gids(mine.find(at(80, NETWORK))), [peer.gid]);
    assert.equal(gids(await peer.ask("find", at(81, NETWORK))), [ME]);
    await peer.kill();
    await until(() => mine.find(at(80, NETWORK)).length === 0, "the dead listener to be forgotten");
  },
);

registry.run();
