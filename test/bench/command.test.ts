/** The command `smcnet` as a shell sees it: output, exit codes, and what it says about a command line it cannot mean. */
import * as assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { suite } from "uvu";
import { Counters } from "../../src/diag/counters.js";
import { within } from "../support/watchdog.js";

const require = createRequire(import.meta.url);
const manifest = require.resolve("smcnet/package.json");
const CLI = join(dirname(manifest), "dist", "cli.mjs");

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function smcnet(...args: string[]): Promise<Outcome> {
  const child = spawn(process.execPath, [CLI, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  const text = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const)
    child[name].setEncoding("utf8").on("data", (piece: string) => {
      text[name] += piece;
    });
  const ended = new Promise<Outcome>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, ...text }));
  });
  return within(ended, `smcnet ${args.join(" ")}`);
}

async function withFile(content: string, run: (path: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "smcnet-test-"));
  try {
    const path = join(folder, "stats.json");
    await writeFile(path, content);
    await run(path);
  } finally {
    await rm(folder, { recursive: true });
  }
}

const command = suite("command line");

command("help and --version are told on stdout", async () => {
  const help = await smcnet("help");
  assert.equal(help.code, 0);
  assert.match(help.stdout, /^bench NAME/m);
  assert.match(help.stdout, /^stats \[FILE\.json\]/m);
  const { version } = require(manifest) as { version: string };
  assert.deepEqual(await smcnet("--version"), { code: 0, stdout: `${version}\n`, stderr: "" });
});

for (const [what, args, complaint] of [
  ["no command", [], /which command/],
  ["an unknown command", ["fly"], /no command is called "fly"/],
  ["bench without a scenario", ["bench"], /which scenario/],
  ["an unknown scenario", ["bench", "fly"], /no scenario is called "fly"/],
  ["an unknown transport", ["bench", "stream", "--transports", "tcp,fly"], /no transport is called "fly"/],
  ["an unknown context", ["bench", "stream", "--contexts", "planets"], /no context is called "planets"/],
  ["an unknown option", ["bench", "stream", "--fly"], /--fly/],
  ["two snapshots at once", ["stats", "a.json", "b.json"], /one file at a time/],
] as const)
  command(`${what}: exit code 2, the usage on stderr, nothing on stdout`, async () => {
    const { code, stdout, stderr } = await smcnet(...args);
    assert.equal(code, 2);
    assert.equal(stdout, "");
    assert.match(stderr, complaint);
    assert.match(stderr, /^smcnet .*(COMMAND|NAME|FILE)/m);
  });

command("stats prints a saved snapshot", async () => {
  const counters = new Counters();
  counters.wrote(4321);
  counters.clientV2 = 7;
  await withFile(JSON.stringify(counters.snapshot()), async (path) => {
    const { code, stdout } = await smcnet("stats", path);
    assert.equal(code, 0);
    assert.ok(stdout.startsWith(`Counters of ${path}\n`));
    assert.match(stdout, /SMC connections +7$/m);
    assert.match(stdout, /Data transmitted \(Bytes\) +4321 /);
    const { SMCD } = JSON.parse((await smcnet("stats", path, "--json")).stdout) as { SMCD: Record<string, number> };
    assert.equal(SMCD["SMC_CLNT_V2_SUCC_CNT"], 7);
    assert.equal(SMCD["SMC_TX_BYTES"], 4321);
  });
});

for (const [what, content, complaint] of [
  ["no JSON", "{", /holds no snapshot/],
  ["no object", "7", /it is no object/],
  ["a snapshot that lacks a counter", '{"txBytes":1}', /is no number/],
] as const)
  command(`stats of ${what}: exit code 1 and the reason`, async () => {
    await withFile(content, async (path) => {
      const { code, stderr } = await smcnet("stats", path);
      assert.equal(code, 1);
      assert.match(stderr, complaint);
    });
  });

command("stats without a file counts an exchange that really was carried by SMC", async () => {
  const { code, stdout, stderr } = await smcnet("stats");
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^Counters of a built-in exchange/);
  assert.match(stdout, /SMC connections +1$/m);
  assert.match(stdout, /TCP fallback +0$/m);
});

command.run();
