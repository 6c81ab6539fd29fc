/**
 * An explorer of all interleavings of a small model.
 *
 * Owns the search, the bookkeeping of what was seen and the account of how a bad state came about. Knows nothing of
 * what is modelled. A model is exhausted or the search fails: a bound that cuts silently would prove nothing.
 *
 * Breadth first, so a reported path is a shortest one. Source of the habit: style §7, "Interleavings".
 */

/**
 * A model: where it starts, what can happen, what must hold.
 *
 * The state is plain data: null, booleans, numbers, strings, arrays and objects of these. Two states are the same if
 * their data is the same, whatever the order of keys. Model one atomic step per action: what an action does in one go,
 * no other action can come between. Actors that run programs keep their program counter in the state.
 */
export interface Model<S> {
  readonly initial: S;
  /**
   * What can happen, by name. Each gets a private copy of the state: it changes the copy and returns true, or returns
   * false where it cannot happen. Must depend on the state alone. An error it throws is a violation of its own.
   */
  readonly actions: Readonly<Record<string, (state: S) => boolean>>;
  /** Throws if the state must not be. Called once for each state, with a private copy. */
  readonly always?: (state: S) => void;
  /**
   * Throws if the model must not come to rest like this. Called for each state that no action leaves, be it that none
   * can happen or that all lead back to it: a deadlock, a lost wake-up, or the proper end.
   */
  readonly atRest?: (state: S) => void;
  /** From every state some continuation must reach a state of which this is true: nobody is ever stuck for good. */
  readonly reachable?: (state: S) => boolean;
  /** How many distinct states may be seen before the search gives up with an error. */
  readonly maxStates?: number;
}

export interface Exploration<S> {
  /** Distinct states. */
  readonly states: number;
  /** Steps between them, those that change nothing included. */
  readonly steps: number;
  /** The states no action leaves. */
  readonly rest: readonly S[];
  /** The actions that took place at least once: one that never did is a mistake of the model. */
  readonly taken: ReadonlySet<string>;
}

/** A model did what it must not. `path` names the actions from the initial state; the message holds the states too. */
export class Violation extends Error {
  override readonly name = "Violation";
  constructor(
    readonly why: string,
    readonly path: readonly string[],
    account: string,
    cause?: unknown,
  ) {
    super(`${why}\n${account}`, { cause });
  }
}

/** Deep copy of plain data. */
function copy<T>(value: T): T {
  if (Array.isArray(value)) return value.map(copy) as T;
  if (typeof value !== "object" || value === null) return value;
  const result: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value)) result[key] = copy(item);
  return result as T;
}

/** The same text for the same data, whatever the order of keys. Throws for what is not plain data. */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  if (typeof value === "object" && value !== null) {
    const prototype: unknown = Object.getPrototypeOf(value);
    if (prototype !== Object.prototype && prototype !== null) throw new TypeError("a model's state is plain data");
    const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${canonical(item)}`).join()}}`;
  }
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "number" || typeof value === "boolean" || value === null) return String(value);
  throw new TypeError(`a model's state is plain data, not ${typeof value}`);
}

/**
 * Visit every state the model can be in.
 *
 * Returns: what was seen, if nothing was wrong.
 * Errors:  Violation for a broken `always`, `atRest` or `reachable` and for an action that throws, with a shortest
 *          path; RangeError if maxStates (default 200,000) did not suffice.
 */
export function explore<S>(model: Model<S>): Exploration<S> {
  const maxStates = model.maxStates ?? 200_000;
  const actions = Object.entries(model.actions);
  const states: S[] = [copy(model.initial)];
  const index = new Map<string, number>([[canonical(model.initial), 0]]);
  const parent: { from: number; action: string }[] = [{ from: -1, action: "" }];
  const cameFrom: number[][] = [[]];
  const rest: S[] = [];
  const taken = new Set<string>();
  let steps = 0;

  const fail = (why: string, at: number, action?: string, cause?: unknown): never => {
    const path: string[] = action === undefined ? [] : [action];
    const lines = action === undefined ? [] : [`  ${action}  -> (throws)`];
    let here = at;
    for (; here > 0; here = parent[here].from) {
      path.unshift(parent[here].action);
      lines.unshift(`  ${parent[here].action}  -> ${canonical(states[here])}`);
    }
    lines.unshift(`  start -> ${canonical(states[0])}`);
    throw new Violation(why, path, lines.join("\n"), cause);
  };
  const guarded = (what: string, at: number, run: () => void, action?: string): void => {
    try {
      run();
    } catch (error) {
      fail(`${what}: ${error instanceof Error ? error.message : String(error)}`, at, action, error);
    }
  };

  for (let here = 0; here < states.length; here++) {
    const state = states[here];
    guarded("always", here, () => model.always?.(copy(state)));
    let leaves = false;
    for (const [name, action] of actions) {
      const next = copy(state);
      let happened = false;
      guarded(name, here, () => (happened = action(next)), name);
      if (!happened) continue;
      steps++;
      taken.add(name);
      const key = canonical(next);
      let there = index.get(key);
      if (there === undefined) {
        there = states.length;
        if (there >= maxStates) throw new RangeError(`not exhausted after ${maxStates} states`);
        index.set(key, there);
        states.push(next);
        parent.push({ from: here, action: name });
        cameFrom.push([]);
      }
      if (there === here) continue;
      leaves = true;
      cameFrom[there].push(here);
    }
    if (leaves) continue;
    rest.push(copy(state));
    guarded("at rest", here, () => model.atRest?.(copy(state)));
  }

  if (model.reachable !== undefined) {
    const good = new Uint8Array(states.length);
    const queue: number[] = [];
    const mark = (which: number): void => {
      if (good[which] === 0) {
        good[which] = 1;
        queue.push(which);
      }
    };
    for (let which = 0; which < states.length; which++) if (model.reachable(copy(states[which]))) mark(which);
    while (queue.length > 0) for (const before of cameFrom[queue.pop()!]) mark(before);
    const stuck = good.indexOf(0);
    if (stuck >= 0) fail("stuck: no continuation reaches what must stay reachable", stuck);
  }
  return { states: states.length, steps, rest, taken };
}
