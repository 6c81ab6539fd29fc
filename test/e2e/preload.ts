/**
 * Runs unmodified programs with the preload, in processes of their own, and gives back what they print.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { within } from "../support/watchdog.js";

export const root = (() => {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!readdirSync(folder).includes("asconfig.json")) folder = dirname(folder);
  return folder;
})();

export const PRELOAD = join(root, "dist/register.cjs");
export const CORE = join(root, "dist/index.cjs");

/** A runtime directory of this file's own: both processes of a test meet there, and nobody else. */
export const RUNTIME = mkdtempSync(join(tmpdir(), "smcnet-preload-"));

/** What a program said: its lines as JSON, and its standard error. */
export interface Said {
  readonly lines: readonly unknown[];
  readonly errors: string;
  readonly status: number | null;
}

export interface Program {
  readonly child: ChildProcess;
  /** Resolves with the first line as JSON. */
  first(): Promise<unknown>;
  readonly ended: Promise<Said>;
}

export interface StartOptions {
  readonly env?: object;
  /** The binary that runs it. */
  readonly node?: string;
  readonly flags?: readonly string[];
  readonly args?: readonly string[];
}

/** Takes: code of a CommonJS program; say(value) prints a line. */
export function start(
  code: string,
  { env = {}, node = process.execPath, flags = ["--require", PRELOAD], args = [] }: StartOptions = {},
): Program {
  const say = "const say = (value) => console.log(JSON.stringify(value ?? null));\n";
  const child = spawn(node, [...flags, "-e", say + code, "--", ...args], {
    env: { ...process.env, SMC_RUNTIME_DIR: RUNTIME, ...env },
    stdio: ["pipe", "pipe", "pipe"],
  });
  let output = "";
  let errors = "";
  const first = new Promise<unknown>((resolve) => {
    child.stdout.on("data", (bytes: Buffer) => {
      output += bytes;
      const end = output.indexOf("\n");
      if (end >= 0) resolve(JSON.parse(output.slice(0, end)));
    });
  });
  child.stderr.on("data", (bytes: Buffer) => {
    errors += bytes;
  });
  const ended = once(child, "close").then(([status]) => {
    const lines = output.split("\n").filter((line) => line !== "");
    return { lines: lines.map((line) => JSON.parse(line) as unknown), errors, status: status as number | null };
  });
  return { child, first: () => within(first, "the program's first line"), ended: within(ended, "the program's end") };
}

/** Runs a program to its end. */
export const run = (...args: Parameters<typeof start>): Promise<Said> => start(...args).ended;
