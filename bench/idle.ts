/**
 * idle: what do open connections cost while nothing happens on them, and what do they cost an active one?
 *
 * Method: one run for each transport, two pairs of sides. Each connection first has 16 KiB pushed through it each way, a
 * full ring; then all rest. cpu: CPU time of both pairs over a window without traffic. rss: growth of resident memory
 * by the connections, after the idle trim and a garbage collection, for each of the two sockets of a connection; a page
 * that two processes map counts once. throughput: an active connection in the threads or processes that hold the idle
 * ones, and in turn with it one in two that hold nothing else (connections=1). It receives by `onread`: `data` handlers
 * allocate, and what would be measured is the garbage collector, which takes longer in a heap with thousands of sockets
 * whatever carries them.
 * Does not show: kernel memory, which no process's resident size contains and of which tcp and uds use more.
 */
import { setTimeout as delay } from "node:timers/promises";
import { residentBytes } from "./footprint.js";
import type { Case, Reading, Scenario, Subject } from "./harness.js";
import { collectGarbage, type HolderSide, holderSide, type KeeperSide, keeperSide } from "./idle-sides.js";
import { meterRest } from "./meter.js";
import { Pair } from "./pair.js";
import type { Params, Transport } from "./record.js";
import type { Sides } from "./side.js";

const TRANSPORTS: readonly Transport[] = ["smcd", "smcd-copy", "tcp", "uds"];
/** Writes of the active connection, bytes. */
const ACTIVE_BYTES = 65_536;
const ALONE: Params = { connections: 1 };
/** From the last traffic until timers have ended, rings are trimmed and pages given back: in full, and in a quick run, ms. */
const SETTLE_MS = 3000;
const QUICK_SETTLE_MS = 60;

/** A case with `bytes` has an active connection beside the idle ones; one without asks for CPU time. */
function cases(quick: boolean): readonly Case[] {
  const common = { transports: TRANSPORTS, rounds: quick ? 3 : 5 };
  const rest = (connections: number, durationMs: number): Case => ({
    params: { connections, cpus: 2 },
    durationMs,
    ...common,
  });
  const beside = (connections: number, durationMs: number): Case => ({
    params: { connections, bytes: ACTIVE_BYTES, receive: "onread", cpus: 2 },
    durationMs,
    ...common,
  });
  return quick ? [rest(10, 40), beside(20, 20)] : [rest(100, 3000), beside(5000, 500)];
}

/** Two sides with their active connection. */
class ActivePair {
  readonly sides: Pair<HolderSide, KeeperSide>;
  readonly #durationMs: number;
  #sentBytes = 0;

  private constructor(transport: Transport, { params, durationMs }: Case) {
    this.sides = new Pair("idle", transport, params);
    this.#durationMs = durationMs;
  }

  static async open(transport: Transport, subject: Case): Promise<ActivePair> {
    const pair = new ActivePair(transport, subject);
    const { server, client } = pair.sides;
    await client.call("connect", await server.call("listen", undefined));
    return pair;
  }

  async warmUp(): Promise<void> {
    await this.flow();
    await this.sides.client.call("strict", false);
    await this.flow();
  }

  async flow(): Promise<Reading> {
    const { server, client } = this.sides;
    const { result, load } = await this.sides.meter(async () => {
      const { startedUs, total } = await server.call("send", this.#durationMs);
      return { total, us: (await client.call("arrived", total)) - startedUs };
    });
    const bytes = result.total - this.#sentBytes;
    this.#sentBytes = result.total;
    return { metric: "throughput", value: bytes / result.us / 1000, load };
  }

  async collect(): Promise<void> {
    await this.sides.server.call("collect", undefined);
    await this.sides.client.call("collect", undefined);
  }
}

class IdleSubject implements Subject {
  readonly #case: Case;
  readonly #connections: number;
  readonly #withActive: boolean;
  readonly #beside: ActivePair;
  readonly #alone: ActivePair;
  #rss: Reading | undefined;

  constructor(subject: Case, beside: ActivePair, alone: ActivePair) {
    this.#case = subject;
    this.#connections = subject.params.connections!;
    this.#withActive = subject.params.bytes !== undefined;
    this.#beside = beside;
    this.#alone = alone;
  }

  async warmUp(): Promise<void> {
    if (this.#withActive) for (const pair of [this.#alone, this.#beside]) await pair.warmUp();
    const before = await this.#restingBytes();
    const { server, client } = this.#beside.sides;
    const { load } = await this.#beside.sides.meter(() => client.call("open", this.#connections));
    const held = await server.call("held", undefined);
    if (held !== this.#connections) throw new Error(`${held} of ${this.#connections} connections were accepted`);
    const grown = (await this.#restingBytes()) - before;
    if (this.#withActive) this.#rss = { metric: "rss", value: grown / (2 * this.#connections), load };
  }

  async round(): Promise<readonly Reading[]> {
    if (!this.#withActive) return [await this.#rest()];
    const alone: Reading = { ...(await this.#alone.flow()), params: ALONE };
    const readings = [alone, await this.#beside.flow()];
    if (this.#rss) readings.push(this.#rss);
    this.#rss = undefined;
    return readings;
  }

  async close(): Promise<void> {
    await this.#beside.sides.close();
    await this.#alone.sides.close();
  }

  async #rest(): Promise<Reading> {
    const all = [this.#beside, this.#alone].flatMap(({ sides }) => [sides.server, sides.client]);
    const load = await meterRest(all, this.#case.durationMs);
    return { metric: "cpu", value: load.cpuUser + load.cpuSys, load };
  }

  /** Resident bytes after garbage collection, once everything has had the time to come to rest. */
  async #restingBytes(): Promise<number> {
    await delay(this.#case.durationMs < 100 ? QUICK_SETTLE_MS : SETTLE_MS);
    for (const pair of [this.#alone, this.#beside]) await pair.collect();
    collectGarbage();
    const { server, client } = this.#beside.sides;
    return residentBytes([server, client]);
  }
}

async function open(transport: Transport, subject: Case): Promise<Subject> {
  const beside = await ActivePair.open(transport, subject);
  return new IdleSubject(subject, beside, await ActivePair.open(transport, subject));
}

export const scenario: Scenario = { name: "idle", isolated: true, cases, open };
export const sides: Sides = { server: holderSide, client: keeperSide };
