/**
 * A poll loop among pretended neighbours, for its tests: data plane, port and policy, and a clock that stands still.
 *
 * Owns what is pretended. Immediates, ticks and the doorbell word are real. Knows nothing of what must come out.
 */
import { performance } from "node:perf_hooks";
import * as assert from "uvu/assert";
import { ARMED_NONE } from "../../assembly/shared/codes.js";
import type { Abi } from "../../src/engine/abi.js";
import { IdlePolicy } from "../../src/poller/idle.js";
import { type PollCounters, PollLoop, type PollPort } from "../../src/poller/loop.js";

/** What the loop calls of the data plane. */
type PolledAbi = Pick<Abi, "cqPoll" | "stackControl" | "stackArm" | "stackDisarm" | "stackStuck">;

const STACK = 3;

/** Turns of the event loop after which a loop that does not spin for ever has come to rest. */
export const SETTLED_TURNS = 40;

/** Spins for a number of empty turns an episode, whatever the clock says; 0 never. */
class TurnsPolicy extends IdlePolicy {
  readonly #turns: number;
  #left: number;

  constructor(turns: number) {
    super(turns === 0 ? 0 : 1, 2);
    this.#turns = turns;
    this.#left = turns;
  }

  override traffic(nowUs: number, received: boolean): boolean {
    this.#left = this.#turns;
    return super.traffic(nowUs, received);
  }

  override idle(): boolean {
    if (this.spinning && this.#left-- > 0) return true;
    this.end();
    return false;
  }
}

/** A loop among pretended neighbours, and what it did to them, in order. */
export class Scene {
  readonly log: string[] = [];
  readonly counters: PollCounters = {
    busyPollTurns: 0,
    busyPollHits: 0,
    busyPollUs: 0,
    parks: 0,
    doorbellRescued: 0,
  };
  readonly word = new Int32Array(new SharedArrayBuffer(4));
  readonly loop: PollLoop;
  /** Slots and control bits that the next poll finds. */
  pending: number[] = [];
  control = 0;
  polls = 0;
  stuck = false;
  /** Runs between the arming of the doorbell and the re-check. */
  meanwhile = (): void => {};
  onReady = (_slot: number): void => {};
  onYield = (): void => {};
  readonly #readyList = new Uint32Array(64);

  constructor(spinTurns: number, hasBell = true) {
    const news = (): boolean => this.pending.length > 0 || this.control !== 0;
    const abi: PolledAbi = {
      cqPoll: (stack) => {
        assert.is(stack, STACK);
        this.polls++;
        this.#readyList.set(this.pending);
        return this.pending.splice(0).length;
      },
      stackControl: () => {
        const { control } = this;
        this.control = 0;
        return control;
      },
      stackArm: (_stack, how) => {
        this.word[0] = how;
        this.meanwhile();
        if (!news()) return 1;
        this.word[0] = ARMED_NONE;
        return 0;
      },
      stackDisarm: () => {
        this.log.push("disarm");
        this.word[0] = ARMED_NONE;
        return 1;
      },
      stackStuck: () => (this.stuck ? 1 : 0),
    };
    const port: PollPort = {
      ready: (slot) => {
        this.log.push(`ready ${slot}`);
        this.onReady(slot);
      },
      control: () => this.log.push("rendezvous"),
      yieldCpu: () => {
        this.log.push("yield");
        this.onYield();
      },
      leaveCpu: () => this.log.push("leave"),
      housekeeping: () => this.log.push("housekeeping"),
    };
    this.loop = new PollLoop({
      abi: abi as Abi,
      stack: STACK,
      readyList: this.#readyList,
      word: this.word,
      hasBell,
      port,
      counters: this.counters,
      policy: new TurnsPolicy(spinTurns),
    });
  }

  /** A scene whose loop sleeps, holding one connection; with nothing in its log. */
  static async parked(spinTurns: number, hasBell = true): Promise<Scene> {
    const scene = new Scene(spinTurns, hasBell);
    scene.loop.hold(1);
    await settle();
    assert.is(scene.counters.parks, 1, "it sleeps");
    scene.log.length = 0;
    return scene;
  }

  /** News for these slots, and the ring that goes with it. */
  ring(...slots: number[]): void {
    this.pending.push(...slots);
    this.loop.bell();
  }

  /** Wakes whoever awaits the doorbell word; how many did. */
  notify(): number {
    this.word[0] = ARMED_NONE;
    return Atomics.notify(this.word, 0);
  }

  count(what: string): number {
    return this.log.filter((entry) => entry === what).length;
  }
}

/** Lets the event loop turn until a loop that does not spin for ever is at rest. */
export async function settle(turns = SETTLED_TURNS): Promise<void> {
  for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** Time as the loop sees it, ms, and the intervals it has. */
export const clock = { now: 1000 };
class Interval {
  unrefd = false;
  constructor(
    readonly tick: () => void,
    readonly periodMs: number,
  ) {}
  unref(): this {
    this.unrefd = true;
    return this;
  }
}
export const intervals = new Set<Interval>();

const real = { setInterval: globalThis.setInterval, clearInterval: globalThis.clearInterval };
export function stopTime(): void {
  intervals.clear();
  Object.defineProperty(performance, "now", { configurable: true, value: () => clock.now });
  const begin = (tick: () => void, periodMs: number): Interval => {
    const interval = new Interval(tick, periodMs);
    intervals.add(interval);
    return interval;
  };
  Object.assign(globalThis, { setInterval: begin, clearInterval: (interval: Interval) => intervals.delete(interval) });
}
export function startTime(): void {
  Reflect.deleteProperty(performance, "now");
  Object.assign(globalThis, real);
}

/** Lets one period of the re-check pass. */
export function tick(): void {
  assert.is(intervals.size, 1, "one re-check");
  for (const interval of intervals) {
    clock.now += interval.periodMs;
    interval.tick();
  }
}
