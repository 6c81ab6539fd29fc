/**
 * The doorbell, every interleaving of a sleeper and two writers: SYNC POINT doorbell.
 *
 * Mirrors stackArm, doorbellRing, doorbellWait, doorbellDisarm and the host's part: awaiting the word (the wait compares
 * it, in one step), or sleeping on the bell, a counter of rung bytes. No writer's work may stay unseen by a sleeper.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ARMED_BELL, ARMED_NONE, ARMED_NOTIFY } from "../../assembly/shared/codes.js";
import type { Model } from "../support/explore.js";
import { type Actions, caught, holds, program } from "./program.js";

interface State {
  pc: Record<string, string>;
  armed: number;
  /** Work published and not yet polled; how much of it was polled. */
  pending: number;
  polled: number;
  /** Bytes in the bell's socket. */
  bell: number;
  /** In the kernel's or the engine's list of waiters on the word. */
  waiting: boolean;
  /** What each writer's exchange gave it. */
  took: Record<string, number>;
  left: Record<string, number>;
}

interface Order {
  readonly how: number;
  /** Deviations; all false in the code. */
  readonly lookBeforeArm?: boolean;
  readonly ringBeforePublish?: boolean;
  readonly noRecheck?: boolean;
  readonly waitWithoutCompare?: boolean;
  readonly dropRing?: boolean;
}

const WRITERS = ["one", "two"] as const;
const POSTS = 2;

function sleeper(order: Order): Actions<State> {
  const steps: Record<string, (s: State) => string | false> = {
    poll: (s) => {
      const found = s.pending > 0;
      s.polled += s.pending;
      s.pending = 0;
      if (found) return "poll";
      return order.lookBeforeArm ? "re-check" : "arm";
    },
    // SYNC POINT doorbell: the armed word before the re-check; what was published before the look at the armed word.
    arm: (s) => {
      s.armed = order.how;
      return order.lookBeforeArm || order.noRecheck ? "wait" : "re-check";
    },
    "re-check": (s) => {
      if (s.pending > 0) return "disarm";
      return order.lookBeforeArm ? "arm" : "wait";
    },
    wait: (s) => {
      if (order.how === ARMED_BELL) return "asleep";
      if (s.armed !== ARMED_NOTIFY && !order.waitWithoutCompare) return "disarm";
      s.waiting = true;
      return "asleep";
    },
    asleep: (s) => {
      if (order.how === ARMED_BELL) {
        if (s.bell === 0) return false;
        s.bell = 0;
      } else if (s.waiting) return false;
      return "disarm";
    },
    disarm: (s) => {
      s.armed = ARMED_NONE;
      return "poll";
    },
  };
  if (order.noRecheck) delete steps["re-check"];
  return program("sleeper", steps);
}

function writer(who: (typeof WRITERS)[number], order: Order): Actions<State> {
  const done = (s: State): string => {
    if (order.ringBeforePublish) return "publish";
    s.left[who]--;
    return s.left[who] === 0 ? "end" : "publish";
  };
  const steps: Record<string, (s: State) => string | false> = {
    publish: (s) => {
      s.pending++;
      if (!order.ringBeforePublish) return "look";
      s.left[who]--;
      return s.left[who] === 0 ? "end" : "look";
    },
    // SYNC POINT doorbell: the armed word before the re-check; what was published before the look at the armed word.
    look: (s) => (s.armed === ARMED_NONE ? done(s) : "take"),
    take: (s) => {
      s.took[who] = s.armed;
      s.armed = ARMED_NONE;
      return s.took[who] === ARMED_NONE || order.dropRing ? done(s) : "ring";
    },
    ring: (s) => {
      if (s.took[who] === ARMED_BELL) s.bell++;
      else s.waiting = false;
      s.took[who] = ARMED_NONE;
      return done(s);
    },
  };
  if (order.dropRing) delete steps["ring"];
  return program(who, steps);
}

function model(order: Order): Model<State> {
  const start = order.ringBeforePublish ? "look" : "publish";
  return {
    initial: {
      pc: { sleeper: "poll", one: start, two: start },
      armed: ARMED_NONE,
      pending: 0,
      polled: 0,
      bell: 0,
      waiting: false,
      took: { one: ARMED_NONE, two: ARMED_NONE },
      left: { one: POSTS, two: POSTS },
    },
    actions: { ...sleeper(order), ...writer("one", order), ...writer("two", order) },
    always: (s) => assert.ok(s.bell <= 2 * POSTS, "the bell rings at most once for a post"),
    atRest: (s) => {
      assert.is(s.polled, 2 * POSTS, "asleep with work to do");
      assert.is(s.pc["sleeper"], "asleep", "awake with nothing to do");
      assert.is(s.armed, order.how, "asleep and not armed: deaf");
    },
  };
}

const doorbell = suite("model: doorbell");

for (const [what, how] of [
  ["awaiting the word", ARMED_NOTIFY],
  ["on the bell", ARMED_BELL],
] as const) {
  doorbell(`a sleeper ${what} misses nothing, whatever the order`, () => {
    assert.ok(holds(model({ how })).states > 500);
  });

  doorbell(`a sleeper ${what}: broken orders are caught`, () => {
    caught(model({ how, lookBeforeArm: true }), /asleep with work/);
    caught(model({ how, noRecheck: true }), /asleep with work/);
    caught(model({ how, ringBeforePublish: true }), /asleep with work/);
    caught(model({ how, dropRing: true }), /asleep with work|deaf/);
  });
}

doorbell("a wait that does not compare the word is caught", () => {
  caught(model({ how: ARMED_NOTIFY, waitWithoutCompare: true }), /asleep with work|deaf/);
});

doorbell.run();
