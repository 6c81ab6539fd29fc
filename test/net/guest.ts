/**
 * Guests: processes, in a container or not, that listen, call and die as a test tells them.
 *
 * Owns a guest's process and the questions put to it. What it can be asked stands in guest.child.ts.
 */
import { type ChildProcess, fork } from "node:child_process";
import { rmSync } from "node:fs";
import type { Server } from "node:net";
import { fileURLToPath } from "node:url";
import type { Container } from "../support/namespaces.js";
import { PATIENCE } from "../support/patience.js";
import { makeVolume } from "../support/volume.js";
import { WATCHDOG_MS, within } from "../support/watchdog.js";
import type { Answer, Question, Verbs } from "./guest.child.js";

const CHILD = fileURLToPath(new URL("../net/guest.child.mjs", import.meta.url));

/** Several questions at a time, answered in any order. */
export class Guest {
  readonly name: string;
  readonly #child: ChildProcess;
  readonly #asked = new Map<number, (answer: Answer) => void>();
  #questions = 0;
  /** Resolves with how its process has ended. */
  readonly #over: Promise<string>;

  /** Takes: directory, as it is called where the guest lives; entry, command line that enters there. */
  constructor(name: string, directory: string, entry: readonly string[] = []) {
    const [command, ...args] = [...entry, process.execPath];
    const env = { ...process.env, ...PATIENCE, SMC_RUNTIME_DIR: directory };
    this.name = name;
    this.#child = fork(CHILD, { env, serialization: "advanced", execPath: command!, execArgv: args });
    this.#child.on("message", (answer: Answer) => {
      const asked = this.#asked.get(answer.id);
      if (asked !== undefined) asked(answer);
      else if (answer.error !== undefined) process.stderr.write(`${name}: ${answer.error}\n`);
      this.#asked.delete(answer.id);
    });
    this.#over = new Promise((resolve) => {
      this.#child.once("exit", (code, signal) => resolve(String(signal ?? code)));
    });
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** Errors: rejects with what went wrong there, when it is gone, and when it hangs. */
  ask<V extends keyof Verbs>(verb: V, ...args: Parameters<Verbs[V]>): Promise<Awaited<ReturnType<Verbs[V]>>> {
    return this.#ask(verb, args);
  }

  /** As ask, with a listening socket. */
  give<V extends keyof Verbs>(server: Server, verb: V, ...args: Parameters<Verbs[V]>): Promise<unknown> {
    return this.#ask(verb, args, server);
  }

  async #ask<V extends keyof Verbs>(
    verb: V,
    args: Parameters<Verbs[V]>,
    server?: Server,
  ): Promise<Awaited<ReturnType<Verbs[V]>>> {
    const id = this.#questions++;
    const answered = new Promise<Answer>((resolve) => this.#asked.set(id, resolve));
    this.#child.send({ id, verb, args } satisfies Question, server, () => undefined);
    const what = `the answer of ${this.name} to "${verb}"`;
    const over = this.#over.then((how): Answer => ({ id, error: `its process has ended: ${how}` }));
    const { value, error } = await within(Promise.race([answered, over]), what, 2 * WATCHDOG_MS);
    if (error !== undefined) throw new Error(`${this.name}: ${error}`);
    return value as Awaited<ReturnType<Verbs[V]>>;
  }

  /** Has it do something that it does not live to tell of. */
  tell<V extends keyof Verbs>(verb: V, ...args: Parameters<Verbs[V]>): void {
    this.#child.send({ id: this.#questions++, verb, args } satisfies Question, () => undefined);
  }

  /** Resolves once its process has ended. */
  async gone(): Promise<void> {
    await within(this.#over, `the end of ${this.name}`);
  }

  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.gone();
  }

  /** As kill, in a process that ends itself. */
  abandon(): void {
    this.#child.kill("SIGKILL");
  }
}

/** Guests of one test, who share a runtime directory; all of them go with it. */
export class Guests {
  readonly directory = makeVolume();
  readonly #guests: Guest[] = [];
  readonly #abandon = () => {
    for (const guest of this.#guests) guest.abandon();
  };

  constructor() {
    process.once("exit", this.#abandon);
  }

  /** Takes: container, where the guest is to live; none for here. */
  add(name: string, container?: Container): Guest {
    const guest = new Guest(name, container?.volume ?? this.directory, container?.entry);
    this.#guests.push(guest);
    return guest;
  }

  async send(): Promise<void> {
    process.off("exit", this.#abandon);
    await Promise.all(this.#guests.map((guest) => guest.kill()));
    rmSync(this.directory, { recursive: true });
  }
}
