/**
 * Parties: processes that talk to each other while a test directs them, kills them and asks what they saw.
 *
 * Owns the runtime directory of a test, its processes and the questions put to them. The test's own process does not use
 * smcnet: every end is in a party, so that each can die. What a party can be asked stands in processes-verbs.ts.
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, rmSync, watch } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { PATIENCE } from "../support/patience.js";
import { RUN_SEED } from "../support/prng.js";
import { makeVolume } from "../support/volume.js";
import { until, WATCHDOG_MS, within } from "../support/watchdog.js";
import type { Asked, Reply, Verb, Verbs } from "./processes-verbs.js";

const CHILD = fileURLToPath(new URL("../stress/processes.child.mjs", import.meta.url));

/** All say the same for the same label. */
const COMMON = {
  SMC_TEST_SEED: String(RUN_SEED),
  ...PATIENCE,
};

/** How a party went: its exit code, or the signal. */
export type Exit = number | NodeJS.Signals;

/** A runtime directory of its own, and the parties that meet in it. */
export class Home {
  readonly path = makeVolume();
  readonly #env: Readonly<Record<string, string>>;
  readonly #parties = new Set<Party>();
  #spare: Promise<Party> | undefined;

  /** Takes: env, for all parties. */
  constructor(env: Readonly<Record<string, string>> = {}) {
    this.#env = env;
  }

  /** A party that is ready to be asked. */
  async party(env: Readonly<Record<string, string>> = {}): Promise<Party> {
    const all = { ...process.env, ...COMMON, ...this.#env, ...env, SMC_RUNTIME_DIR: join(this.path, "run") };
    const party = new Party(fork(CHILD, { env: all, execArgv: ["--expose-gc"], serialization: "advanced" }));
    this.#parties.add(party);
    void party.exited.then(() => this.#parties.delete(party));
    await party.ready;
    return party;
  }

  /** A party, started before it was asked for; the one after it is on its way then. */
  async next(): Promise<Party> {
    const ready = this.#spare ?? this.party();
    this.#spare = this.party();
    this.#spare.catch(() => undefined);
    return ready;
  }

  parties(count: number, env: Readonly<Record<string, string>> = {}): Promise<Party[]> {
    return Promise.all(Array.from({ length: count }, () => this.party(env)));
  }

  /** A file of the test beside the runtime directory. */
  file(name: string): string {
    return join(this.path, name);
  }

  /** Entries and sockets that are in the runtime directory. */
  entries(): string[] {
    const run = join(this.path, "run");
    const namesIn = (folder: string): string[] => {
      try {
        return readdirSync(join(run, folder));
      } catch (error) {
        // Cleared away since it was seen.
        if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
        throw error;
      }
    };
    const listeners = namesIn("l").flatMap((key) => namesIn(`l/${key}`));
    return [...listeners.map((name) => `l/${name}`), ...namesIn("s").map((name) => `s/${name}`)];
  }

  /** Resolves when the runtime directory holds what this party has put there, and nothing of the dead. */
  async holdsOnly(party: Party): Promise<void> {
    const own = await party.ask("gid");
    const strange = (): string[] => this.entries().filter((name) => !name.slice(2).startsWith(own));
    const watching = watch(join(this.path, "run"), { recursive: true });
    const wait = async (): Promise<void> => {
      while (strange().length > 0) await once(watching, "change");
    };
    try {
      await within(wait(), "the traces of the dead to be cleared away").catch((error: Error) => {
        throw new Error(`${error.message}; there is still ${strange()}`);
      });
    } finally {
      watching.close();
    }
  }

  /** Sends away the party that was started in advance. */
  async closed(): Promise<void> {
    await (await this.#spare)?.leave();
    this.#spare = undefined;
  }

  /** Kills whoever is left and removes the directory. */
  async remove(): Promise<void> {
    await Promise.all([...this.#parties].map((party) => party.kill()));
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** One process. */
export class Party {
  readonly #child: ChildProcess;
  readonly #asked = new Map<number, { resolve: (value: unknown) => void; reject: (cause: Error) => void }>();
  #next = 0;
  #exit: Exit | undefined;
  /** Resolves with its end. */
  readonly exited: Promise<Exit>;
  readonly ready: Promise<void>;

  constructor(child: ChildProcess) {
    this.#child = child;
    this.exited = once(child, "exit").then(([code, signal]) => {
      this.#exit = (code ?? signal) as Exit;
      this.#fail();
      return this.#exit;
    });
    child.on("disconnect", () => this.#fail());
    child.on("error", () => undefined);
    this.ready = within(once(child, "message"), "a party to start").then(() => {
      child.on("message", (reply: Reply) => this.#reply(reply));
    });
  }

  get pid(): number {
    return this.#child.pid!;
  }

  #reply({ id, value, error }: Reply): void {
    const waiting = this.#asked.get(id);
    this.#asked.delete(id);
    if (error === undefined) waiting?.resolve(value);
    else waiting?.reject(new Error(`in party ${this.pid}: ${error}`));
  }

  #fail(): void {
    for (const { reject } of this.#asked.values()) reject(new Error(`party ${this.pid} is gone`));
    this.#asked.clear();
  }

  /** Has it do something. Errors: rejects with what went wrong there, when it ends before, and when it hangs. */
  ask<V extends Verb>(verb: V, ...args: Parameters<Verbs[V]>): Promise<Awaited<ReturnType<Verbs[V]>>> {
    const id = this.#next++;
    const answer = new Promise<unknown>((resolve, reject) => this.#asked.set(id, { resolve, reject }));
    this.tell(verb, id, args);
    // A party notices by itself what hangs, and says it better.
    const wait = within(answer, `the answer of party ${this.pid} to "${verb}"`, 2 * WATCHDOG_MS);
    return wait as Promise<Awaited<ReturnType<Verbs[V]>>>;
  }

  /** Has it do something that it does not live to tell of. Returns: how it went. */
  async last<V extends Verb>(verb: V, ...args: Parameters<Verbs[V]>): Promise<Exit> {
    this.tell(verb, this.#next++, args);
    return within(this.exited, `the end of party ${this.pid} by "${verb}"`);
  }

  tell(verb: Verb, id: number, args: unknown[]): void {
    if (this.#exit !== undefined || !this.#child.connected) throw new Error(`party ${this.pid} is gone`);
    const asked: Asked = { id, verb, args };
    this.#child.send(asked);
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** SIGSTOP, in force when this resolves. */
  async stop(): Promise<void> {
    this.#child.kill("SIGSTOP");
    const state = (): string => readFileSync(`/proc/${this.pid}/stat`, "utf8").split(") ")[1]![0]!;
    await until(() => state() === "T", "a process to stand still");
  }

  async kill(): Promise<void> {
    if (this.#exit !== undefined) return;
    this.#child.kill("SIGKILL");
    await within(this.exited, `the end of party ${this.pid}`);
  }

  /** It closes what it has and goes by itself. */
  async leave(): Promise<void> {
    const exit = await this.last("leave");
    if (exit !== 0) throw new Error(`party ${this.pid} went with ${exit}`);
  }
}

/** The number that a victim keeps in a file, which outlives it: bytes that are out of its hands for sure. */
export function boardOf(path: string): number {
  return Number(readFileSync(path).readBigUInt64LE(0));
}

/** p50, p99 and the largest of a list of milliseconds, as text. */
export function spread(values: readonly number[]): string {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number): string => (sorted[Math.ceil(sorted.length * share) - 1] ?? Number.NaN).toFixed(2);
  return `p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, largest ${at(1)} ms of ${sorted.length}`;
}
