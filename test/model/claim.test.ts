/**
 * A claim between its client and two acceptors, every interleaving: SYNC POINT claim.
 *
 * Mirrors claimMake, claimMatch, claimWithdraw and claimFree over one place of the table, used for one TCP connection
 * after the other. The client sends a Proposal exactly where an acceptor waits for one: on the connection that was claimed
 * and matched, once.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Model } from "../support/explore.js";
import { type Actions, caught, holds, program } from "./program.js";

type Phase = "free" | "claimed" | "matched";

interface Word {
  phase: Phase;
  generation: number;
}

interface State {
  pc: Record<string, string>;
  word: Word;
  /** The key in the claim, plain; torn while it is being written. */
  key: string;
  /** Which connection the client is at, and what it saw. */
  connection: number;
  clientSeen: Word;
  /** By connection: what either side decided. */
  client: Record<string, string>;
  acceptor: Record<string, string>;
  seen: Record<string, Word>;
}

interface Order {
  /** Deviations; all false in the code. */
  readonly phaseBeforeKey?: boolean;
  readonly noGeneration?: boolean;
  readonly plainWithdraw?: boolean;
  readonly plainMatch?: boolean;
}

const CONNECTIONS = ["first", "second"] as const;
const same = (a: Word, b: Word): boolean => a.phase === b.phase && a.generation === b.generation;

function client(order: Order): Actions<State> {
  const next = (s: State, outcome: string): string => {
    s.client[CONNECTIONS[s.connection]] = outcome;
    s.connection++;
    return s.connection < CONNECTIONS.length ? "make" : "end";
  };
  const make = (s: State): void => {
    s.word = { phase: "claimed", generation: order.noGeneration ? 0 : s.word.generation + 1 };
  };
  return program<State>("client", {
    make: (s) => {
      if (s.word.phase !== "free") return next(s, "plain");
      if (order.phaseBeforeKey) make(s);
      else s.key = "torn";
      return "key";
    },
    key: (s) => {
      s.key = CONNECTIONS[s.connection];
      return order.phaseBeforeKey ? "open" : "phase";
    },
    // SYNC POINT claim: the key before the phase.
    phase: (s) => {
      make(s);
      return "open";
    },
    "open/sees the match": (s) => (s.word.phase === "matched" ? "free" : false),
    "open/gives up": (s) => {
      s.clientSeen = { ...s.word };
      return s.word.phase === "claimed" ? "withdraw" : false;
    },
    withdraw: (s) => {
      if (!order.plainWithdraw && !same(s.word, s.clientSeen)) return "open";
      s.word = { ...s.clientSeen, phase: "free" };
      return next(s, "plain");
    },
    free: (s) => {
      s.word = { ...s.word, phase: "free" };
      return next(s, "proposal");
    },
  });
}

/** The acceptor of one of the two connections; it may look at any time, also long before the claim is made. */
function acceptor(which: (typeof CONNECTIONS)[number], order: Order): Actions<State> {
  const found = (s: State): string => {
    s.acceptor[which] = "matched";
    return "end";
  };
  return program<State>(which, {
    // SYNC POINT claim: the key before the phase.
    look: (s) => {
      s.seen[which] = { ...s.word };
      return s.word.phase === "claimed" ? "compare" : false;
    },
    "look/gives up": (s) => {
      s.acceptor[which] = "plain";
      return "end";
    },
    compare: (s) => (s.key === which ? "swap" : "look"),
    swap: (s) => {
      if (!order.plainMatch && !same(s.word, s.seen[which])) return "look";
      s.word = { ...s.seen[which], phase: "matched" };
      return found(s);
    },
  });
}

function model(order: Order): Model<State> {
  const never: Word = { phase: "free", generation: 0 };
  return {
    initial: {
      pc: { client: "make", first: "look", second: "look" },
      word: never,
      key: "",
      connection: 0,
      clientSeen: never,
      client: { first: "", second: "" },
      acceptor: { first: "", second: "" },
      seen: { first: never, second: never },
    },
    actions: {
      ...client(order),
      ...acceptor("first", order),
      ...acceptor("second", order),
    },
    always: (s) => {
      for (const which of CONNECTIONS) {
        if (s.client[which] === "" || s.acceptor[which] === "") continue;
        const proposal = s.client[which] === "proposal";
        assert.is(
          proposal,
          s.acceptor[which] === "matched",
          `${which}: a Proposal into a plain stream, or none where one is due`,
        );
      }
      if (s.client["first"] === "plain")
        assert.is.not(s.acceptor["first"], "matched", "matched after it was withdrawn");
    },
    atRest: (s) => assert.is(s.word.phase, "free", "the place is never used again"),
  };
}

const claim = suite("model: claim");

claim("in every order, client and acceptor agree on each connection", () => {
  const { states } = holds(model({}));
  assert.ok(states > 200, `${states} states`);
});

claim("broken orders are caught", () => {
  caught(model({ phaseBeforeKey: true }), /Proposal|matched|never used/);
  caught(model({ noGeneration: true }), /Proposal|matched|never used/);
  caught(model({ plainWithdraw: true }), /Proposal|matched|never used/);
  caught(model({ plainMatch: true }), /Proposal|matched|never used/);
});

claim.run();
