/**
 * The test's end of a registry in another process or thread: asks, and waits for the answer.
 *
 * Owns how it is started and ended. What it can be asked for is directory.child.ts.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { happens } from "../support/watchdog.js";
import type { Jobs, Question } from "./directory.child.js";

const CHILD = fileURLToPath(new URL("../rendezvous/directory.child.mjs", import.meta.url));

export interface PeerOptions {
  /** Its gid: 32 hexadecimal digits. */
  readonly gid: string;
  /** What runs it, with arguments, in front of node; for a process. */
  readonly by?: readonly string[];
  /** Who it is; for a process, needs root. */
  readonly ids?: { readonly uid: number; readonly gid: number };
  /** Groups it trusts. */
  readonly trusted?: readonly number[];
}

export class Peer {
  readonly gid: string;
  readonly #end: ChildProcess | Worker;
  readonly #exited: Promise<unknown[]>;

  private constructor(gid: string, end: ChildProcess | Worker) {
    this.gid = gid;
    this.#end = end;
    this.#exited = happens(end, "exit", `the end of ${gid}`);
    this.#exited.catch(() => {});
  }

  static async process(path: string, { gid, by = [], ids, trusted = [] }: PeerOptions): Promise<Peer> {
    const [command = process.execPath, ...args] = [...by, process.execPath, CHILD, path, gid, trusted.join()];
    const child = spawn(command, args, { ...ids, stdio: ["ignore", "inherit", "inherit", "ipc"] });
    const peer = new Peer(gid, child);
    await happens(child, "message", `process ${gid}`);
    return peer;
  }

  static async thread(path: string, gid: string): Promise<Peer> {
    const worker = new Worker(CHILD, { argv: [path, gid] });
    const peer = new Peer(gid, worker);
    await happens(worker, "message", `thread ${gid}`);
    return peer;
  }

  async ask<Job extends keyof Jobs>(job: Job, ...args: Parameters<Jobs[Job]>): Promise<ReturnType<Jobs[Job]>> {
    const question = [job, ...args] as unknown as Question;
    const answered = happens(this.#end, "message", `${this.gid}: ${job}`);
    if (this.#end instanceof Worker) this.#end.postMessage(question);
    else this.#end.send(question);
    const [answer] = await answered;
    return answer as ReturnType<Jobs[Job]>;
  }

  /** Lets it end by itself, without another word to its registry. */
  async exit(): Promise<void> {
    if (this.#end instanceof Worker) this.#end.postMessage(["exit"]);
    else this.#end.send(["exit"]);
    await this.#exited;
  }

  /** Ends it from outside: SIGKILL, or `terminate`. */
  async kill(): Promise<void> {
    if (this.#end instanceof Worker) await this.#end.terminate();
    else this.#end.kill("SIGKILL");
    await this.#exited;
  }
}
