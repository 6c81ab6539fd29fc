/**
 * Where a side runs, as the process that started it sees it: a Worker, or a process of its own.
 *
 * Owns the lives of both. Knows nothing of what a message means.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { dirname, join } from "node:path";
import { Worker } from "node:worker_threads";
import { BENCH_FOLDER, type CallMessage, type FailureMessage, type ReplyMessage, type SideSetup } from "./side.js";
import { isPreloaded } from "./transports.js";

export const WORKER_PROGRAM = join(BENCH_FOLDER, "side.worker.mjs");
const CHILD_PROGRAM = join(BENCH_FOLDER, "side.child.mjs");

/** What starts a side as `smcnet run` would, where it is one that needs it. */
const PRELOAD = ["--require", join(dirname(BENCH_FOLDER), "register.cjs")];
const preloadOf = (setup: SideSetup): readonly string[] => (isPreloaded(setup) ? PRELOAD : []);

/** A process that has not gone by then, ms after it was told to, is killed. */
const EXIT_DEADLINE_MS = 5000;

export interface SideHost {
  readonly pid: number;
  post(message: CallMessage): void;
  end(): Promise<void>;
}

/** What a host has to tell. `failed` may come more than once, and comes at the end in any case. */
export interface HostEvents {
  replied(reply: ReplyMessage): void;
  failed(error: Error): void;
}

export function startWorker(setup: SideSetup, { replied, failed }: HostEvents): SideHost {
  const transferList = setup.port ? [setup.port] : [];
  const worker = new Worker(WORKER_PROGRAM, { workerData: setup, transferList, execArgv: [...preloadOf(setup)] });
  worker.on("message", replied);
  worker.on("error", failed);
  worker.on("exit", () => failed(new Error("the worker has ended")));
  return {
    pid: process.pid,
    post: (message) => worker.postMessage(message),
    async end() {
      await worker.terminate();
    },
  };
}

/** CPU set and environment are this process's. */
export function startProcess(setup: SideSetup, { replied, failed }: HostEvents): SideHost {
  const child = fork(CHILD_PROGRAM, [JSON.stringify(setup)], {
    serialization: "advanced",
    execArgv: [...preloadOf(setup)],
  });
  const exited = once(child, "exit");
  exited.catch(() => {});
  child.on("message", (message: ReplyMessage | FailureMessage) => {
    if ("failure" in message) failed(message.failure);
    else replied(message);
  });
  child.on("error", failed);
  child.on("exit", (code, signal) => failed(new Error(`the process has ended (${signal ?? `exit ${code}`})`)));
  return {
    pid: child.pid ?? -1,
    post: (message) => void child.send(message),
    async end() {
      if (child.connected) child.disconnect();
      const deadline = setTimeout(() => child.kill("SIGKILL"), EXIT_DEADLINE_MS);
      await exited.catch(() => {});
      clearTimeout(deadline);
    },
  };
}
