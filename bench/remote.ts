/**
 * One side of a bench as the process that measures sees it: calls that are answered, or fail with the side.
 *
 * Owns the calls that wait. A failure of the side, asked for or not, fails all of them. Knows nothing of what a call does.
 */
import type { CpuTime, Metered } from "./meter.js";
import { type CallMessage, METER_OPERATIONS, type ReplyMessage, type SideSetup } from "./side.js";
import { type SideHost, startProcess, startWorker } from "./side-host.js";

type Argument<F> = F extends (argument: infer A) => unknown ? A : never;
type Result<F> = F extends (argument: never) => infer R ? Awaited<R> : never;

/** A call that is not answered by then has hung. */
const CALL_DEADLINE_MS = 120_000;

/** `O` are the operations of the side. */
export class Remote<O> implements Metered {
  readonly pid: number;
  readonly #host: SideHost;
  readonly #label: string;
  readonly #waiting = new Map<number, { resolve(value: never): void; reject(error: Error): void }>();
  #failure: Error | undefined;
  #lastId = 0;

  constructor(setup: SideSetup) {
    this.#label = `${setup.scenario} ${setup.transport} ${setup.role}`;
    const start = setup.params.contexts === "processes" ? startProcess : startWorker;
    this.#host = start(setup, {
      replied: (reply) => this.#replied(reply),
      failed: (error) => this.#fail(error),
    });
    this.pid = this.#host.pid;
  }

  /** Errors: what the operation threw; the side's death; no answer within two minutes. */
  call<K extends keyof O & string>(operation: K, argument: Argument<O[K]>): Promise<Result<O[K]>> {
    return this.#ask(operation, argument) as Promise<Result<O[K]>>;
  }

  /** Asks only where it has to: a question costs CPU time itself. */
  cpuTime(): Promise<CpuTime> {
    return this.#meter("cpuTime", undefined);
  }

  cpuTimeAtRest(ms: number): Promise<CpuTime> {
    return this.#meter("cpuTimeAtRest", ms);
  }

  async end(): Promise<void> {
    this.#failure ??= new Error(`${this.#label}: closed`);
    await this.#host.end();
  }

  async #meter(operation: keyof typeof METER_OPERATIONS, argument: number | undefined): Promise<CpuTime> {
    if (this.pid === process.pid) return METER_OPERATIONS[operation](argument as never);
    return (await this.#ask(operation, argument)) as CpuTime;
  }

  #ask(operation: string, argument: unknown): Promise<unknown> {
    if (this.#failure) return Promise.reject(this.#failure);
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      const deadline = setTimeout(() => this.#fail(new Error(`no answer to ${operation}`)), CALL_DEADLINE_MS);
      const settle =
        <T>(then: (value: T) => void) =>
        (value: T) => {
          clearTimeout(deadline);
          then(value);
        };
      this.#waiting.set(id, { resolve: settle(resolve), reject: settle(reject) });
      const message: CallMessage = { id, operation, argument };
      this.#host.post(message);
    });
  }

  #replied(reply: ReplyMessage): void {
    const call = this.#waiting.get(reply.id);
    this.#waiting.delete(reply.id);
    if (reply.ok) call?.resolve(reply.value as never);
    else call?.reject(this.#named(reply.error));
  }

  #fail(error: Error): void {
    this.#failure ??= this.#named(error);
    for (const call of this.#waiting.values()) call.reject(this.#failure);
    this.#waiting.clear();
  }

  #named(error: Error): Error {
    return new Error(`${this.#label}: ${error.message}`, { cause: error });
  }
}
