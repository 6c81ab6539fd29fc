/**
 * The head of one DMB in an extent: its owner, a peer in another process, kills at every step, and a reaper.
 *
 * Mirrors dmbRegister, dmbAttachPeer, dmbDrop with heldElsewhere, dmbRelease, dmbReclaim and dmbReap step by step (SYNC
 * POINT dmb-register, dmb-detach). The buffer comes back exactly once, zeroed, never while the peer holds it; and a peer that was
 * stopped half way through an attach takes hold of nothing that was registered since.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Model } from "../support/explore.js";
import { type Actions, caught, holds, program, type Step } from "./program.js";

/** HEAD_LINK: a state and the registration it belongs to. */
interface Link {
  state: "free" | "registered" | "attached" | "detached" | "unwanted";
  tag: number;
}

interface State {
  pc: Record<string, string>;
  link: Link;
  /** Fields of the head, plain. */
  token: number;
  hint: boolean;
  /** The owner's table entry. */
  word: "free" | "busy" | "registered" | "lingering";
  /** Registrations so far: each has its number as token. */
  generation: number;
  /** The block: whether it is taken, and whether a byte of a connection stands in it. */
  tagged: boolean;
  dirty: boolean;
  /** What the entry and the hint say of written bytes, as loaded by whoever frees. */
  touched: boolean;
  /** The peer has told that it let go of a buffer that was given up. */
  control: boolean;
  /** Token as the peer was told, the one it goes for, and the link it saw. */
  told: number;
  want: number;
  seen: Link;
}

interface Order {
  /** Deviations; all false in the right order. */
  readonly freeUnasked?: boolean;
  readonly plainUnwanted?: boolean;
  readonly plainDetach?: boolean;
  readonly linkWithoutToken?: boolean;
  readonly reapAsked?: boolean;
  readonly detachBeforeHint?: boolean;
  readonly reclaimUnasked?: boolean;
  readonly neverTell?: boolean;
}

const is = (link: Link, state: Link["state"], tag: number, order: Order): boolean =>
  link.state === state && (link.tag === tag || order.linkWithoutToken === true);

const peerDead = (s: State): boolean => s.pc["peer"] === "killed";

/** Zeroes, gives the block back, frees the entry: dmbRelease() of an own buffer. */
function releasing(next: (s: State) => string): Record<string, Step<State>> {
  return {
    release: (s) => {
      assert.ok(s.tagged, "a block is freed twice");
      s.touched ||= s.hint;
      return "unlink";
    },
    unlink: (s) => {
      s.link = { state: "free", tag: 0 };
      return "zero";
    },
    zero: (s) => {
      if (s.touched) s.dirty = false;
      return "give";
    },
    give: (s) => {
      s.tagged = false;
      return "free";
    },
    free: (s) => {
      s.word = "free";
      return next(s);
    },
  };
}

/** Drops the owner's hold: dmbDrop() with heldElsewhere(). */
function unregistering(order: Order, next: (s: State) => string): Record<string, Step<State>> {
  const steps: Record<string, Step<State>> = {
    unregister: (s) => {
      if (order.freeUnasked) return "busy";
      if (s.link.state !== "registered" || s.link.tag !== s.generation) return "ask";
      s.link = { state: "free", tag: 0 };
      return "busy";
    },
    ask: (s) => {
      const attached = is(s.link, "attached", s.generation, order);
      if (attached && order.plainUnwanted) return "mark";
      const unwanted = is(s.link, "unwanted", s.generation, order);
      if (attached) s.link = { state: "unwanted", tag: s.generation };
      return attached || (unwanted && !order.reapAsked) ? "linger" : "busy";
    },
    // Only in the broken order: look, then store.
    mark: (s) => {
      s.link = { state: "unwanted", tag: s.generation };
      return "linger";
    },
    linger: (s) => {
      s.word = "lingering";
      return next(s);
    },
    busy: (s) => {
      s.word = "busy";
      return "release";
    },
    ...releasing(next),
  };
  if (!order.plainUnwanted) delete steps["mark"];
  if (order.freeUnasked) for (const label of ["ask", "linger"]) delete steps[label];
  return steps;
}

/** Looks whether a lingering buffer was let go of: dmbReclaim(), when told, or by force once the peer's process is gone. */
const reclaim =
  (order: Order, back: string, due: (s: State) => boolean): Step<State> =>
  (s) => {
    if (s.word !== "lingering" || !(due(s) || peerDead(s))) return false;
    s.control = false;
    const held = is(s.link, "unwanted", s.generation, order);
    if (held && !order.reclaimUnasked && !peerDead(s)) return back;
    // Where the peer is gone, fresh pages are mapped over the extent.
    if (peerDead(s)) s.touched = true;
    return "busy";
  };

function owner(order: Order): Actions<State> {
  const rest = (): string => "rest";
  return program("owner", {
    // No new buffer for a process that is gone.
    "rest/register": (s) => {
      if (s.word !== "free" || s.generation === 2 || peerDead(s)) return false;
      s.word = "busy";
      return "take";
    },
    "rest/reclaim": reclaim(order, "rest", (s) => s.control),
    take: (s) => {
      assert.not.ok(s.tagged, "the block of a free entry is taken");
      assert.not.ok(s.dirty, "a byte of an earlier connection is handed out");
      s.tagged = true;
      s.generation++;
      return "fields";
    },
    fields: (s) => {
      s.token = s.generation;
      s.hint = false;
      s.touched = false;
      return "link";
    },
    // SYNC POINT dmb-register: the head's fields before its link.
    link: (s) => {
      s.link = { state: "registered", tag: s.generation };
      return "publish";
    },
    publish: (s) => {
      s.word = "registered";
      return "tell";
    },
    tell: (s) => {
      s.told = s.generation;
      return "unregister";
    },
    ...unregistering(order, rest),
  });
}

function peer(order: Order): Actions<State> {
  const steps: Record<string, Step<State>> = {
    look: (s) => {
      if (s.told <= s.want) return false;
      s.want = s.told;
      s.seen = { ...s.link };
      return is(s.seen, "registered", s.want, order) ? "check" : "look";
    },
    check: (s) => (s.token === s.want ? "attach" : "look"),
    attach: (s) => {
      if (s.link.state !== s.seen.state || (s.link.tag !== s.seen.tag && !order.linkWithoutToken)) return "look";
      s.link = { state: "attached", tag: order.linkWithoutToken ? s.link.tag : s.want };
      return "write";
    },
    write: (s) => {
      const there = s.word === "registered" || s.word === "lingering";
      assert.ok(there && s.tagged && s.token === s.want, "written into a buffer given away");
      s.dirty = true;
      return order.detachBeforeHint ? "detach" : "hint";
    },
    hint: (s) => {
      s.hint = true;
      return order.detachBeforeHint ? "look" : "detach";
    },
    // SYNC POINT dmb-detach: the last access before the link.
    detach: (s) => {
      const unwanted = is(s.link, "unwanted", s.want, order);
      if (order.plainDetach) return unwanted ? "leave told" : "leave";
      s.link = { state: "detached", tag: 0 };
      if (order.detachBeforeHint) {
        s.control ||= unwanted;
        return "hint";
      }
      return unwanted && !order.neverTell ? "say" : "look";
    },
    // Only in the broken order: look, then store.
    leave: (s) => {
      s.link = { state: "detached", tag: 0 };
      return "look";
    },
    "leave told": (s) => {
      s.link = { state: "detached", tag: 0 };
      return "say";
    },
    say: (s) => {
      s.control = true;
      return "look";
    },
  };
  if (!order.plainDetach) for (const label of ["leave", "leave told"]) delete steps[label];
  return program("peer", steps);
}

/** Another stack of the owner's process: finishes what the owner left when it was killed. */
function reaper(order: Order): Actions<State> {
  return program("reaper", {
    start: (s) => {
      if (s.pc["owner"] !== "killed") return false;
      if (s.word === "busy") return "sweep";
      // A killed writer may have been anywhere: the whole ring counts as written.
      s.touched = true;
      return s.word === "registered" ? "unregister" : "rest";
    },
    sweep: (s) => {
      s.tagged = false;
      s.dirty = false;
      s.word = "free";
      return "rest";
    },
    // Whoever needs room looks without being told.
    "rest/reclaim": reclaim(order, "rest", () => true),
    ...unregistering(order, () => "rest"),
  });
}

const kill = (who: string) => (s: State) => {
  if (s.pc[who] === "killed") return false;
  s.pc[who] = "killed";
  return true;
};

/** Takes: mortal, whether owner and peer may be killed anywhere; then a death may mend what a lost step left behind. */
function model(order: Order, mortal = true): Model<State> {
  return {
    initial: {
      pc: { owner: "rest", peer: "look", reaper: "start" },
      link: { state: "free", tag: 0 },
      token: 0,
      hint: false,
      word: "free",
      generation: 0,
      tagged: false,
      dirty: false,
      touched: false,
      control: false,
      told: 0,
      want: 0,
      seen: { state: "free", tag: 0 },
    },
    actions: {
      ...owner(order),
      ...peer(order),
      ...(mortal ? { ...reaper(order), "kill owner": kill("owner"), "kill peer": kill("peer") } : {}),
    },
    atRest: (s) => {
      assert.is(s.word, "free", "an entry is lost");
      assert.not.ok(s.tagged, "a block is lost");
      assert.not.ok(s.dirty && !peerDead(s), "a free block holds bytes of a connection");
    },
    maxStates: 400_000,
  };
}

const head = suite("model: the head of a DMB between two processes");

head("whoever lets go first: the buffer comes back once, zeroed, and never from under the peer", () => {
  const { states } = holds(model({}, false));
  assert.ok(states > 100, `${states} states`);
});

head("whoever dies wherever: likewise", () => {
  const { states } = holds(model({}));
  assert.ok(states > 1000, `${states} states`);
});

head("broken orders are caught", () => {
  caught(model({ freeUnasked: true }, false), /given away/);
  caught(model({ plainUnwanted: true }, false), /lost/);
  caught(model({ plainDetach: true }, false), /lost/);
  caught(model({ neverTell: true }, false), /lost/);
  caught(model({ linkWithoutToken: true }, false), /given away/);
  caught(model({ detachBeforeHint: true }, false), /bytes of a connection|earlier connection/);
  caught(model({ reclaimUnasked: true }), /given away/);
  caught(model({ reapAsked: true }), /given away/);
});

head.run();
