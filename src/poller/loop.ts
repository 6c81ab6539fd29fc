/**
 * The poll loop of a stack, inside its event loop: drains the CQ, busy-polls while that pays, else parks on the doorbell.
 *
 * Owns the turns, arming and the re-check. Knows slots, not connections. One immediate a ready connection: ticks and
 * microtasks drain between connections, and a listener that throws strands nobody: where several are ready, all were scheduled
 * before the first ran; where one is, the book-keeping follows it in any case.
 */
import { AsyncResource } from "node:async_hooks";
import { performance } from "node:perf_hooks";
import { ARMED_BELL, ARMED_NOTIFY } from "../../assembly/shared/codes.js";
import type { Abi } from "../engine/abi.js";
import type { IdlePolicy } from "./idle.js";

/** What the loop counts; fields of the counters table. */
export interface PollCounters {
  busyPollTurns: number;
  busyPollHits: number;
  busyPollUs: number;
  parks: number;
  doorbellRescued: number;
}

export interface PollPort {
  /** Handles one ready slot. May run user code, may throw. */
  ready(slot: number): void;
  /** Control bits were set for us. */
  control(bits: number): void;
  /** A spin that takes longer: whoever waits for this CPU may have it. */
  yieldCpu(): void;
  /** Sleeps for some tens of microseconds, the shortest sleep there is: the scheduler wakes us on an idle CPU. */
  leaveCpu(): void;
  /** About once a second while traffic flows, and once after it has stopped. */
  housekeeping(): void;
}

/** Immediates of the loop belong to nobody's async context: everything is scheduled from this one, made at load. */
const root = new AsyncResource("SMCPOLL");

/** The re-check: how often, and for how long after the last traffic, in ms. It is a net under the doorbell, not a way. */
const RECHECK_MS = 250;
const RECHECK_FOR_MS = 2500;
const HOUSEKEEPING_TICKS = 4;

/** Empty turns, about a microsecond each, after which a spin yields: the peer may be waiting for this very CPU. */
const POLITE_AFTER_TURNS = 16;

/** A yield that takes this long, in ms, gave the CPU to somebody else. */
const YIELD_TAKEN_MS = 0.008;

/** What such a yield counts against one that returned at once, and the sum from which somebody shares this CPU, likely the peer. */
const TAKEN_YIELD = 2;
const CROWDED = 4;

/** Leaving a crowded CPU has not helped if the next one is crowded after so few yields, so many times in a row. */
const CROWDED_AGAIN_YIELDS = 16;
const MOST_TIMES_LEFT = 4;

export class PollLoop {
  readonly #abi: Abi;
  readonly #stack: number;
  readonly #readyList: Uint32Array;
  readonly #word: Int32Array<SharedArrayBuffer>;
  readonly #port: PollPort;
  readonly #counters: PollCounters;
  readonly #policy: IdlePolicy;
  readonly #hasBell: boolean;
  #scheduled = false;
  #parked = false;
  #refs = 0;
  #live = 0;
  #spinSince = 0;
  #lastTraffic = 0;
  #waiting = false;
  #suspect = false;
  #ticks = 0;
  #emptyTurns = 0;
  #crowd = 0;
  #timesLeft = 0;
  #yieldsSinceLeft = 0;
  #recheck: NodeJS.Timeout | undefined;
  readonly #turn: () => void;
  readonly #notified: () => void;

  constructor(options: {
    abi: Abi;
    stack: number;
    readyList: Uint32Array;
    word: Int32Array<SharedArrayBuffer>;
    hasBell: boolean;
    port: PollPort;
    counters: PollCounters;
    policy: IdlePolicy;
  }) {
    this.#abi = options.abi;
    this.#stack = options.stack;
    this.#readyList = options.readyList;
    this.#word = options.word;
    this.#hasBell = options.hasBell;
    this.#port = options.port;
    this.#counters = options.counters;
    this.#policy = options.policy;
    this.#turn = () => this.#poll();
    this.#notified = () => {
      this.#waiting = false;
      this.#wake();
    };
  }

  /** A connection, claim or waiting acceptor came (+1) or went (-1): without any, the loop neither turns nor waits. */
  hold(change: 1 | -1): void {
    this.#live += change;
    if (change === 1) this.#schedule();
  }

  /** A connection that keeps the process alive came (+1) or went (-1): only for those the loop begins to spin. */
  ref(change: 1 | -1): void {
    this.#refs += change;
  }

  /** We sent something: an answer may come soon. */
  expect(): void {
    if (this.#policy.spinning || this.#scheduled || this.#refs === 0) return;
    if (this.#traffic(performance.now(), false)) this.#schedule();
  }

  /** News came to this loop by another way than the CQ: a turn that paid all the same. */
  arrived(): void {
    if (this.#refs === 0) return;
    const now = performance.now();
    this.#unpark(now);
    if (this.#traffic(now, true)) this.#schedule();
    else if (this.#live > 0) this.#schedule();
  }

  /** Tells the policy of traffic; whether the loop should be turning. */
  #traffic(now: number, received: boolean): boolean {
    this.#lastTraffic = now;
    const spun = this.#policy.spinning;
    if (!this.#policy.traffic(now * 1000, received)) return false;
    if (!spun) this.#spinSince = now;
    return true;
  }

  /** The bell rang. */
  bell(): void {
    this.#wake();
  }

  /** We have just rung somebody else's bell. That takes so long where it wakes a CPU that the answer may be there already. */
  rang(): void {
    if (this.#live > 0) this.#schedule();
  }

  /** After the doorbell word was used by somebody else of this thread (a blocking ring): look and arm anew. */
  recheck(): void {
    this.#parked = false;
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    root.runInAsyncScope(setImmediate, undefined, this.#turn);
  }

  #wake(): void {
    if (this.#parked && !this.#scheduled) this.#poll();
  }

  /** Ends a park. Not before the first connection was served: a wake-up finds cold caches, and every step in front of the answer counts. */
  #unpark(now: number): void {
    if (!this.#parked) return;
    this.#parked = false;
    this.#abi.stackDisarm(this.#stack);
    this.#policy.woken(now * 1000);
  }

  /** One turn: drain, then decide whether there is a next one. */
  #poll(): void {
    this.#scheduled = false;
    const count = this.#abi.cqPoll(this.#stack);
    const control = this.#abi.stackControl(this.#stack);
    if (count === 0 && control === 0) this.#idle();
    else this.#busy(count, control);
  }

  #busy(count: number, control: number): void {
    if (count === 1 && control === 0) {
      // The usual case, and the fast one: the answer first, the book-keeping after it, even if the listener throws.
      try {
        this.#port.ready(this.#readyList[0]!);
      } finally {
        this.#account();
      }
      return;
    }
    this.#account();
    for (let i = 0; i < count; i++) setImmediate(this.#readyOne, this.#readyList[i]!);
    if (control !== 0) this.#port.control(control);
  }

  /** There was traffic: tells the policy, and sees to it that there is a next turn. */
  #account(): void {
    this.#emptyTurns = 0;
    if (this.#policy.spinning) this.#counters.busyPollHits++;
    const now = performance.now();
    this.#unpark(now);
    if (this.#refs > 0) this.#traffic(now, true);
    else this.#lastTraffic = now;
    this.#schedule();
  }

  readonly #readyOne = (slot: number): void => this.#port.ready(slot);

  #idle(): void {
    this.#unpark(performance.now());
    if (this.#policy.spinning) {
      const now = performance.now();
      this.#counters.busyPollTurns++;
      // After the last connection the episode runs to its end: where they are short, the next one comes soon.
      const awaits = this.#refs > 0 || this.#live === 0;
      if (awaits && this.#policy.idle(now * 1000)) {
        if (++this.#emptyTurns <= POLITE_AFTER_TURNS || this.#yield(now)) {
          this.#schedule();
          return;
        }
        this.#policy.crowded();
      } else this.#policy.end();
      this.#counters.busyPollUs += (now - this.#spinSince) * 1000;
    }
    if (this.#live > 0) this.#park();
  }

  /**
   * Lets others have this CPU; leaves it where somebody shares it. Two spinning loops that were put on one CPU (a collector's
   * thread needed the other) would stay there and answer each other at the pace of the scheduler. Who sleeps is woken on
   * whichever CPU is idle; not so by a bell, which wakes on the CPU of the ringer.
   *
   * Returns: whether to go on spinning; false when leaving did not help, because there are more busy threads than CPUs.
   */
  #yield(now: number): boolean {
    this.#port.yieldCpu();
    this.#yieldsSinceLeft++;
    // The scheduler does not let the other run at each yield: on a shared CPU about every second one is taken.
    if (performance.now() - now > YIELD_TAKEN_MS) this.#crowd += TAKEN_YIELD;
    else if (this.#crowd > 0) this.#crowd--;
    if (this.#crowd < CROWDED) return true;
    this.#crowd = 0;
    this.#timesLeft = this.#yieldsSinceLeft <= CROWDED_AGAIN_YIELDS ? this.#timesLeft + 1 : 0;
    this.#yieldsSinceLeft = 0;
    if (this.#timesLeft === MOST_TIMES_LEFT) {
      this.#timesLeft = 0;
      return false;
    }
    this.#port.leaveCpu();
    return true;
  }

  #park(): void {
    const how = this.#hasBell ? ARMED_BELL : ARMED_NOTIFY;
    // A word still awaited from an earlier park is rung by notify as well; it only must not be awaited twice.
    if (this.#abi.stackArm(this.#stack, how) === 0) {
      this.#schedule();
      return;
    }
    this.#parked = true;
    this.#counters.parks++;
    if (!this.#hasBell && !this.#waiting) this.#await();
    if (this.#recheck === undefined) this.#startRecheck();
  }

  /** Awaits the doorbell word. A waitAsync does not keep the loop alive; its continuation only schedules. */
  #await(): void {
    const waitAsync = Atomics.waitAsync as (
      word: Int32Array<SharedArrayBuffer>,
      index: number,
      value: number,
    ) => { async: boolean; value: Promise<string> | string };
    const result = waitAsync(this.#word, 0, ARMED_NOTIFY);
    if (!result.async) {
      this.#schedule();
      return;
    }
    this.#waiting = true;
    (result.value as Promise<string>).then(() => setImmediate(this.#notified));
  }

  #startRecheck(): void {
    const tick = (): void => {
      const over = performance.now() - this.#lastTraffic > RECHECK_FOR_MS;
      if (over || ++this.#ticks % HOUSEKEEPING_TICKS === 0) this.#port.housekeeping();
      if (over || this.#live === 0) {
        clearInterval(this.#recheck);
        this.#recheck = undefined;
        return;
      }
      // A writer between its publish and its ring looks the same for some nanoseconds: only twice in a row is a loss.
      const stuck = this.#parked && this.#abi.stackStuck(this.#stack) !== 0;
      if (stuck && this.#suspect) {
        this.#counters.doorbellRescued++;
        this.#wake();
      }
      this.#suspect = stuck;
    };
    this.#recheck = root.runInAsyncScope(setInterval, undefined, tick, RECHECK_MS);
    this.#recheck.unref();
  }
}
