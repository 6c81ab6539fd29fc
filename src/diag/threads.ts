/**
 * The threads of a process, asked together.
 *
 * Owns the channel between them and who is waited for: every thread that has a stack. Threads without one have nothing to
 * tell, but hear of a change of policy all the same. The channel keeps no thread alive. A thread that is blocked does not
 * answer; then its silence is told.
 */
import { BroadcastChannel, isMainThread, receiveMessageOnPort, threadId } from "node:worker_threads";
import { STACK_CAPACITY } from "../../assembly/shared/layout.js";
import { threadContext } from "../net/context.js";
import type { PolicyChange } from "../policy.js";
import type { CountersSnapshot } from "./counters.js";
import type { Question, ThreadAnswer } from "./question.js";
import { answerQuestion, changedPolicy, changePolicy } from "./thread.js";

const CHANNEL = "smcnet/threads/1";
/** How long a thread may take for its answer, ms. */
const PATIENCE_MS = 250;

type Message =
  | { readonly kind: "question"; readonly id: number; readonly question: Question }
  | { readonly kind: "answer"; readonly id: number; readonly from: ThreadAnswer }
  /** A Worker has begun: the policy may have changed since it was made. */
  | { readonly kind: "hello" }
  | { readonly kind: "policy"; readonly change: PolicyChange }
  /** A Worker ends: all it has counted. */
  | { readonly kind: "farewell"; readonly from: ThreadAnswer };

/** All that was ever counted. */
const COUNTED: Question = { ask: "counters", absolute: true };

/** What all threads said. */
export interface Round {
  readonly threads: readonly ThreadAnswer[];
  readonly silent: readonly number[];
}

/** Ids of the other threads that have a stack. */
function others(): Set<number> {
  const abi = threadContext().arena?.abi;
  const found = new Set<number>();
  if (abi === undefined) return found;
  for (let slot = 0; slot < STACK_CAPACITY; slot++)
    if (abi.stackGeneration(slot) !== 0) found.add(abi.stackThread(slot));
  found.delete(threadId);
  return found;
}

const own = (question: Question): ThreadAnswer => ({ thread: threadId, answer: answerQuestion(question) });

/** The main thread's end: it asks. */
export class Threads {
  readonly #channel = new BroadcastChannel(CHANNEL);
  readonly #waiting = new Map<number, (from: ThreadAnswer) => void>();
  /** What threads had counted when last heard of: those that have ended, and in the end all. */
  readonly #last = new Map<number, CountersSnapshot>();
  #next = 0;

  constructor() {
    this.#channel.onmessage = ({ data }: { data: unknown }) => this.#take(data as Message);
    this.#channel.unref();
  }

  #send(message: Message): void {
    this.#channel.postMessage(message);
  }

  #take(message: Message): void {
    if (message.kind === "answer") this.#waiting.get(message.id)?.(message.from);
    else if (message.kind === "farewell") this.#last.set(message.from.thread, message.from.answer as CountersSnapshot);
    else if (message.kind === "hello") {
      const change = changedPolicy();
      if (change !== undefined) this.#send({ kind: "policy", change });
    }
  }

  /** Asks all; who is not heard of in time is silent. */
  ask(question: Question): Promise<Round> {
    const missing = others();
    const threads = [own(question)];
    const id = ++this.#next;
    this.#send({ kind: "question", id, question });
    if (missing.size === 0) return Promise.resolve({ threads, silent: [] });
    return new Promise((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(id);
        resolve({ threads, silent: [...missing] });
      };
      const timer = setTimeout(end, PATIENCE_MS).unref();
      this.#waiting.set(id, (from) => {
        if (!missing.delete(from.thread)) return;
        threads.push(from);
        if (missing.size === 0) end();
      });
    });
  }

  /** At the end of the process: what all threads have counted, those that ended included. Spins until they have answered. */
  lastCounters(): { readonly counters: readonly CountersSnapshot[]; readonly silent: number } {
    const missing = others();
    this.#last.set(threadId, answerQuestion(COUNTED) as CountersSnapshot);
    for (const thread of this.#last.keys()) missing.delete(thread);
    const id = ++this.#next;
    if (missing.size > 0) this.#send({ kind: "question", id, question: COUNTED });
    const until = performance.now() + PATIENCE_MS;
    for (;;) {
      const received = receiveMessageOnPort(this.#channel as never) as { message: Message } | undefined;
      if (received === undefined) {
        if (missing.size === 0 || performance.now() >= until) break;
        continue;
      }
      const { message } = received;
      if (message.kind === "answer" && message.id === id)
        this.#last.set(message.from.thread, message.from.answer as CountersSnapshot);
      else this.#take(message);
      for (const thread of this.#last.keys()) missing.delete(thread);
    }
    return { counters: [...this.#last.values()], silent: missing.size };
  }

  close(): void {
    this.#channel.close();
  }
}

/** A Worker's end: it answers. Takes: report, whether what it counted is wanted when it ends. */
export function joinThreads(report: boolean): () => void {
  const changed = isMainThread ? undefined : changedPolicy();
  if (changed !== undefined) changePolicy(changed);
  const channel = new BroadcastChannel(CHANNEL);
  const send = (message: Message): void => channel.postMessage(message);
  channel.onmessage = ({ data }: { data: unknown }) => {
    const message = data as Message;
    if (message.kind === "policy") changePolicy(message.change);
    if (message.kind === "question") send({ kind: "answer", id: message.id, from: own(message.question) });
  };
  channel.unref();
  send({ kind: "hello" });
  const farewell = (): void => send({ kind: "farewell", from: own(COUNTED) });
  if (report) process.once("exit", farewell);
  return () => {
    process.off("exit", farewell);
    channel.close();
  };
}
