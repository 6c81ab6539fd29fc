/**
 * Programs of the models: what one thread does, a labelled atomic step after the other.
 *
 * Owns the program counter. A step is enabled where the thread's counter holds its label; it changes the state and names
 * the next label, or returns false while it cannot go on. Steps "label/a" and "label/b" are two things that can happen
 * at "label". The counter "killed" has no steps: a model kills a thread by writing it.
 */
import * as assert from "uvu/assert";
import { type Exploration, explore, type Model, Violation } from "../support/explore.js";

export type Step<S> = (state: S) => string | false;
export type Actions<S> = Record<string, (state: S) => boolean>;

/** The actions of thread `who`, whose program counter is `state.pc[who]`. */
export function program<S extends { pc: Record<string, string> }>(
  who: string,
  steps: Record<string, Step<S>>,
): Actions<S> {
  const actions: Actions<S> = {};
  for (const [name, step] of Object.entries(steps)) {
    const label = name.split("/")[0];
    actions[`${who}: ${name}`] = (state) => {
      if (state.pc[who] !== label) return false;
      const next = step(state);
      if (next === false) return false;
      state.pc[who] = next;
      return true;
    };
  }
  return actions;
}

/**
 * Explores a model that is right: nothing is found, and every action took place, so that none is there for show.
 * Takes: never, the actions that cannot take place in this model.
 */
export function holds<S>(model: Model<S>, never: readonly string[] = []): Exploration<S> {
  const exploration = explore(model);
  for (const action of Object.keys(model.actions))
    assert.is(
      exploration.taken.has(action),
      !never.includes(action),
      `${action}: ${never.includes(action) ? "" : "never "}taken`,
    );
  return exploration;
}

/** Explores a model that was broken on purpose: it must be caught, with a reason like `why`. */
export function caught<S>(model: Model<S>, why: RegExp): void {
  try {
    explore(model);
  } catch (error) {
    if (!(error instanceof Violation)) throw error;
    assert.match(error.message.split("\n")[0], why);
    return;
  }
  assert.unreachable("the broken order was not caught");
}
