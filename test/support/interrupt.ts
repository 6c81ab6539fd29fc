/**
 * Races played in one thread: code whose shared words are all touched by Atomics is interrupted before one of its steps by
 * whatever another thread may do there.
 *
 * Owns the interruption. One side runs in two pieces, the other in one: orders in which both are cut up are for the models.
 */
import * as assert from "uvu/assert";

const STEPS = ["load", "store", "compareExchange", "or", "and"] as const;

/** Runs `run` with `other` before its atomic step number `at`; its result, and whether it has so many steps. */
export function interrupted<T>(at: number, run: () => T, other: () => void): { result: T; reached: boolean } {
  const originals = STEPS.map((name) => [name, Atomics[name]] as const);
  const restore = (): void =>
    originals.forEach(([name, original]) => void Object.assign(Atomics, { [name]: original }));
  let step = 0;
  for (const [name, original] of originals) {
    const stepping = (...args: unknown[]): unknown => {
      if (step++ === at) {
        restore();
        other();
      }
      return (original as (...args: unknown[]) => unknown)(...args);
    };
    Object.assign(Atomics, { [name]: stepping });
  }
  try {
    return { result: run(), reached: step > at };
  } finally {
    restore();
  }
}

class Killed extends Error {}

/** Steps that a run takes beside those of Atomics: each call of a method. */
export type Stepping = <T extends object>(part: T) => T;

/**
 * Runs `run` until its step number `at`: there it is killed. What stands in its `catch` and `finally` gets no step further.
 *
 * Returns: whether it has so many steps. Takes: run, gets `stepping`, which makes a part whose methods are steps as well.
 */
export function killed(at: number, run: (stepping: Stepping) => void): boolean {
  const originals = STEPS.map((name) => [name, Atomics[name]] as const);
  let step = 0;
  const count = (): void => {
    if (step++ >= at) throw new Killed("killed");
  };
  const stepping: Stepping = (part) =>
    // Not over the part itself: it may be frozen.
    new Proxy({} as typeof part, {
      get(_, name) {
        const value = Reflect.get(part, name) as unknown;
        if (typeof value !== "function") return value;
        return (...args: unknown[]) => {
          count();
          return Reflect.apply(value, part, args) as unknown;
        };
      },
    });
  for (const [name, original] of originals) {
    const counted = (...args: unknown[]): unknown => {
      count();
      return (original as (...args: unknown[]) => unknown)(...args);
    };
    Object.assign(Atomics, { [name]: counted });
  }
  try {
    run(stepping);
  } catch (error) {
    if (!(error instanceof Killed)) throw error;
  } finally {
    for (const [name, original] of originals) Object.assign(Atomics, { [name]: original });
  }
  return step > at;
}

/** Plays the race at every step; `play` gets the step, sets its own scene and returns whether the step was reached. */
export function atEveryStep(play: (at: number) => boolean): void {
  let at = 0;
  while (play(at)) at++;
  assert.ok(at > 0, "there is a step to be interrupted before");
}
