/**
 * Programs that know nothing of smcnet, started as a user would: `node --require smcnet/register`.
 *
 * Owns their processes and the questions put to them. What they can be asked stands in programs/ and program.child.ts.
 */
import { type ChildProcess, fork } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { PATIENCE } from "../support/patience.js";
import { WATCHDOG_MS, within } from "../support/watchdog.js";
import type { Carriers, Ledger, Reply } from "./program.child.js";

const root = (() => {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!readdirSync(folder).includes("asconfig.json")) folder = dirname(folder);
  return folder;
})();
export const PRELOAD = join(root, "dist/register.cjs");
const INDEX = join(root, "dist/index.cjs");
const CHILD = fileURLToPath(new URL("../e2e/program.child.mjs", import.meta.url));

/** How a program is started: with the preload, with it and SMC=off, without it. */
export type Manner = "smc" | "off" | "plain";

/** Where the programs of this file find each other. */
const directory = mkdtempSync(join(tmpdir(), "smcnet-programs-"));
process.once("exit", () => rmSync(directory, { recursive: true, force: true }));

const plainEnv = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^(SMC(_(?!TEST).*)?)$/.test(name)),
);

/** The environment of a program. */
export function environment(manner: Manner): NodeJS.ProcessEnv {
  // Where a program can be asked what it holds, by the copy of smcnet that the preload has loaded.
  const switched = manner === "off" ? { SMC: "off" } : manner === "smc" ? { SMC_TEST_INDEX: INDEX } : {};
  return { ...plainEnv, ...PATIENCE, SMC_RUNTIME_DIR: directory, ...switched };
}

/** The options of its node. */
export const execArgv = (manner: Manner): string[] => [
  "--expose-gc",
  ...(manner === "plain" ? [] : ["--require", PRELOAD]),
];

export class Program {
  readonly #child: ChildProcess;
  readonly #asked = new Map<number, (reply: Reply) => void>();
  readonly #name: string;
  readonly #over: Promise<string>;
  #questions = 0;

  /** Takes: name, a key of the table in program.child.ts. */
  constructor(name: string, manner: Manner) {
    this.#name = `${name} (${manner})`;
    this.#child = fork(CHILD, [name], {
      env: environment(manner),
      execArgv: execArgv(manner),
      serialization: "advanced",
    });
    running.add(this);
    this.#child.on("message", (reply: Reply) => {
      this.#asked.get(reply.id)?.(reply);
      this.#asked.delete(reply.id);
    });
    this.#over = new Promise((resolve) => {
      this.#child.once("exit", (code, signal) => {
        running.delete(this);
        resolve(String(signal ?? code));
      });
    });
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** Errors: rejects with what went wrong there, when it is gone, and when it hangs. */
  async ask<T = unknown>(verb: string, ...args: unknown[]): Promise<T> {
    const id = this.#questions++;
    const replied = new Promise<Reply>((resolve) => this.#asked.set(id, resolve));
    this.#child.send({ id, verb, args }, () => undefined);
    const over = this.#over.then((how): Reply => ({ id, error: `its process has ended: ${how}` }));
    const what = `${this.#name} to answer "${verb}"`;
    const { value, error } = await within(Promise.race([replied, over]), what, 2 * WATCHDOG_MS);
    if (error !== undefined) throw new Error(`${this.#name}, ${verb}: ${error}`);
    return value as T;
  }

  /** What carried the sockets since it was last asked. */
  carriers(): Promise<Carriers> {
    return this.ask<Carriers>("carriers");
  }

  /** What it holds now. */
  ledger(): Promise<Ledger> {
    return this.ask<Ledger>("ledger");
  }

  async stop(): Promise<void> {
    if (this.#child.connected) this.#child.disconnect();
    await within(this.#over, `the end of ${this.#name}`);
  }

  abandon(): void {
    this.#child.kill("SIGKILL");
  }
}

const running = new Set<Program>();

/** Ends all that a failed test has left. */
export function abandonAll(): void {
  for (const program of running) program.abandon();
}
process.once("exit", abandonAll);
