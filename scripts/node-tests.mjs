/**
 * Runs Node's own tests without the preload, with it switched off (SMC=off) and with it at work, and compares.
 *
 *   node scripts/node-tests.mjs FOLDER [--node BIN] [--only REGEXP] [--modes stock,off,on] [--jobs N] [--logs FOLDER]
 *
 * FOLDER is an unpacked copy of Node's `test/`, with common/, fixtures/, parallel/ and sequential/; nothing of it is kept
 * here. A suite is what follows `test-` in the name of a file. Prints how many tests of each suite pass in each mode, how many
 * of them had a connection over SMC in any of their processes, and what passes without the preload but not with it.
 * Exits with 1 if there is such a test.
 */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const WATCHDOG_MS = 120_000;
const dist = fileURLToPath(new URL("../dist/", import.meta.url));

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    node: { type: "string", default: process.execPath },
    only: { type: "string", default: "." },
    modes: { type: "string", default: "stock,off,on" },
    jobs: { type: "string", default: String(cpus().length) },
    logs: { type: "string" },
  },
});
if (positionals.length !== 1) {
  console.error(
    "usage: node scripts/node-tests.mjs FOLDER [--node BIN] [--only REGEXP] [--modes stock,off,on] [--jobs N]",
  );
  process.exit(2);
}
const folder = resolve(positionals[0]);
const modes = values.modes.split(",");
const scratch = mkdtempSync(join(tmpdir(), "smcnet-node-tests-"));

/** In every process of a test: says at its end how many connections went over SMC. */
const counter = join(scratch, "count.cjs");
writeFileSync(
  counter,
  `process.on("exit", () => {
  const { clientV1, clientV2, serverV1, serverV2 } = require(${JSON.stringify(join(dist, "index.cjs"))}).stats();
  const connections = clientV1 + clientV2 + serverV1 + serverV2;
  if (connections > 0) require("node:fs").appendFileSync(process.env.SMC_COUNT_FILE, connections + "\\n");
});\n`,
);

function testsIn(kind) {
  const path = join(folder, kind);
  if (!existsSync(path)) return [];
  const names = readdirSync(path).filter(
    (name) => /^test-.*\.[cm]?js$/.test(name) && new RegExp(values.only).test(name),
  );
  return names.map((name) => ({ kind, name, path: join(path, name) }));
}

let runs = 0;

/** Runs one test; whether it passed, and whether a connection of it went over SMC. */
async function run({ kind, name, path }, mode) {
  const id = ++runs;
  const flags = /^\/\/ Flags:\s*(.*)$/m.exec(readFileSync(path, "utf8"))?.[1].trim().split(/\s+/) ?? [];
  const count = join(scratch, `count-${id}`);
  const env = {
    ...process.env,
    NODE_TEST_DIR: scratch,
    NODE_TEST_KNOWN_GLOBALS: "0",
    TEST_THREAD_ID: String(id),
    SMC_COUNT_FILE: count,
  };
  if (kind === "parallel") env.TEST_PARALLEL = "1";
  if (mode !== "stock") env.NODE_OPTIONS = `--require ${join(dist, "register.cjs")} --require ${counter}`;
  if (mode === "off") env.SMC = "off";
  const child = spawn(values.node, [...flags, path], {
    env,
    cwd: folder,
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (bytes) => (output += bytes));
  const end = () => {
    try {
      process.kill(-child.pid, "SIGKILL");
    } catch {}
  };
  const watchdog = setTimeout(end, WATCHDOG_MS);
  const status = await new Promise((done) => child.on("exit", (code, signal) => done(code ?? signal)));
  clearTimeout(watchdog);
  end();
  if (status !== 0 && values.logs !== undefined) {
    mkdirSync(values.logs, { recursive: true });
    writeFileSync(join(values.logs, `${mode}-${kind}-${name}.txt`), `${status}\n${output}`);
  }
  return { passed: status === 0, smc: existsSync(count) };
}

const results = new Map();
async function runAll(test) {
  const result = {};
  for (const mode of modes) result[mode] = await run(test, mode);
  results.set(test, result);
}

const parallel = testsIn("parallel");
await Promise.all(
  Array.from({ length: Number(values.jobs) }, async () => {
    for (let test = parallel.shift(); test !== undefined; test = parallel.shift()) await runAll(test);
  }),
);
for (const test of testsIn("sequential")) await runAll(test);
rmSync(scratch, { recursive: true, force: true });

const suites = new Map();
for (const [{ name }, result] of results) {
  const suite = /^test-([a-z0-9]+)/.exec(name)[1];
  const row = suites.get(suite) ?? { tests: 0, ...Object.fromEntries(modes.map((mode) => [mode, 0])), "with smc": 0 };
  suites.set(suite, row);
  row.tests++;
  for (const mode of modes) row[mode] += result[mode].passed ? 1 : 0;
  if (result.on?.smc) row["with smc"]++;
}
console.table(Object.fromEntries([...suites].sort()));

let worse = 0;
for (const [{ kind, name }, result] of results) {
  const failing = modes.filter((mode) => !result[mode].passed);
  if (failing.length === 0) continue;
  if (result.stock?.passed === false) continue;
  worse++;
  console.log(`${failing.join(", ")} fails: ${kind}/${name}`);
}
process.exitCode = worse > 0 ? 1 : 0;
