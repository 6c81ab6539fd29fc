/**
 * Rings between two processes: both sides really sleep, in main threads, which may towards another process, and in Workers; and the
 * death of a process wakes who sleeps on its ring.
 */
import { type ChildProcess, fork } from "node:child_process";
import { readdirSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { shmMissing, testUnless } from "../support/missing.js";
import { PATIENCE } from "../support/patience.js";
import { makeVolume } from "../support/volume.js";
import { happens, until, WATCHDOG_MS } from "../support/watchdog.js";
import type { RingProcessReport, RingProcessTask } from "./processes.child.js";
import type { Mode, RingScenario, Role } from "./sides.js";
import { DEATHS, STREAMS, WAITS } from "./waits.js";

const CHILD = fileURLToPath(new URL("../ring/processes.child.mjs", import.meta.url));
/** A side blocks its thread, so its own watchdogs come first. Milliseconds. */
const REPORT_MS = 4 * WATCHDOG_MS;
const test = suite<{ directory: string }>("rings between processes");
test.before.each((context) => {
  context.directory = makeVolume();
});
test.after.each(({ directory }) => {
  rmSync(directory, { recursive: true });
});

/** A process that plays a side. */
class Player {
  readonly #reports: RingProcessReport[] = [];
  readonly #child: ChildProcess;
  #ended = "";

  constructor(directory: string, task: RingProcessTask) {
    const env = { ...process.env, ...PATIENCE, SMC_RUNTIME_DIR: directory };
    this.#child = fork(CHILD, [JSON.stringify(task)], { env });
    this.#child.on("message", (report: RingProcessReport) => this.#reports.push(report));
    this.#child.on("exit", (code, signal) => {
      this.#ended = String(signal ?? code);
    });
  }

  /** Errors: rejects when its process ends before. */
  async told<K extends RingProcessReport["kind"]>(kind: K): Promise<Extract<RingProcessReport, { kind: K }>> {
    const told = () => this.#reports.find((report) => report.kind === kind);
    await until(() => told() !== undefined || this.#ended !== "", `the report "${kind}"`, REPORT_MS);
    if (told() === undefined) throw new Error(`its process has ended: ${this.#ended}`);
    return told() as Extract<RingProcessReport, { kind: K }>;
  }

  async end(how: "SIGKILL" | "by itself"): Promise<void> {
    if (this.#ended !== "") return;
    const gone = happens(this.#child, "exit", "the end of a player");
    if (how === "SIGKILL") this.#child.kill("SIGKILL");
    else if (this.#child.connected) this.#child.disconnect();
    await gone;
  }
}

/** Plays a scenario; in one of deaths the server is killed when either side says that it is time. Checks what was seen. */
async function play(
  directory: string,
  scenario: RingScenario,
  mode: Mode,
  where: RingProcessTask["where"],
  dies: boolean,
) {
  const task = (role: Role, port: number): RingProcessTask => ({ where, scenario: scenario.name, mode, role, port });
  const server = new Player(directory, task("server", 0));
  const { port } = await server.told("listening");
  const client = new Player(directory, task("client", port));
  try {
    if (dies) {
      await Promise.any([server.told("ready"), client.told("ready")]);
      await server.end("SIGKILL");
    }
    const ours = await client.told("seen");
    const theirs = dies ? undefined : await server.told("seen");
    scenario.check?.(ours.seen, theirs?.seen ?? {}, mode);
    assert.equal([ours.doorbellRescued, theirs?.doorbellRescued ?? 0], [0, 0]);
    await Promise.all([client.end("by itself"), server.end("by itself")]);
    if (!dies) assert.equal(readdirSync(directory, { recursive: true }).sort(), ["l", "s"]);
  } finally {
    await Promise.all([client.end("SIGKILL"), server.end("SIGKILL")]);
  }
}

const run = testUnless(shmMissing(), test);

for (const mode of ["nocopy", "copy"] as const) {
  for (const scenario of WAITS)
    for (const where of ["main thread", "Worker"] as const)
      run(`${scenario.name} · ${mode} · ${where}`, ({ directory }) => play(directory, scenario, mode, where, false));
  for (const scenario of STREAMS)
    run(`${scenario.name} · ${mode}`, ({ directory }) => play(directory, scenario, mode, "main thread", false));
  for (const scenario of DEATHS)
    for (const where of ["main thread", "Worker"] as const)
      run(`${scenario.name.replaceAll("thread", "process")} · ${mode} · ${where}`, ({ directory }) =>
        play(directory, scenario, mode, where, true),
      );
}

test.run();
