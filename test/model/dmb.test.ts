/**
 * One entry of the DMB table and its block: owner, attacher, an heir of the entry, kills at every step, and the reaper.
 *
 * Mirrors dmbRegister, dmbAttach, dmbDrop, dmbRelease and dmbReap step by step (SYNC POINT dmb-register). However the threads
 * come and go, nobody writes into a buffer that has been given on, a buffer is handed out zeroed, and in the end entry and
 * block are free.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Model } from "../support/explore.js";
import { type Actions, caught, holds, program, type Step } from "./program.js";

type Hold = "registered" | "attached";

/** The state word: everything that one compare-and-swap changes. */
interface Word {
  busy: boolean;
  registered: boolean;
  attached: boolean;
  owner: string;
  attacher: string;
  generation: number;
}

interface State {
  pc: Record<string, string>;
  word: Word;
  highWater: boolean;
  /** Fields of the entry, plain. */
  baseKnown: boolean;
  token: number;
  touched: boolean;
  /** The block: whose tag it carries, and whether a byte of a connection stands in it. */
  tagged: boolean;
  dirty: boolean;
  /** The word as each thread loaded it last. */
  seen: Record<string, Word>;
  /** Whose hold the reaper is dropping, and who has been killed and not yet reaped. */
  target: string;
  dead: string[];
  /** Token of the owner's registration, as the attacher was told; 0 for none yet. */
  told: number;
}

interface Order {
  /** Deviations; all false in the right order. */
  readonly freeAtUnregister?: boolean;
  readonly highWaterLate?: boolean;
  readonly reapUntouched?: boolean;
  readonly reapByBase?: boolean;
  readonly plainDrop?: boolean;
  readonly publishBeforeFields?: boolean;
}

const FREE: Omit<Word, "generation"> = { busy: false, registered: false, attached: false, owner: "", attacher: "" };
const same = (a: Word, b: Word): boolean => JSON.stringify(a) === JSON.stringify(b);

/** Loads the word; the thread goes on with what it saw. */
const load = (who: string, next: (seen: Word, s: State) => string | false): Step<State> => {
  return (s) => {
    const seen = { ...s.word };
    const label = next(seen, s);
    if (label !== false) s.seen[who] = seen;
    return label;
  };
};

/** Compare-and-swap of the word as seen; where it lost, from the load again. */
const swap = (
  who: string,
  again: string,
  to: (seen: Word, s: State) => Word,
  next: (s: State) => string,
): Step<State> => {
  return (s) => {
    if (!same(s.word, s.seen[who])) return again;
    s.word = to(s.seen[who], s);
    return next(s);
  };
};

/** Zeroes, gives the block back, frees the entry: dmbRelease(). */
function releasing(prefix: string, next: (s: State) => string): Record<string, Step<State>> {
  return {
    [`${prefix} zero`]: (s) => {
      if (s.touched) s.dirty = false;
      return `${prefix} give`;
    },
    [`${prefix} give`]: (s) => {
      s.tagged = false;
      return `${prefix} free`;
    },
    [`${prefix} free`]: (s) => {
      s.word = { ...FREE, generation: s.word.generation };
      return next(s);
    },
  };
}

/** Drops `hold` of whoever `holder` names: drop(). */
function dropping(
  who: string,
  prefix: string,
  hold: Hold,
  holder: (s: State) => string,
  order: Order,
  next: (s: State) => string,
): Record<string, Step<State>> {
  const rest = (seen: Word): Word => ({ ...seen, [hold]: false });
  const last = (seen: Word): boolean =>
    (order.freeAtUnregister === true && hold === "registered") || (!rest(seen).registered && !rest(seen).attached);
  const after = (seen: Word): Word =>
    last(seen) ? { ...FREE, busy: true, owner: who, generation: seen.generation } : rest(seen);
  const on = (s: State): string => (s.word.busy ? `${prefix} zero` : next(s));
  return {
    [prefix]: load(who, (seen, s) => {
      if (!seen[hold] || (hold === "registered" ? seen.owner : seen.attacher) !== holder(s)) return next(s);
      return `${prefix} swap`;
    }),
    [`${prefix} swap`]: order.plainDrop
      ? (s) => {
          s.word = after(s.seen[who]);
          return on(s);
        }
      : swap(who, prefix, after, on),
    ...releasing(prefix, next),
  };
}

function registering(who: string, order: Order, next: (s: State) => string): Record<string, Step<State>> {
  const raise = (s: State): void => {
    s.highWater = true;
  };
  const publish = (s: State): void => {
    s.word = { ...s.word, busy: false, registered: true };
  };
  return {
    start: load(who, (seen, s) => {
      if (seen.busy || seen.registered || seen.attached) return false;
      if (!order.highWaterLate) raise(s);
      return "claim";
    }),
    claim: swap(
      who,
      "start",
      (seen) => ({ ...FREE, busy: true, owner: who, generation: seen.generation + 1 }),
      () => (order.highWaterLate ? "raise" : "take"),
    ),
    raise: (s) => {
      raise(s);
      return "take";
    },
    take: (s) => {
      assert.not.ok(s.tagged, "the block of a free entry is taken");
      assert.not.ok(s.dirty, "a byte of an earlier connection is handed out");
      s.tagged = true;
      return order.publishBeforeFields ? "publish" : "fields";
    },
    fields: (s) => {
      s.baseKnown = true;
      s.token = s.word.generation;
      s.touched = false;
      return order.publishBeforeFields ? next(s) : "publish";
    },
    // SYNC POINT dmb-register: the entry's fields before its state.
    publish: (s) => {
      publish(s);
      return order.publishBeforeFields ? "fields" : next(s);
    },
  };
}

function owner(order: Order): Actions<State> {
  const steps = {
    ...registering("owner", order, () => "tell"),
    tell: (s: State) => {
      s.told = s.token;
      return "unregister";
    },
    ...dropping(
      "owner",
      "unregister",
      "registered",
      () => "owner",
      order,
      () => "end",
    ),
  };
  if (!order.highWaterLate) delete (steps as Record<string, unknown>)["raise"];
  return program("owner", steps);
}

function heir(order: Order): Actions<State> {
  const steps = {
    ...registering("heir", order, () => "unregister"),
    ...dropping(
      "heir",
      "unregister",
      "registered",
      () => "heir",
      order,
      () => "end",
    ),
  };
  if (!order.highWaterLate) delete (steps as Record<string, unknown>)["raise"];
  // The heir comes once; the owner's turn may be before or after.
  return program("heir", { ...steps, "start/never": () => "end" });
}

function attacher(order: Order): Actions<State> {
  return program("attacher", {
    // SYNC POINT dmb-register: the entry's fields before its state.
    start: load("attacher", (seen, s) => {
      if (s.told === 0) return false;
      if (!seen.registered || s.token !== s.told) return "end";
      assert.ok(s.baseKnown && s.tagged, "attached to a buffer that is not there");
      return seen.attached ? "end" : "attach";
    }),
    "start/never": () => "end",
    attach: swap(
      "attacher",
      "start",
      (seen) => ({ ...seen, attached: true, attacher: "attacher" }),
      () => "write",
    ),
    write: (s) => {
      assert.ok(s.tagged && s.word.attached && s.word.generation === s.told, "written into a buffer given away");
      s.dirty = true;
      return "touch";
    },
    touch: (s) => {
      s.touched = true;
      return "detach";
    },
    ...dropping(
      "attacher",
      "detach",
      "attached",
      () => "attacher",
      order,
      () => "end",
    ),
  });
}

function reaper(order: Order): Actions<State> {
  const done = (s: State): string => {
    s.target = "";
    return "start";
  };
  const target = (s: State): string => s.target;
  return program("reaper", {
    start: (s) => {
      const next = s.dead.shift();
      if (next === undefined) return false;
      s.target = next;
      return "look";
    },
    look: load("reaper", (seen, s) => {
      if (!s.highWater) return done(s);
      if (seen.busy) return seen.owner === s.target ? "sweep" : done(s);
      if (seen.owner !== s.target && seen.attacher !== s.target) return done(s);
      return "touch";
    }),
    sweep: (s) => {
      if (!order.reapByBase || s.baseKnown) {
        s.dirty = false;
        s.tagged = false;
      }
      s.word = { ...FREE, generation: s.word.generation };
      return done(s);
    },
    touch: (s) => {
      if (!order.reapUntouched) s.touched = true;
      return "detach";
    },
    ...dropping("reaper", "detach", "attached", target, order, () => "unregister"),
    ...dropping("reaper", "unregister", "registered", target, order, done),
  });
}

/** Kills thread `who` wherever it is; it stays dead. */
const kill = (who: string) => (s: State) => {
  if (s.pc[who] === "killed" || s.pc[who] === "end") return false;
  s.pc[who] = "killed";
  s.dead.push(who);
  return true;
};

function model(order: Order): Model<State> {
  const never: Word = { ...FREE, generation: 0 };
  return {
    initial: {
      pc: { owner: "start", attacher: "start", heir: "start", reaper: "start" },
      word: never,
      highWater: false,
      baseKnown: false,
      token: 0,
      touched: false,
      tagged: false,
      dirty: false,
      seen: { owner: never, attacher: never, heir: never, reaper: never },
      target: "",
      dead: [],
      told: 0,
    },
    actions: {
      ...owner(order),
      ...attacher(order),
      ...heir(order),
      ...reaper(order),
      "kill owner": kill("owner"),
      "kill attacher": kill("attacher"),
    },
    atRest: (s) => {
      assert.equal(s.word, { ...FREE, generation: s.word.generation }, "an entry is lost");
      assert.not.ok(s.tagged, "a block is lost");
      assert.not.ok(s.dirty, "a free block holds bytes of a connection");
    },
    maxStates: 600_000,
  };
}

const dmb = suite("model: register, attach, detach, unregister");

dmb("whoever dies wherever, entry and block come back, zeroed, and no late write reaches the heir", () => {
  const { states } = holds(model({}));
  assert.ok(states > 1000, `${states} states`);
});

dmb("broken orders are caught", () => {
  caught(model({ freeAtUnregister: true }), /given away|lost|taken/);
  caught(model({ highWaterLate: true }), /entry is lost/);
  caught(model({ reapUntouched: true }), /bytes of a connection|earlier connection/);
  caught(model({ reapByBase: true }), /taken|block is lost/);
  caught(model({ plainDrop: true }), /lost|given away/);
  caught(model({ publishBeforeFields: true }), /given away|lost|bytes of a connection/);
});

dmb.run();
