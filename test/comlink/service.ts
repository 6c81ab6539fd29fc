/**
 * What the tests expose to each other: one object, used over every kind of connection.
 */
import { createHash } from "node:crypto";
import { threadId } from "node:worker_threads";
import * as Comlink from "comlink";

export const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** A failure with more than a message. */
export class ServiceError extends Error {
  override readonly name = "ServiceError";
}

export class Counter {
  #count: number;
  constructor(start: number) {
    this.#count = start;
  }
  up(): number {
    return ++this.#count;
  }
}

/** What runs when a call of `later` comes. */
type Callback = (value: number) => number | Promise<number>;

export const service = {
  answer: 42,
  nested: { deep: { name: "here" } },
  Counter,
  add: (a: number, b: number): number => a + b,
  echo: <T>(value: T): T => value,
  hash: (bytes: Uint8Array): string => sha256(bytes),
  bytes: (length: number, fill: number): Uint8Array => new Uint8Array(length).fill(fill),
  fail(): never {
    throw new ServiceError("as asked");
  },
  /** Calls back so many times, and sums up what it is told. */
  async callBack(times: number, callback: Callback): Promise<number> {
    let sum = 0;
    for (let i = 0; i < times; i++) sum += await callback(i);
    return sum;
  },
  /** Calls back with a function of this side, and gives back what the other side made of it. */
  lend: (borrow: (double: (value: number) => number) => number | Promise<number>): number | Promise<number> =>
    borrow(Comlink.proxy((value) => 2 * value)),
  thread: (): number => threadId,
  /** What no structured clone can hold. */
  uncloneable: (): unknown => ({ method: () => 0 }),
  never: (): Promise<never> => new Promise(() => undefined),
};

export type Service = typeof service;
