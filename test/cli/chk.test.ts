/**
 * `smcnet chk` as a shell sees it: what is there, what is not and why, in words that say what to do about it; and that the two live
 * connections are made whatever is missing.
 */
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { loadLibc } from "../../src/host/libc.js";
import { libcMissing, rootMissing, testUnless } from "../support/missing.js";
import { PATIENCE } from "../support/patience.js";
import { within } from "../support/watchdog.js";

const CLI = join(dirname(createRequire(import.meta.url).resolve("smcnet/package.json")), "dist", "cli.mjs");
/** The environment of this run without any option of smcnet; a busy machine must not make TCP of SMC. */
const ENVIRONMENT = {
  ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^SMC(_|$)/.test(name))),
  ...PATIENCE,
};
/** A user that owns nothing here. */
const STRANGER = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"];

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function chk(
  env: Record<string, string>,
  args: readonly string[] = [],
  before: readonly string[] = [],
): Promise<Outcome> {
  const [program, ...rest] = [...before, process.execPath, CLI, "chk", ...args];
  const child = spawn(program!, rest, { stdio: ["ignore", "pipe", "pipe"], env: { ...ENVIRONMENT, ...env } });
  const text = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const)
    child[name].setEncoding("utf8").on("data", (piece: string) => {
      text[name] += piece;
    });
  const ended = new Promise<Outcome>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, ...text }));
  });
  return within(ended, `smcnet chk ${args.join(" ")}`);
}

interface Context {
  /** A directory of the test's own, in memory where there is such a file system. */
  base: string;
}

const test = suite<Context>("chk");
test.before.each((context) => {
  context.base = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "smcnet-test-"));
});
test.after.each(({ base }) => rmSync(base, { recursive: true }));

const LO = "device lo             SMC-D, CHID ffff, GID [0-9a-f]{16}:[0-9a-f]{16}\n";
const THREAD = "live test, a thread   SMC-D over lo\n";

/** No shm device, for `reason`; threads are reached all the same. */
const apart = (reason: string): RegExp =>
  new RegExp(
    `^${LO}device shm            absent: ${reason}\n${THREAD}` +
      `live test, a process  TCP: PEERNOSMC, other processes are out of reach: ${reason}\n$`,
  );

const libc = loadLibc();
const withLibc = testUnless(libcMissing(), test);
const asRoot = testUnless(rootMissing(), test);

withLibc("where all is there, both devices are, and both live tests go over them", async ({ base }) => {
  const { code, stdout, stderr } = await chk({ SMC_RUNTIME_DIR: base });
  const all = `^${LO}${LO.replace("lo ", "shm").replace("ffff", "ff00")}${THREAD}live test, a process  SMC-D over shm\n$`;
  assert.match(stdout, new RegExp(all));
  assert.equal([code, stderr], [0, ""]);
});

withLibc("the same as JSON, for programs", async ({ base }) => {
  const { code, stdout } = await chk({ SMC_RUNTIME_DIR: base }, ["--json"]);
  const { devices, tests } = JSON.parse(stdout) as {
    devices: { name: string; chid: number }[];
    tests: { to: string; status: { mode: string; device: string } }[];
  };
  assert.equal(
    devices.map(({ name, chid }) => [name, chid]),
    [
      ["lo", 0xffff],
      ["shm", 0xff00],
    ],
  );
  assert.equal(
    tests.map(({ to, status }) => [to, status.mode, status.device]),
    [
      ["a thread", "SMCD", "lo"],
      ["a process", "SMCD", "shm"],
    ],
  );
  assert.is(code, 0);
});

test("without FFI, and without the shm device by choice", async () => {
  assert.match((await chk({ SMC_FFI: "off" })).stdout, apart("FFI is switched off"));
  if ("libc" in libc) assert.match((await chk({ SMC_SHM: "off" })).stdout, apart("the shm device is switched off"));
});

test("switched off, and without shared memory: nothing but TCP, with the reason", async () => {
  for (const [env, reason] of [
    [{ SMC: "off" }, "SMC=off"],
    [{ SMC_ARENA_MIB: "0" }, "shared memory could not be reserved"],
  ] as const) {
    const { code, stdout } = await chk(env);
    const absent = ["lo ", "shm"].map((name) => `device ${name}            absent: ${reason}`);
    const tests = ["thread ", "process"].map((whom) => `live test, a ${whom}  TCP: NOSMCDEV, ${reason}`);
    assert.equal([stdout, code], [[...absent, ...tests, ""].join("\n"), 0]);
  }
});

withLibc("a runtime directory that is not as it has to be, by name", async ({ base }) => {
  const at = (name: string): string => join(base, name);
  mkdirSync(at("open"));
  chmodSync(at("open"), 0o755);
  mkdirSync(at("real"), 0o700);
  symlinkSync(at("real"), at("link"));
  writeFileSync(at("file"), "");
  for (const [path, what] of [
    [at("open"), "has mode 0755, which lets everybody in"],
    [at("link"), "is a symbolic link"],
    [at("file"), "is no directory"],
    [join(at("missing"), "deep"), "cannot be made: ENOENT"],
  ] as const)
    assert.match((await chk({ SMC_RUNTIME_DIR: path })).stdout, apart(`${path} ${what}`), path);
});

asRoot("a runtime directory of another user; a user that this user namespace does not know", async ({ base }) => {
  if (spawnSync("setpriv", ["--version"]).status !== 0 || "reason" in libc) return;
  const { stdout, stderr } = await chk({ SMC_RUNTIME_DIR: base }, [], STRANGER);
  if (stderr.includes("EACCES") && stdout === "") {
    process.stdout.write("skipped: another user may not read this checkout\n");
    return;
  }
  assert.match(stdout, apart(`${base} cannot be opened: EACCES`));
  const nobody = await chk({ SMC_RUNTIME_DIR: base }, [], [...STRANGER, "unshare", "--user"]);
  if (nobody.stderr.startsWith("unshare:")) return;
  assert.match(nobody.stdout, apart("uid \\d+ stands for every unknown user: nobody could be told apart"));
});

test("an option or an argument that it does not have: exit code 2, and its usage", async () => {
  for (const args of [["--fly"], ["thread"]]) {
    const { code, stdout, stderr } = await chk({}, args);
    assert.equal([code, stdout], [2, ""]);
    assert.match(stderr, /^smcnet chk \[ADDRESS:PORT\] \[options\]/m);
  }
});

test.run();
