/**
 * From a command to processes: which cases of which scenario run, on which CPUs, with or without FFI, and how results go out.
 *
 * Owns the runners: each case has a process of its own, so that CPU set and environment are the case's, and resident
 * memory too; within it, or in processes that it starts, all its transports are measured in turn. They find each other in a
 * folder of their own, so that no other smcnet of the user takes part. Knows nothing of how anything is measured.
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { cpus, release, tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Case, Scenario } from "./harness.js";
import {
  type BenchRecord,
  CONTEXTS,
  type Contexts,
  type Params,
  THREADS_ONLY,
  TRANSPORTS,
  type Transport,
} from "./record.js";
import { BENCH_FOLDER } from "./side.js";
import { caseTable } from "./table.js";

export const SCENARIOS: readonly string[] = ["pingpong", "stream", "msgrate", "http", "idle", "short", "crowd"];
export { CONTEXTS, TRANSPORTS };

/**
 * Limits of smcnet's that must not decide a bench: a connection that falls back because the machine was busy for 20 ms ends
 * the bench, and `idle` holds more connections between two processes than the default allows.
 */
const LIMITS = {
  SMC_CONTACT: "1000",
  SMC_MATCH_TIMEOUT: "1000",
  SMC_CLAIM_WAIT: "1000",
  SMC_CLC_TIMEOUT: "2000",
  SMC_SHM_CONNECTIONS: "16384",
};

export interface BenchOptions {
  /** Names among SCENARIOS. */
  readonly scenarios: readonly string[];
  /** Small parameters: shows that everything runs, measures nothing. */
  readonly quick: boolean;
  readonly json: boolean;
  readonly ffi: boolean;
  readonly contexts: Contexts;
  /** Only these, among TRANSPORTS; without it, all that a case has. */
  readonly transports?: readonly string[];
}

export interface RunnerPlan {
  readonly scenario: string;
  readonly quick: boolean;
  readonly caseIndex: number;
  readonly transports: readonly Transport[];
  /** Parameters of the run: they go into each record. */
  readonly fixed: Params;
}
export interface RunnerMessage {
  readonly records: readonly BenchRecord[];
}

export async function loadScenario(name: string): Promise<Scenario> {
  const module = (await import(pathToFileURL(join(BENCH_FOLDER, `${name}.mjs`)).href)) as { scenario: Scenario };
  return module.scenario;
}

/** Numbers of the CPUs this process may use. Source: proc(5), Cpus_allowed_list. */
function allowedCpus(): readonly number[] {
  let list: string | undefined;
  try {
    list = /^Cpus_allowed_list:\s*(\S+)/m.exec(readFileSync("/proc/self/status", "latin1"))?.[1];
  } catch {
    // Not Linux: all of them.
  }
  if (!list) return cpus().map((_, index) => index);
  return list.split(",").flatMap((range) => {
    const [first, last = first] = range.split("-").map(Number) as [number, number?];
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}

/** Program and first arguments that pin what follows to `count` CPUs; undefined where that cannot be done. */
function pinning(count: number): { readonly command: readonly string[]; readonly cpus: number } | undefined {
  const allowed = allowedCpus();
  const chosen = allowed.slice(0, count);
  if (spawnSync("taskset", ["-c", chosen.join(","), "true"]).status === 0)
    return { command: ["taskset", "-c", chosen.join(",")], cpus: chosen.length };
  return count === 1 && allowed.length > 1 ? undefined : { command: [], cpus: allowed.length };
}

/** Where sockets and registry lie: in memory, if there is such a file system, and not on one that smcnet refuses. */
const MEMORY = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();

/** Runs one plan in a process of its own, and those that it starts. Errors: the process's failure; its stderr went to ours. */
function runPlan(
  plan: RunnerPlan,
  pin: readonly string[],
  environment: NodeJS.ProcessEnv,
): Promise<readonly BenchRecord[]> {
  const [program, ...rest] = [...pin, process.execPath, join(BENCH_FOLDER, "runner.mjs"), JSON.stringify(plan)];
  const folder = mkdtempSync(join(MEMORY, "smcnet-bench-"));
  const child = spawn(program!, rest, {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
    env: { ...process.env, ...LIMITS, ...environment, TMPDIR: folder, SMC_RUNTIME_DIR: join(folder, "smcnet") },
  });
  let records: readonly BenchRecord[] | undefined;
  child.on("message", (message) => {
    records = (message as RunnerMessage).records;
  });
  const ended = new Promise<readonly BenchRecord[]>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => {
      if (code === 0 && records) resolve(records);
      else
        reject(new Error(`${plan.scenario} over ${plan.transports.join(", ")} failed (${signal ?? `exit ${code}`})`));
    });
  });
  return ended.finally(() => rmSync(folder, { recursive: true, force: true }));
}

async function measure(scenario: Scenario, index: number, item: Case, options: BenchOptions): Promise<BenchRecord[]> {
  const { contexts } = options;
  const wanted = item.transports.filter(
    (transport) =>
      (options.transports?.includes(transport) ?? true) &&
      (contexts === "threads" || !THREADS_ONLY.includes(transport)),
  );
  const pin = pinning(item.params.cpus);
  if (!pin) {
    process.stderr.write(`${scenario.name}: cpus=${item.params.cpus} left out, taskset is not there\n`);
    return [];
  }
  const fixed: Params = { cpus: pin.cpus, contexts, ffi: options.ffi ? "on" : "off" };
  const { mode } = item.params;
  const environment = {
    SMC_FFI: options.ffi ? "on" : "off",
    ...(mode === "parked" || mode === "rested" ? { SMC_BUSY_POLL: "0" } : {}),
  };
  const groups = scenario.isolated ? wanted.map((transport) => [transport]) : wanted.length > 0 ? [wanted] : [];
  const records: BenchRecord[] = [];
  for (const transports of groups) {
    const plan = { scenario: scenario.name, quick: options.quick, caseIndex: index, transports, fixed };
    records.push(...(await runPlan(plan, pin.command, environment)));
  }
  return records;
}

/** What the figures depend on, for people. */
function setting(): string {
  const [cpu] = cpus();
  return `Node.js ${process.version}, Linux ${release()}, ${cpus().length} CPUs ${cpu?.model ?? ""}`.trim();
}

/**
 * Run scenarios one after the other; each case's results are written when it is done, as JSON lines or as a table.
 *
 * Errors: the first case that fails ends the run; what was written stays.
 */
export async function bench(options: BenchOptions, write: (line: string) => void): Promise<void> {
  if (!options.json) write(setting());
  for (const name of options.scenarios) {
    const scenario = await loadScenario(name);
    for (const [index, item] of scenario.cases(options.quick).entries()) {
      const records = await measure(scenario, index, item, options);
      if (options.json) for (const record of records) write(JSON.stringify(record));
      else if (records.length > 0) for (const line of ["", ...caseTable(records)]) write(line);
    }
  }
}
