/**
 * `npm test`: builds, checks types and lint, then runs every test file in a process of its own and adds up.
 *
 * `node scripts/test.mjs [--full] [words…]` runs only files whose path holds one of the words, without the checks; with
 * `--full` in the sizes of a full run (FULL below; what the environment sets goes before them).
 * Each file has a runtime directory of its own, unless SMC_RUNTIME_DIR names one: no file sees what another registers.
 * Ends with the line `N passed, N failed` and exits with 1 if anything failed.
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const full = process.argv.includes("--full");
const words = process.argv.slice(2).filter((word) => word !== "--full");

/** What a full run sets, as `test/README.md` has it. */
const FULL = {
  SMC_TEST_STREAM_GB: "20",
  SMC_TEST_RENDEZVOUS: "100000",
  SMC_TEST_KILLS: "1000",
  SMC_TEST_HOSTILE: "100000",
  SMC_TEST_REWRITE_S: "60",
  SMC_TEST_ABORTS: "10000",
};
const FULL_BETWEEN_PROCESSES = { ...FULL, SMC_TEST_STREAM_GB: "50", SMC_TEST_RING: "24" };

function sizes(file) {
  if (!full) return {};
  return file.startsWith("stress/processes") ? FULL_BETWEEN_PROCESSES : FULL;
}

/** No single file may take longer than this: a hang is a failure, not a wait. */
const FILE_LIMIT_MS = full ? 3_600_000 : 300_000;

function tool(name, script, args) {
  process.stdout.write(`${name} … `);
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(root, script), ...args], {
    cwd: root,
    encoding: "utf8",
  });
  console.log(status === 0 ? "ok" : "FAILED");
  if (status !== 0) console.log(stdout + stderr);
  return status === 0;
}

/** The numbers of uvu's closing lines. */
function counts(output) {
  const number = (label) => {
    let sum = 0;
    for (const match of output.matchAll(new RegExp(`^\\s*${label}:\\s+(\\d+)`, "gm"))) sum += Number(match[1]);
    return sum;
  };
  return { total: number("Total"), passed: number("Passed"), skipped: number("Skipped") };
}

/** A runtime directory that nobody else knows: mode 0700, and in memory where the system has that, as others may be refused. */
const makeRuntimeDirectory = () => mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "smcnet-test-"));

function runFile(file) {
  return new Promise((resolve) => {
    const started = Date.now();
    const own = process.env.SMC_RUNTIME_DIR ? undefined : makeRuntimeDirectory();
    const child = spawn(process.execPath, ["--expose-gc", join(root, "build/test", file)], {
      cwd: root,
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...sizes(file), ...process.env, ...(own !== undefined && { SMC_RUNTIME_DIR: own }) },
    });
    let output = "";
    child.stdout.on("data", (data) => (output += data));
    child.stderr.on("data", (data) => (output += data));
    const timer = setTimeout(() => {
      output += `\nstill running after ${FILE_LIMIT_MS} ms: killed\n`;
      child.kill("SIGKILL");
    }, FILE_LIMIT_MS);
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      if (own !== undefined) rmSync(own, { recursive: true });
      const { total, passed, skipped } = counts(output);
      const crashed = (code !== 0 && total - passed === 0) || total + skipped === 0;
      resolve({
        output,
        passed,
        skipped,
        failed: total - passed + (crashed ? 1 : 0),
        code,
        signal,
        ms: Date.now() - started,
      });
    });
  });
}

const sum = { passed: 0, failed: 0, skipped: 0 };
if (!tool("build", "scripts/build.mjs", ["--tests", ...(words.length > 0 ? ["--no-types"] : [])])) process.exit(1);
if (words.length === 0) {
  for (const [name, script, args] of [
    ["types", "node_modules/typescript/bin/tsc", ["-p", "tsconfig.json", "--noEmit"]],
    ["lint", "node_modules/@biomejs/biome/bin/biome", ["check", "."]],
  ]) {
    if (tool(name, script, args)) sum.passed++;
    else sum.failed++;
  }
}

const files = readdirSync(join(root, "build/test"), { recursive: true })
  .filter((name) => name.endsWith(".test.mjs"))
  .filter((name) => words.length === 0 || words.some((word) => name.includes(word)))
  .sort();
for (const file of files) {
  const result = await runFile(file);
  sum.passed += result.passed;
  sum.failed += result.failed;
  sum.skipped += result.skipped;
  const verdict = result.failed > 0 ? `${result.failed} FAILED` : "ok";
  const skipped = result.skipped > 0 ? `, ${result.skipped} skipped` : "";
  console.log(
    `${file.padEnd(44)} ${String(result.passed).padStart(5)} ${verdict}${skipped} (${(result.ms / 1000).toFixed(1)} s)`,
  );
  if (result.failed > 0 || result.skipped > 0 || process.env.SMC_TEST_VERBOSE) console.log(result.output);
}
if (sum.skipped > 0) console.log(`${sum.skipped} skipped, each with its reason above`);
console.log(`${sum.passed} passed, ${sum.failed} failed`);
process.exit(sum.failed > 0 ? 1 : 0);
