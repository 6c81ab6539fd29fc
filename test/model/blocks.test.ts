/**
 * The page allocator: two allocators with different sizes over four blocks, a kill anywhere, and the sweep.
 *
 * Mirrors takeRun, blocksTake, blocksGive and blocksSweep: one compare-and-swap a block, undone where another thread was
 * faster, a tag in every block so that nothing a dead thread held is lost.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Model } from "../support/explore.js";
import { type Actions, caught, holds, program } from "./program.js";

const BLOCKS = 4;

interface Thread {
  run: number;
  at: number;
  tries: number;
  /** First block held, or -1. */
  held: number;
  rounds: number;
}

interface State {
  pc: Record<string, string>;
  /** The block table: tag of the holder, "" for free. */
  table: string[];
  threads: Record<string, Thread>;
  dead: string;
  swept: number;
}

interface Order {
  readonly small: number;
  readonly large: number;
  /** Deviations; all false in the code. */
  readonly plainTake?: boolean;
  readonly noUndo?: boolean;
  readonly undoForeign?: boolean;
  readonly sweepByRun?: boolean;
}

function allocator(who: string, count: number, order: Order): Actions<State> {
  const runs = BLOCKS / count;
  const own = (s: State): Thread => s.threads[who];
  const step = (s: State, block: number): string => {
    s.table[block] = who;
    own(s).at++;
    if (own(s).at < count) return "take";
    own(s).held = own(s).run * count;
    return "hold";
  };
  const nextRun = (s: State): string => {
    const thread = own(s);
    thread.run = (thread.run + 1) % runs;
    thread.at = 0;
    return ++thread.tries < runs ? "take" : "nothing free";
  };
  const steps: Record<string, (s: State) => string | false> = {
    start: (s) => {
      const thread = own(s);
      if (thread.rounds === 0) return "end";
      thread.rounds--;
      thread.at = 0;
      thread.tries = 0;
      return "take";
    },
    take: (s) => {
      const block = own(s).run * count + own(s).at;
      if (s.table[block] !== "") return own(s).at === 0 || order.noUndo ? nextRun(s) : "undo";
      return order.plainTake ? "store" : step(s, block);
    },
    // Only in the broken order: the look and the store are two steps.
    store: (s) => step(s, own(s).run * count + own(s).at),
    undo: (s) => {
      const thread = own(s);
      thread.at--;
      s.table[thread.run * count + thread.at] = "";
      if (thread.at > 0) return "undo";
      if (order.undoForeign) s.table[thread.run * count + 1] = "";
      return nextRun(s);
    },
    "nothing free": () => "start",
    hold: (s) => {
      for (let i = 0; i < count; i++) assert.is(s.table[own(s).held + i], who, "a block with two holders");
      own(s).at = 0;
      return "give";
    },
    // blocksGive: compare the tag, store 0.
    give: (s) => {
      const thread = own(s);
      const block = thread.held + thread.at;
      if (s.table[block] === who) s.table[block] = "";
      if (++thread.at < count) return "give";
      thread.held = -1;
      return "start";
    },
  };
  if (!order.plainTake) delete steps["store"];
  if (count === 1 || order.noUndo) delete steps["undo"];
  return program(who, steps);
}

/** The sweep: every block that carries the dead one's tag, wherever it is. */
function sweeper(order: Order): Actions<State> {
  return program("sweeper", {
    start: (s) => {
      if (s.dead === "") return false;
      s.swept = 0;
      return "sweep";
    },
    sweep: (s) => {
      const { held } = s.threads[s.dead];
      const found = s.table[s.swept] === s.dead && (!order.sweepByRun || (held >= 0 && s.swept >= held));
      if (found) s.table[s.swept] = "";
      return ++s.swept < BLOCKS ? "sweep" : "end";
    },
  });
}

function model(order: Order): Model<State> {
  const thread: Thread = { run: 0, at: 0, tries: 0, held: -1, rounds: 2 };
  const kill = (who: string) => (s: State) => {
    if (s.dead !== "" || s.pc[who] === "end") return false;
    s.pc[who] = "killed";
    s.dead = who;
    return true;
  };
  return {
    initial: {
      pc: { small: "start", large: "start", sweeper: "start" },
      table: new Array<string>(BLOCKS).fill(""),
      threads: { small: { ...thread }, large: { ...thread } },
      dead: "",
      swept: 0,
    },
    actions: {
      ...allocator("small", order.small, order),
      ...allocator("large", order.large, order),
      ...sweeper(order),
      "kill small": kill("small"),
      "kill large": kill("large"),
    },
    always: (s) => {
      for (const [who, count] of [
        ["small", order.small],
        ["large", order.large],
      ] as const) {
        const { held } = s.threads[who];
        if (held < 0 || s.pc[who] !== "hold") continue;
        for (let i = 0; i < count; i++) assert.is(s.table[held + i], who, "a block with two holders");
      }
    },
    atRest: (s) => assert.equal(s.table, ["", "", "", ""], "a block is lost"),
  };
}

const blocks = suite("model: block allocation");

for (const { small, large, never } of [
  // A run of two and a single block leave room for either.
  { small: 1, large: 2, never: ["small: nothing free", "large: nothing free"] },
  { small: 2, large: 2, never: [] },
  { small: 1, large: 4, never: [] },
]) {
  blocks(`runs of ${small} and ${large}: never two holders, and after a kill and a sweep every block is free`, () => {
    const { states } = holds(model({ small, large }), never);
    assert.ok(states > 500, `${states} states`);
  });
}

blocks("broken orders are caught", () => {
  caught(model({ small: 1, large: 2, plainTake: true }), /two holders|lost/);
  caught(model({ small: 1, large: 2, noUndo: true }), /lost/);
  caught(model({ small: 1, large: 2, undoForeign: true }), /two holders/);
  caught(model({ small: 1, large: 2, sweepByRun: true }), /lost/);
});

blocks.run();
