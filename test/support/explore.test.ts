/** The explorer on models whose outcome is known: what it must find, it finds, by a shortest path. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { canonical, explore, type Model, Violation } from "./explore.js";

const violation = <S>(model: Model<S>): Violation => {
  try {
    explore(model);
  } catch (error) {
    if (error instanceof Violation) return error;
    throw error;
  }
  return assert.unreachable("nothing was found") as never;
};

/** For actions in one expression: the assignment took place. */
const did = (_assigned: unknown): true => true;

/** Two threads raise a counter, each by load, then store. */
type Counting = { shared: number; pc: number[]; held: number[] };
const counting = (atomic: boolean): Model<Counting> => ({
  initial: { shared: 0, pc: [0, 0], held: [0, 0] },
  actions: Object.fromEntries(
    [0, 1].map((who) => [
      `step${who}`,
      (state: Counting) => {
        if (state.pc[who] === 2) return false;
        if (atomic) {
          state.shared++;
          state.pc[who] = 2;
        } else if (state.pc[who]++ === 0) state.held[who] = state.shared;
        else state.shared = state.held[who] + 1;
        return true;
      },
    ]),
  ),
  atRest: (state) => assert.is(state.shared, 2, "an increment was lost"),
});

/** A sleeper that arms its doorbell and sleeps, with or without looking once more; a writer that rings if armed. */
type Bell = { work: boolean; armed: boolean; sleeper: "look" | "arm" | "recheck" | "asleep" | "done"; writer: number };
const bell = (recheck: boolean): Model<Bell> => ({
  initial: { work: false, armed: false, sleeper: "look", writer: 0 },
  actions: {
    look: (s) => s.sleeper === "look" && did((s.sleeper = s.work ? "done" : "arm")),
    arm: (s) => s.sleeper === "arm" && did((s.armed = true)) && did((s.sleeper = recheck ? "recheck" : "asleep")),
    recheck: (s) => s.sleeper === "recheck" && did((s.sleeper = s.work ? "done" : "asleep")),
    publish: (s) => s.writer === 0 && did((s.work = true)) && did((s.writer = 1)),
    ring: (s) => {
      if (s.writer !== 1) return false;
      s.writer = 2;
      if (s.armed && s.sleeper === "asleep") s.sleeper = "done";
      return true;
    },
  },
  atRest: (s) => assert.is(s.sleeper, "done", "a lost wake-up"),
  reachable: (s) => s.sleeper === "done",
});

const explorer = suite("explorer");

explorer("finds the lost increment by a shortest path, and none where the step is atomic", () => {
  const found = violation(counting(false));
  assert.is(found.path.length, 4);
  assert.equal(found.path.slice(0, 2).sort(), ["step0", "step1"]);
  assert.match(found.why, /an increment was lost/);
  assert.equal(
    explore(counting(true)).rest.map((state) => state.shared),
    [2],
  );
});

explorer("finds a lost wake-up, and that looking again after arming cures it", () => {
  assert.equal(violation(bell(false)).path, ["look", "publish", "ring", "arm"]);
  const { taken } = explore(bell(true));
  assert.is(taken.size, 5);
});

explorer("tells of a state from which the goal cannot be reached, though nothing rests there", () => {
  const found = violation<{ at: number }>({
    initial: { at: 0 },
    actions: {
      right: (s) => s.at === 0 && (s.at = 1) === 1,
      wrong: (s) => s.at === 0 && (s.at = 2) === 2,
      spin: (s) => s.at >= 2 && did((s.at = 5 - s.at)),
    },
    reachable: (s) => s.at === 1,
  });
  assert.equal(found.path, ["wrong"]);
});

explorer("an action that throws is a violation, with the action as the last step", () => {
  const found = violation<{ at: number }>({
    initial: { at: 0 },
    actions: {
      go: (s) => s.at < 2 && did((s.at += 1)),
      boom: (s) => {
        if (s.at === 2) throw new Error("broken");
        return false;
      },
    },
  });
  assert.equal(found.path, ["go", "go", "boom"]);
  assert.match(found.message, /boom: broken/);
});

explorer("a broken invariant is found in the initial state too", () => {
  const found = violation<{ at: number }>({
    initial: { at: 0 },
    actions: {},
    always: () => {
      throw new Error("never");
    },
  });
  assert.equal(found.path, []);
});

explorer("a model that is not exhausted is an error", () => {
  assert.throws(
    () => explore<{ at: number }>({ initial: { at: 0 }, actions: { up: (s) => did((s.at += 1)) }, maxStates: 50 }),
    /not exhausted after 50 states/,
  );
});

explorer("states are the same whatever the order of keys, and only plain data counts", () => {
  assert.is(canonical({ a: 1, b: ["x", null] }), canonical({ b: ["x", null], a: 1 }));
  assert.is.not(canonical({ a: "1" }), canonical({ a: 1 }));
  assert.is.not(canonical(["a,b"]), canonical(["a", "b"]));
  for (const odd of [new Map(), undefined, () => 1, 1n]) assert.throws(() => canonical({ odd }), TypeError);
});

explorer.run();
