/**
 * From a command to processes: which cases of which scenario run, on which CPUs, with or without FFI, and how results go out.
 *
 * Owns the child processes. Each case has one of its own, so that CPU set and environment are the case's, and resident
 * memory too; within it all its transports are measured in turn. Knows nothing of how anything is measured.
 */
import { spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { cpus, release } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Case, Scenario } from "./harness.js";
import { BENCH_FOLDER } from "./pair.js";
import { type BenchRecord, type Params, TRANSPORTS, type Transport } from "./record.js";
import { caseTable } from "./table.js";

export const SCENARIOS: readonly string[] = ["pingpong", "stream", "msgrate", "http", "idle"];
export { TRANSPORTS };

export interface BenchOptions {
  /** Names among SCENARIOS. */
  readonly scenarios: readonly string[];
  /** Small parameters: shows that everything runs, measures nothing. */
  readonly quick: boolean;
  readonly json: boolean;
  readonly ffi: boolean;
  /** Only these, among TRANSPORTS; without it, all that a case has. */
  readonly transports?: readonly string[];
}

export interface RunnerPlan {
  readonly scenario: string;
  readonly quick: boolean;
  readonly caseIndex: number;
  readonly transports: readonly Transport[];
  /** Parameters of the process: they go into each record. */
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

/** Runs one plan in a process of its own. Errors: the process's failure; its stderr went to ours. */
function runPlan(
  plan: RunnerPlan,
  pin: readonly string[],
  environment: NodeJS.ProcessEnv,
): Promise<readonly BenchRecord[]> {
  const [program, ...rest] = [...pin, process.execPath, join(BENCH_FOLDER, "runner.mjs"), JSON.stringify(plan)];
  const child = spawn(program!, rest, {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
    env: { ...process.env, ...environment },
  });
  let records: readonly BenchRecord[] | undefined;
  child.on("message", (message) => {
    records = (message as RunnerMessage).records;
  });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => {
      if (code === 0 && records) resolve(records);
      else
        reject(new Error(`${plan.scenario} over ${plan.transports.join(", ")} failed (${signal ?? `exit ${code}`})`));
    });
  });
}

async function measure(scenario: Scenario, index: number, item: Case, options: BenchOptions): Promise<BenchRecord[]> {
  const wanted = item.transports.filter((transport) => options.transports?.includes(transport) ?? true);
  const pin = pinning(item.params.cpus);
  if (!pin) {
    process.stderr.write(`${scenario.name}: cpus=${item.params.cpus} left out, taskset is not there\n`);
    return [];
  }
  const fixed: Params = { cpus: pin.cpus, contexts: "threads", ffi: options.ffi ? "on" : "off" };
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
