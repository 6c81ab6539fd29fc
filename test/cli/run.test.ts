/** What a command line of `smcnet run` starts: program, arguments, environment. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Launch, planRun } from "../../src/cli/run.js";
import { UsageError } from "../../src/cli/usage.js";

const folder = mkdtempSync(join(tmpdir(), "smcnet-run-"));
const script = join(folder, "app.mjs");
writeFileSync(script, "");
const REGISTER = "/opt/smcnet/register.cjs";

const plan = (argv: readonly string[], env: Record<string, string> = {}, register = REGISTER): Launch => {
  const planned = planRun(argv, env, register);
  if (planned === "help") throw new Error("help");
  return planned;
};
const refused = (argv: readonly string[], message: RegExp): void => {
  assert.throws(
    () => planRun(argv, {}, REGISTER),
    (error: unknown) => error instanceof UsageError && message.test(error.message),
    argv.join(" "),
  );
};

const run = suite("smcnet run: command line");
run.after(() => rmSync(folder, { recursive: true }));

run("a script is run by this Node.js, with the preload as a flag and in NODE_OPTIONS", () => {
  const { file, args, env, isNode } = plan([script, "-r", "--", "x"]);
  assert.is(file, process.execPath);
  assert.equal(args, ["--require", REGISTER, script, "-r", "--", "x"]);
  assert.is(env["NODE_OPTIONS"], `--require "${REGISTER}"`);
  assert.ok(isNode);
});

run("whatever is no script is a command; node as a command gets the flag as well", () => {
  const npm = plan(["npm", "start"]);
  assert.equal([npm.file, npm.args, npm.isNode], ["npm", ["start"], false]);
  assert.is(npm.env["NODE_OPTIONS"], `--require "${REGISTER}"`);
  assert.equal(plan(["missing.js"]).file, "missing.js");
  assert.equal(plan([folder]).file, folder);
  assert.equal(plan(["/usr/bin/node", "--inspect", "x"]).args, ["--require", REGISTER, "--inspect", "x"]);
});

run("NODE_OPTIONS that were there stay, and the preload is not named twice", () => {
  const first = plan([script], { NODE_OPTIONS: "--no-warnings" }).env["NODE_OPTIONS"];
  assert.is(first, `--require "${REGISTER}" --no-warnings`);
  assert.is(plan([script], { NODE_OPTIONS: first! }).env["NODE_OPTIONS"], first);
});

run("a preload in a folder of any name is found through NODE_OPTIONS", () => {
  const odd = join(folder, 'a "b" \\c d');
  mkdirSync(odd);
  const register = join(odd, "register.cjs");
  writeFileSync(register, "globalThis.preloaded = true;");
  const { env } = plan([script], {}, register);
  const { stdout } = spawnSync(process.execPath, ["-p", "globalThis.preloaded"], {
    env: { NODE_OPTIONS: env["NODE_OPTIONS"] },
    encoding: "utf8",
  });
  assert.is(stdout, "true\n");
});

run("sizes are bytes, or K and M of them, and have the range of their option", () => {
  const { env } = plan(["-r", "64K", "-t", "1m", script], { SMC_RMEM: "16384", OTHER: "kept" });
  assert.equal([env["SMC_RMEM"], env["SMC_WMEM"], env["OTHER"]], ["65536", "1048576", "kept"]);
  assert.is(plan(["-r", "20000", script]).env["SMC_RMEM"], "20000");
  refused(["-r", "1", script], /-r 1: allowed is an integer from 16384 to 1048576 bytes/);
  refused(["-t", "2M", script], /-t 2M: allowed/);
  for (const size of ["", "K", "64KB", "-1", "1e6", "0x10"]) refused(["-r", size, script], /-r takes a size/);
  refused(["-r"], /-r takes a size/);
});

run("-d adds a section to NODE_DEBUG, --verbose asks for the report", () => {
  assert.is(plan(["-d", script]).env["NODE_DEBUG"], "smc");
  assert.is(plan(["-d", script], { NODE_DEBUG: "http" }).env["NODE_DEBUG"], "http,smc");
  assert.is(plan(["--verbose", script]).env["SMC_REPORT"], "1");
  assert.is(plan([script]).env["SMC_REPORT"], undefined);
});

run("options end at the first word that is none, or at --", () => {
  assert.equal(plan(["-d", "--", "npm", "-d"]).args, ["-d"]);
  assert.is(plan(["--", "-odd"]).file, "-odd");
  refused(["--", "--"].slice(0, 1), /which program/);
  refused([], /which program/);
  refused(["-x", script], /no option is called "-x"/);
  assert.is(planRun(["-d", "--help", script], {}, REGISTER), "help");
});

run.run();
