/**
 * Honest processes as the tests of hostile ones have them: started, asked, and watched while somebody lies to them.
 *
 * Owns the child processes and the commands they take. Their death, whenever it comes, fails what waits for them.
 */
import { type ChildProcess, fork } from "node:child_process";
import { readdirSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { shmMissing, testUnless } from "../support/missing.js";
import { makeVolume } from "../support/volume.js";
import { WATCHDOG_MS, within } from "../support/watchdog.js";
import { closeMade } from "./hostile-descriptors.js";
import { type Target, targetsIn } from "./hostile-peer.js";

/** What a connection saw. */
export interface Seen {
  mode: string | undefined;
  device: string | undefined;
  fallback?: string | undefined;
  bytes: number;
  errors: string[];
  closed: boolean;
}

/** What a process holds: bytes, descriptors, free pages of its arena, mapped memfds. */
export interface Health {
  readonly rss: number;
  readonly descriptors: number;
  readonly pages: number;
  readonly shared: number;
}

export type Command = { readonly id: number } & (
  | { readonly name: "serve"; readonly options?: object }
  | { readonly name: "outcome"; readonly port: number }
  | { readonly name: "dial"; readonly port: number }
  | { readonly name: "exchange" | "stream"; readonly port: number; readonly length: number }
  | { readonly name: "ping" | "health" | "resets" | "streamed" | "stop" }
);

type Question = Command extends infer C ? (C extends { id: number } ? Omit<C, "id"> : never) : never;

/** One honest process. */
export class Honest {
  readonly #name: string;
  readonly #child: ChildProcess;
  readonly #answers = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  #next = 0;
  #ended: string | undefined;

  constructor(name: string, env: NodeJS.ProcessEnv) {
    this.#name = name;
    const program = fileURLToPath(new URL("../stress/hostile.child.mjs", import.meta.url));
    this.#child = fork(program, [], { env: { ...process.env, ...env }, execArgv: ["--expose-gc"] });
    this.#child.on("message", ({ id, result, error }: { id: number; result?: unknown; error?: string }) => {
      const answer = this.#answers.get(id);
      this.#answers.delete(id);
      if (error === undefined) answer?.resolve(result);
      else answer?.reject(new Error(`${this.#name}: ${error}`));
    });
    this.#child.on("exit", (code, signal) => {
      this.#ended = `${this.#name} is no more: ${signal ?? code}`;
      for (const { reject } of this.#answers.values()) reject(new Error(this.#ended));
      this.#answers.clear();
    });
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** The answer to a command. Errors: rejects when the process ends first, or hangs. */
  ask<T>(question: Question): Promise<T> {
    if (this.#ended !== undefined) return Promise.reject(new Error(this.#ended));
    const id = this.#next++;
    const answer = new Promise<unknown>((resolve, reject) => this.#answers.set(id, { resolve, reject }));
    this.#child.send({ ...question, id });
    return within(answer as Promise<T>, `${this.#name}: ${JSON.stringify(question)}`);
  }

  ping(): Promise<unknown> {
    return this.ask({ name: "ping" });
  }

  health(): Promise<Health> {
    return this.ask({ name: "health" });
  }

  /** Where `end` did not get so far. */
  kill(): void {
    if (this.#ended === undefined) this.#child.kill("SIGKILL");
  }

  async end(): Promise<void> {
    if (this.#ended !== undefined) return;
    const over = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.disconnect();
    await within(over, `${this.#name} to end`);
  }
}

/** A busy machine must not keep honest processes apart; and who says nothing is waited for no longer than that. */
const CONTACT_MS = 300;
/** Bytes that honest processes write at a time. */
const CHUNK = 16_384;
/** Most that the victim's resident memory may have grown by when the liars are gone: code, caches, the heap's slack. */
const RSS_GROWTH = 96 << 20;

/** A victim that serves, and an honest process whose stream it echoes all the time. */
export class Scene {
  readonly directory: string;
  readonly victim: Honest;
  readonly #honest: Honest;
  /** Where the victim serves whom it has met, and whoever comes with a Proposal. */
  port = 0;
  open = 0;
  #target: Target | undefined;
  #before: Health | undefined;
  #streamed = 0;
  readonly #env: NodeJS.ProcessEnv;

  constructor(env: NodeJS.ProcessEnv) {
    this.directory = makeVolume();
    this.#env = { ...env, SMC_RUNTIME_DIR: this.directory, SMC_CONTACT: String(CONTACT_MS) };
    this.victim = new Honest("the victim", this.#env);
    this.#honest = new Honest("the honest", this.#env);
  }

  async begin(): Promise<void> {
    this.port = await this.victim.ask({ name: "serve" });
    this.open = await this.victim.ask({ name: "serve", options: { negotiateAlways: true } });
    [this.#target] = targetsIn(this.directory);
    await this.#honest.ask({ name: "stream", port: this.port, length: CHUNK });
    // What is opened once, at the first look for a listener, is open from here on.
    await this.victim.ask({ name: "dial", port: this.port });
    await this.unharmed();
    this.#before = await this.victim.health();
  }

  /** The victim's stack. */
  get target(): Target {
    return this.#target!;
  }

  /** The victim answers, and the honest stream goes on. */
  async unharmed(): Promise<void> {
    await this.victim.ping();
    const before = this.#streamed;
    for (const deadline = performance.now() + WATCHDOG_MS; this.#streamed <= before; ) {
      if (performance.now() > deadline) throw new Error("the honest stream stands still");
      this.#streamed = await this.#honest.ask({ name: "streamed" });
    }
  }

  /** What a connection from `port` of this machine to the victim saw, when it is over. */
  outcome(port: number): Promise<Seen> {
    return this.victim.ask({ name: "outcome", port });
  }

  /** One more honest process. Whoever starts it ends it. */
  start(name: string): Honest {
    return new Honest(name, this.#env);
  }

  /** One more honest process meets the victim and is served over shared memory. */
  async meetsAnother(): Promise<void> {
    const another = this.start("another honest");
    try {
      const seen = await another.ask<Seen>({ name: "exchange", port: this.port, length: CHUNK });
      assert.equal([seen.mode, seen.device, seen.errors], ["SMCD", "shm", []]);
    } finally {
      await another.end();
    }
  }

  /** Descriptors, arena and mappings of the victim are what they were before the first lie. */
  async asBefore(): Promise<void> {
    const { rss, ...held } = this.#before!;
    let now: unknown;
    for (const deadline = performance.now() + WATCHDOG_MS; ; ) {
      const { rss: resident, ...holds } = await this.victim.health();
      now = holds;
      if (JSON.stringify(holds) === JSON.stringify(held)) {
        assert.ok(resident - rss < RSS_GROWTH, `${resident - rss} bytes more in memory`);
        return;
      }
      if (performance.now() > deadline) break;
    }
    assert.equal(now, held, "what the victim holds");
  }

  async close(): Promise<void> {
    try {
      await this.#honest.ask({ name: "stop" });
      await this.#honest.end();
      await this.victim.end();
      assert.equal(this.#left(), ["l", "s"]);
    } finally {
      this.victim.kill();
      this.#honest.kill();
      rmSync(this.directory, { recursive: true });
    }
  }

  #left(): string[] {
    return readdirSync(this.directory, { recursive: true, encoding: "utf8" }).sort();
  }
}

/**
 * A suite of lies told to one victim. After each of them it serves on; when the liars are gone it holds what it held before.
 *
 * Takes: env, options of the honest processes.
 */
export function suiteOfLies(name: string, env: NodeJS.ProcessEnv = {}) {
  const test = suite(name);
  const noShm = shmMissing();
  let scene: Scene | undefined;
  if (noShm === undefined) {
    test.before(async () => {
      scene = new Scene(env);
      await scene.begin();
    });
  }
  /** How to write down lies that need something beside SMC between processes. Takes: missing, why it is not there. */
  const liesUnless = (missing: string | undefined) => {
    const declare = testUnless(noShm ?? missing, test);
    return (what: string, tell: (scene: Scene) => Promise<void>): void =>
      declare(what, async () => {
        try {
          await tell(scene!);
          await scene!.unharmed();
        } finally {
          closeMade();
        }
        await scene!.asBefore();
      });
  };
  const run = (): void => {
    // A test of its own: what an `after` throws would hide which test it was.
    if (noShm === undefined) test("when all have ended nothing is left in the runtime directory", () => scene!.close());
    test.run();
  };
  return { lies: liesUnless(undefined), liesUnless, run };
}
