/**
 * The main side of peer.child.ts: a process that plays ends of scenarios.
 *
 * Owns the process, and carries words between its end and the other one: a new process is started if it died or did not answer.
 */
import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { happens, within } from "../support/watchdog.js";
import { type FailedReply, failureOf, type Leftovers, type PeerReply } from "./peer.js";
import type { EndTask } from "./run-end.js";
import type { Seen } from "./scenario.js";
import { REPLY_MS } from "./worker-peer.js";

export type ProcessTask = Omit<EndTask, "port">;
export type ProcessRequest =
  | { readonly kind: "run"; readonly task: ProcessTask }
  | { readonly kind: "word"; readonly word: unknown }
  | { readonly kind: "leftovers" }
  /** The other process is gone: replies once nothing is left of it. */
  | { readonly kind: "alone" };
export type ProcessReply = PeerReply | { readonly kind: "word"; readonly word: unknown } | { readonly kind: "alone" };

const CHILD = fileURLToPath(new URL("../net/peer.child.mjs", import.meta.url));

/** What a process is started with. */
export interface ProcessSetting {
  readonly name: string;
  readonly env: NodeJS.ProcessEnv;
  /** Command line that enters where the process is to live; empty for here. */
  readonly entry: readonly string[];
}

/** One request at a time. */
export class ProcessPeer {
  #child: ChildProcess | undefined;

  constructor(readonly setting: ProcessSetting) {}

  #start(): ChildProcess {
    const { env, entry } = this.setting;
    const [command, ...args] = [...entry, process.execPath, ...process.execArgv];
    const child = fork(CHILD, { env, serialization: "advanced", execPath: command!, execArgv: args });
    child.once("exit", () => {
      if (this.#child === child) this.#child = undefined;
    });
    return child;
  }

  /** A request that cannot be sent is told by the exit of the process. */
  #send(request: ProcessRequest): void {
    this.#child?.send(request, () => undefined);
  }

  async #ask(
    request: ProcessRequest,
    word: (value: unknown) => void = () => undefined,
  ): Promise<Exclude<ProcessReply, FailedReply>> {
    this.#child ??= this.#start();
    const child = this.#child;
    const { name } = this.setting;
    const over = new AbortController();
    const replied = new Promise<ProcessReply>((resolve, reject) => {
      const hear = (reply: ProcessReply) => (reply.kind === "word" ? word(reply.word) : resolve(reply));
      const miss = (code: number | null, signal: string | null) =>
        reject(new Error(`the ${name}'s process is gone: ${signal ?? code}`));
      child.on("message", hear).once("exit", miss);
      over.signal.addEventListener("abort", () => child.off("message", hear).off("exit", miss));
    });
    this.#send(request);
    let reply: ProcessReply;
    try {
      reply = await within(replied, `the ${name}'s reply to "${request.kind}"`, REPLY_MS);
    } catch (cause) {
      this.#child = undefined;
      child.kill("SIGKILL");
      throw cause;
    } finally {
      over.abort();
    }
    if (reply.kind === "failed") throw failureOf(reply, `in the ${name}'s process`);
    return reply;
  }

  async run({ port, ...task }: EndTask): Promise<Seen> {
    port.on("message", (word: unknown) => this.#send({ kind: "word", word }));
    try {
      const reply = await this.#ask({ kind: "run", task }, (word) => port.postMessage(word));
      if (reply.kind !== "seen") throw new Error(`unexpected reply "${reply.kind}"`);
      return reply.seen;
    } finally {
      port.close();
    }
  }

  async leftovers(): Promise<Leftovers> {
    const reply = await this.#ask({ kind: "leftovers" });
    if (reply.kind !== "leftovers") throw new Error(`unexpected reply "${reply.kind}"`);
    return reply.leftovers;
  }

  /** Resolves once nothing is left in it of the other process, which has ended. */
  async alone(): Promise<void> {
    await this.#ask({ kind: "alone" });
  }

  /** Nothing if it has ended. */
  kill(): void {
    this.#child?.kill("SIGKILL");
  }

  /** Lets the process go. Errors: rejects if it does not go by itself, or not with 0. */
  async end(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    this.#child = undefined;
    const exit = happens(child, "exit", `the ${this.setting.name}'s process to go by itself`);
    child.disconnect();
    try {
      const [code, signal] = await exit;
      if (code !== 0) throw new Error(`the ${this.setting.name}'s process ended with ${signal ?? code}`);
    } finally {
      child.kill("SIGKILL");
    }
  }
}
