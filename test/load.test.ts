/**
 * Loading what is shipped: once, twice, switched off, without FFI, without koffi, without shared memory. Each in a process of its own.
 *
 * Owns the set-ups and what must come out. Needs dist/, which the test run builds first.
 */
import { spawn, spawnSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { ChildReport } from "./load.child.js";
import { happens } from "./support/watchdog.js";

const root = (() => {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!readdirSync(folder).includes("asconfig.json")) folder = dirname(folder);
  return folder;
})();
const CORE = join(root, "dist/core.cjs");
const CHILD = fileURLToPath(new URL("./load.child.mjs", import.meta.url));

/** The environment of this run without any option of smcnet. */
const plainEnv = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^SMC(_|$)/.test(name)));

interface Ran {
  readonly code: unknown;
  readonly stdout: string;
  readonly stderr: string;
}

async function run(command: string, args: string[], env: Record<string, string> = {}): Promise<Ran> {
  const child = spawn(command, args, { env: { ...plainEnv, ...env }, stdio: ["ignore", "pipe", "pipe"] });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk) => {
    stdout += chunk;
  });
  child.stderr.on("data", (chunk) => {
    stderr += chunk;
  });
  try {
    const [code, signal] = await happens(child, "close", `the end of "${args.join(" ")}"`);
    return { code: code ?? signal, stdout, stderr };
  } finally {
    child.kill("SIGKILL");
  }
}

function reportOf({ code, stdout, stderr }: Ran): ChildReport {
  assert.is(code, 0, stderr);
  return JSON.parse(stdout) as ChildReport;
}

/** What a child saw that does `job` with these copies. */
async function child(job: string, copies: string[], env: Record<string, string> = {}): Promise<ChildReport> {
  return reportOf(await run(process.execPath, [CHILD, job, ...copies], env));
}

/** Errors: fails unless both ends were carried by SMC, every byte came back and nobody was warned. */
function carriedBySmc(seen: ChildReport): void {
  assert.equal([seen.modes, seen.intact, seen.warnings], [["SMCD", "SMCD"], true, []]);
  assert.equal(
    seen.pages.map((pages) => pages < seen.pagesAfter),
    seen.pages.map(() => true),
    "the connection's pages are taken while it lasts",
  );
  assert.is(seen.doorbellRescued, 0);
}

function carriedByTcp(seen: ChildReport, why: string): void {
  assert.equal([seen.modes, seen.fallbacks, seen.intact], [["TCP", "TCP"], [why, why], true]);
}

const test = suite("loading");
let folder = "";
/** Copies of the core where no package can be found. */
const copies: string[] = [];
test.before(() => {
  folder = mkdtempSync(join(tmpdir(), "smcnet-load-"));
  for (const name of ["one.cjs", "two.cjs"]) {
    copies.push(join(folder, name));
    copyFileSync(CORE, join(folder, name));
  }
});
test.after(() => rmSync(folder, { recursive: true, force: true }));

test("one copy: SMC, no warning, one listener for Workers", async () => {
  const seen = await child("exchange", [CORE]);
  carriedBySmc(seen);
  assert.is(seen.workerListeners, 1);
});

test("two copies in a thread share one stack: they reach each other, count the same pages, listen for Workers once", async () => {
  const seen = await child("exchange", copies);
  carriedBySmc(seen);
  assert.is(seen.pages[0], seen.pages[1]);
  assert.is(seen.workerListeners, 1);
});

/** A copy of the core at `name` that takes itself for another one. Errors: fails where `pattern` is not found. */
function otherCopy(name: string, pattern: RegExp, replacement: string): string {
  const path = join(folder, name);
  const text = readFileSync(CORE, "utf8");
  const changed = text.replace(pattern, replacement);
  assert.is.not(changed, text);
  writeFileSync(path, changed);
  return path;
}
const otherVersion = (): string =>
  otherCopy("version.cjs", /(var VERSION\d* = .*)"\d+\.\d+\.\d+[^"]*"/, '$1"4711.0.0"');
const otherLayout = (): string => otherCopy("layout.cjs", /(var LAYOUT_VERSION = )\d+;/, "$1 4711;");

test("a second copy of another version, or with another layout, steps aside: TCP, one warning, nothing of the first touched", async () => {
  for (const second of [otherVersion(), otherLayout()]) {
    const seen = await child("exchange", [CORE, second]);
    assert.equal([seen.modes, seen.fallbacks, seen.intact], [["TCP", "TCP"], ["PEERNOSMC", "NOSMCDEV"], true], second);
    assert.equal([seen.warnings, seen.workerListeners, seen.pages[1]], [["SMC_SECOND_COPY"], 1, 0], second);
  }
});

test("the first copy goes on with SMC beside one that stepped aside, and a third of its version shares its stack", async () => {
  const seen = await child("exchange", [copies[0]!, otherVersion(), copies[1]!]);
  assert.equal([seen.modes, seen.fallbacks, seen.intact], [["SMCD", "SMCD"], [], true]);
  assert.equal([seen.warnings, seen.workerListeners], [["SMC_SECOND_COPY"], 1]);
  assert.equal(seen.pages, [seen.pages[2], 0, seen.pages[2]]);
});

test("SMC=off: everything is TCP and says so; no arena, no warning", async () => {
  const seen = await child("exchange", [CORE], { SMC: "off" });
  carriedByTcp(seen, "NOSMCDEV");
  assert.equal([seen.pages, seen.pagesAfter, seen.warnings, seen.workerListeners], [[0], 0, [], 0]);
});

test("SMC_FFI=off: carried by SMC all the same", async () => {
  carriedBySmc(await child("exchange", [CORE], { SMC_FFI: "off" }));
});

test("SMC_FFI=off and copy mode", async () => {
  carriedBySmc(await child("exchange", [CORE], { SMC_FFI: "off", SMC_LO_COPY: "1" }));
});

test("where koffi is not installed: carried by SMC all the same", async () => {
  assert.throws(() => createRequire(copies[0]!).resolve("koffi"), undefined, "koffi can be found from the copy");
  carriedBySmc(await child("exchange", [copies[0]!]));
});

test("no shared memory by choice: one warning, and TCP", async () => {
  const seen = await child("exchange", [CORE], { SMC_ARENA_MIB: "0" });
  carriedByTcp(seen, "NOSMCDEV");
  assert.equal([seen.warnings, seen.pagesAfter], [["SMC_NO_ARENA"], 0]);
});

test("no shared memory because the address space is limited: one warning, and TCP", async () => {
  // Node itself needs less than this, a wasm memory reserves more. KiB.
  const limited = `ulimit -v 6000000 && exec "$0" "$@"`;
  const seen = reportOf(await run("/bin/sh", ["-c", limited, process.execPath, CHILD, "exchange", CORE]));
  carriedByTcp(seen, "NOSMCDEV");
  assert.equal([seen.warnings, seen.pagesAfter], [["SMC_NO_ARENA"], 0]);
});

test("a value out of its range in the environment fails the loading, by name", async () => {
  const { code, stderr } = await run(process.execPath, [CHILD, "exchange", CORE], { SMC_RMEM: "12" });
  assert.is(code, 1);
  assert.match(stderr, /EINVAL: option rmem = 12: allowed is an integer from 16384 to 1048576 bytes/);
});

test("a copy whose code and wasm disagree about the layout refuses to load", async () => {
  const { code, stderr } = await run(process.execPath, [CHILD, "exchange", otherLayout()]);
  assert.is(code, 1);
  assert.match(stderr, /SMC_LAYOUT_VERSION: wasm has layout \d+, this code has 4711/);
});

test("a Worker older than the shared memory has one of its own, and is reached as another process would be", async () => {
  const seen = await child("elder", [CORE]);
  assert.equal([seen.modes, seen.fallbacks, seen.intact], [["SMCD"], [], true]);
  const alone = await child("elder", [CORE], { SMC_SHM: "off" });
  assert.equal([alone.modes, alone.fallbacks, alone.intact], [["TCP"], ["PEERNOSMC"], true]);
});

test("the CommonJS and the ESM entries give the same things, and loading them keeps no process alive", () => {
  for (const entry of ["smcnet", "smcnet/ring"]) {
    const script = `
      import * as esm from "${entry}";
      import { createRequire } from "node:module";
      const cjs = createRequire(import.meta.url)("${entry}");
      const names = Object.keys(cjs).sort();
      const same = names.every((name) => cjs[name] === esm[name]);
      console.log(JSON.stringify({ same, names, more: Object.keys(esm).filter((name) => !names.includes(name)) }));`;
    const { status, stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", script], {
      cwd: root,
      encoding: "utf8",
    });
    assert.is(status, 0, stderr);
    const { same, names, more } = JSON.parse(stdout) as { same: boolean; names: string[]; more: string[] };
    assert.equal([same, more], [true, ["default"]], entry);
    assert.ok(names.length > 1, `${names}`);
  }
});

test.run();
