/** The built command line as tests use it: started for real, its streams read line by line under a watchdog. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { within } from "../support/watchdog.js";

const root = dirname(createRequire(import.meta.url).resolve("smcnet/package.json"));
const CLI = join(root, "dist", "cli.mjs");

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A folder of programs and a runtime directory of its own, so that no other process is met in it. */
export class Place {
  readonly folder = mkdtempSync(join(tmpdir(), "smcnet-cli-"));
  readonly runtime = join(this.folder, "runtime");
  readonly #running = new Set<Running>();

  program(name: string, text: string): string {
    const path = join(this.folder, name);
    writeFileSync(path, text);
    return path;
  }

  /** Starts `smcnet` with these words. */
  start(words: readonly string[], env: Record<string, string> = {}): Running {
    const running = new Running(
      words.join(" "),
      spawn(process.execPath, [CLI, ...words], {
        env: { ...process.env, SMC_RUNTIME_DIR: this.runtime, ...env },
        stdio: ["pipe", "pipe", "pipe"],
        // A group of its own: what it started can be ended with it.
        detached: true,
      }),
    );
    this.#running.add(running);
    return running;
  }

  async run(words: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
    const running = this.start(words, env);
    running.child.stdin?.end();
    return await running.ended();
  }

  /** Ends what still runs, by its own id, and takes the folder away. */
  async close(): Promise<void> {
    for (const running of this.#running) await running.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export class Running {
  readonly child: ChildProcess;
  readonly #what: string;
  readonly #ended: Promise<Ended>;
  #stdout = "";
  #stderr = "";
  #heard = (): void => {};

  constructor(what: string, child: ChildProcess) {
    this.#what = what;
    this.child = child;
    child.stdout?.on("data", (data) => {
      this.#stdout += data;
      this.#heard();
    });
    child.stderr?.on("data", (data) => {
      this.#stderr += data;
      this.#heard();
    });
    this.#ended = once(child, "close").then(([code, signal]) => {
      this.#heard();
      return { code, signal, stdout: this.#stdout, stderr: this.#stderr };
    });
  }

  /** The first match in what the program has written to stdout. */
  async says(pattern: RegExp): Promise<RegExpExecArray> {
    const found = new Promise<RegExpExecArray>((resolve, reject) => {
      this.#heard = () => {
        const match = pattern.exec(this.#stdout);
        if (match !== null) resolve(match);
        else if (this.child.exitCode !== null) reject(new Error(`${this.#what} ended: ${this.#stdout}${this.#stderr}`));
      };
      this.#heard();
    });
    return await within(found, `${this.#what} to say ${pattern}`);
  }

  async ended(): Promise<Ended> {
    return await within(this.#ended, `${this.#what} to end`);
  }

  async stop(): Promise<Ended> {
    try {
      process.kill(-this.child.pid!, "SIGKILL");
    } catch {
      // The whole group has ended.
    }
    return await this.ended();
  }
}
