/**
 * Starting a program in place of this one: its streams are ours, signals go to it, its end is our end.
 *
 * Owns the life of that process. Where Node.js can become another program (execve, from 22.15) and that program is
 * Node.js, it does: then nothing of ours is left while it runs. Anything else could inherit what this process ignores.
 */
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { isatty } from "node:tty";
import type { Launch } from "./run.js";

/** What the sender of a signal wants of a program, as far as it can be caught. */
const FORWARDED = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCONT"] as const;
/** What a terminal sends to all of its foreground group: to the program as well as to us. */
const FROM_TERMINAL: ReadonlySet<string> = new Set(["SIGINT", "SIGQUIT", "SIGCONT", "SIGHUP"]);

/** As shells have it. */
const NOT_FOUND = 127;
const NOT_RUNNABLE = 126;
const BY_SIGNAL = 128;

type Execve = (file: string, args: readonly string[], env: Record<string, string>) => never;

function environment({ env }: Launch): Record<string, string> {
  const set: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) if (value !== undefined) set[name] = value;
  return set;
}

/** Runs the program to its end. Returns: the exit code to end with; does not return where we become the program. */
export async function launch(plan: Launch): Promise<number> {
  const { execve } = process as { execve?: Execve };
  if (plan.isNode && execve !== undefined) {
    try {
      execve.call(process, plan.file, [plan.file, ...plan.args], environment(plan));
    } catch {
      // Not here: not on this platform, or not permitted.
    }
  }
  return await accompany(plan);
}

function accompany(plan: Launch): Promise<number> {
  const { file, args } = plan;
  const child = spawn(file, args, { stdio: "inherit", env: environment(plan) });
  const atTerminal = isatty(0) || isatty(2);
  const handlers = new Map<NodeJS.Signals, () => void>();
  for (const signal of FORWARDED) {
    const handler = (): void => {
      if (!(atTerminal && FROM_TERMINAL.has(signal))) child.kill(signal);
    };
    handlers.set(signal, handler);
    process.on(signal, handler);
  }
  return new Promise((resolve) => {
    const ended = (code: number): void => {
      for (const [signal, handler] of handlers) process.off(signal, handler);
      resolve(code);
    };
    child.once("error", (error: NodeJS.ErrnoException) => {
      if (child.pid !== undefined) return;
      const missing = error.code === "ENOENT";
      const why = missing ? "is neither a script nor a command" : `cannot be run: ${error.code ?? error.message}`;
      process.stderr.write(`smcnet: ${file} ${why}\n`);
      ended(missing ? NOT_FOUND : NOT_RUNNABLE);
    });
    child.once("exit", (code, signal) => {
      ended(code ?? BY_SIGNAL + (constants.signals[signal!] ?? 0));
      // The same end, for those who ask what ended us. Where that is not our end, the code is.
      if (signal !== null) process.kill(process.pid, signal);
    });
  });
}
