/**
 * The completion queue, every interleaving of a posting peer and the polling owner: SYNC POINT cq-post.
 *
 * Mirrors cqPost, cqPoll and drainWord with two connections in two words under one summary bit. What is posted must be
 * sampled after its pending bit was taken; nothing may stay behind in a word that no summary bit leads to.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Model } from "../support/explore.js";
import { type Actions, caught, holds, program } from "./program.js";

const CONNS = [0, 1] as const;

interface State {
  pc: Record<string, string>;
  /** What the peer published last, for each connection: shared. */
  published: number[];
  bit: boolean[];
  summary: boolean;
  /** Posts still to come. */
  left: number[];
  posting: number;
  /** What the owner saw last. */
  seen: number[];
}

interface Order {
  /** Deviations; all false in the code. */
  readonly bitBeforeData?: boolean;
  readonly summaryBeforeBit?: boolean;
  readonly wordsBeforeSummary?: boolean;
  readonly sampleBeforeTake?: boolean;
  /** Skips the summary where the bit is set, and sets the bit without saying so first. */
  readonly summaryOnlyIfSet?: boolean;
}

function peer(order: Order): Actions<State> {
  const posted = (s: State): string => {
    s.left[s.posting]--;
    s.posting = -1;
    return "idle";
  };
  const steps: Record<string, (s: State) => string | false> = {
    // SYNC POINT cq-post: cursors and flags before the pending bit, the bit before its summary.
    publish: (s) => {
      s.published[s.posting]++;
      return order.bitBeforeData ? posted(s) : "look at bit";
    },
    "look at bit": (s) => {
      if (s.bit[s.posting]) return order.bitBeforeData ? "publish" : posted(s);
      return order.summaryBeforeBit ? "look at summary" : "or bit";
    },
    "or bit": (s) => {
      s.bit[s.posting] = true;
      if (order.summaryBeforeBit) return posted(s);
      return "look at summary";
    },
    "look at summary": (s) => {
      if (s.summary !== (order.summaryOnlyIfSet ?? false)) {
        if (order.summaryBeforeBit) return "or bit";
        return order.bitBeforeData ? "publish" : posted(s);
      }
      return "or summary";
    },
    "or summary": (s) => {
      s.summary = true;
      if (order.summaryBeforeBit) return "or bit";
      return order.bitBeforeData ? "publish" : posted(s);
    },
  };
  for (const conn of CONNS)
    steps[`idle/post ${conn}`] = (s) => {
      if (s.left[conn] === 0) return false;
      s.posting = conn;
      return order.bitBeforeData ? "look at bit" : "publish";
    };
  return program("peer", steps);
}

function owner(order: Order): Actions<State> {
  const sample = (s: State, conn: number): void => {
    s.seen[conn] = s.published[conn];
  };
  const after = (conn: number): string => {
    if (conn + 1 < CONNS.length) return `look ${conn + 1}`;
    return order.wordsBeforeSummary ? "take summary" : "idle";
  };
  const steps: Record<string, (s: State) => string | false> = {
    // Asleep unless the summary says otherwise: the doorbell has a model of its own.
    idle: (s) => {
      if (!s.summary) return false;
      return order.wordsBeforeSummary ? "look 0" : "take summary";
    },
    "take summary": (s) => {
      s.summary = false;
      return order.wordsBeforeSummary ? "idle" : "look 0";
    },
  };
  for (const conn of CONNS) {
    steps[`look ${conn}`] = (s) => {
      if (!s.bit[conn]) return after(conn);
      if (order.sampleBeforeTake) sample(s, conn);
      return `take ${conn}`;
    };
    // SYNC POINT cq-post: cursors and flags before the pending bit, the bit before its summary.
    steps[`take ${conn}`] = (s) => {
      s.bit[conn] = false;
      return order.sampleBeforeTake ? after(conn) : `sample ${conn}`;
    };
    if (!order.sampleBeforeTake)
      steps[`sample ${conn}`] = (s) => {
        sample(s, conn);
        return after(conn);
      };
  }
  return program("owner", steps);
}

function model(order: Order): Model<State> {
  return {
    initial: {
      pc: { peer: "idle", owner: "idle" },
      published: CONNS.map(() => 0),
      bit: CONNS.map(() => false),
      summary: false,
      left: CONNS.map(() => 2),
      posting: -1,
      seen: CONNS.map(() => 0),
    },
    actions: { ...peer(order), ...owner(order) },
    atRest: (s) => {
      assert.equal(s.left, [0, 0]);
      assert.equal(s.seen, s.published, "a post was never seen");
    },
  };
}

const cq = suite("model: completion queue");

cq("in every order, all that was posted is seen", () => {
  assert.ok(holds(model({})).states > 200);
});

cq("broken orders are caught", () => {
  for (const broken of [
    { bitBeforeData: true },
    { summaryBeforeBit: true },
    { wordsBeforeSummary: true },
    { sampleBeforeTake: true },
    { summaryOnlyIfSet: true },
  ])
    caught(model(broken), /never seen/);
});

cq.run();
