/**
 * Two close machines against each other: every order of calls, of flags going out and coming in, of bytes written and
 * read, of the connection being cut and of processes dying.
 *
 * The wire is what SMC-D has: one sticky byte of flags for each direction in shared memory, sampled at any time, as
 * often as one likes. done and final may wait in a queue behind bytes; abort overtakes it.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { CloseMachine, type ClosePort } from "../../src/conn/close.js";
import type { CloseSend } from "../../src/conn/close-table.js";
import {
  type ConnState,
  STATE_ANY_CLOSE,
  STATE_CONN_ABORT,
  STATE_CONN_CLOSED,
  STATE_DONE_WRITING,
} from "../../src/conn/states.js";
import { explore, type Model } from "../support/explore.js";

type Name = "a" | "b";
const NAMES: readonly Name[] = ["a", "b"];
const other = (name: Name): Name => (name === "a" ? "b" : "a");

/** One end: all the machine remembers, and what its connection would hold. */
type End = {
  /** The machine's own fields; a machine is plain data but for its port. */
  machine: Record<string, unknown>;
  /** Flag byte this end has published. */
  wire: number;
  /** What the machine has asked to send, ever. */
  asked: CloseSend[];
  /** What of it still waits behind bytes. */
  queued: ("done" | "final")[];
  /** Every flag the machine was told of. */
  heard: number;
  /** Bytes of the peer lie in this end's ring. */
  unread: boolean;
  alive: boolean;
};

type Pair = {
  a: End;
  b: End;
  /** The TCP connection underneath is gone, both ends live. */
  cut: boolean;
  /** Something has happened that allows a reset to be seen. */
  resetExcused: boolean;
};

const SILENT: ClosePort = { send() {}, changed() {} };

function saved(machine: CloseMachine): Record<string, unknown> {
  const { port: _, ...fields } = { ...machine } as unknown as Record<string, unknown>;
  return fields;
}

function restored(end: End, port: ClosePort = SILENT): CloseMachine {
  const machine = new CloseMachine(port);
  Object.assign(machine, end.machine);
  return machine;
}

/** Publish the oldest queued flag. `final` with unread bytes is an abort. */
function publish(pair: Pair, name: Name): void {
  const end = pair[name];
  const what = end.queued.shift();
  if (what === "done") end.wire |= STATE_DONE_WRITING;
  if (what === "final") {
    end.wire |= end.unread ? STATE_CONN_ABORT : STATE_CONN_CLOSED;
    if (end.unread) pair.resetExcused = true;
  }
}

/** Call a verb of the end's machine, play its connection, keep what it remembers. */
function call<T>(pair: Pair, name: Name, verb: (machine: CloseMachine) => T): T {
  const end = pair[name];
  const machine = restored(end, {
    send(what) {
      const order = ["done", "final", "abort"];
      if (end.asked.some((before) => order.indexOf(before) >= order.indexOf(what)))
        throw new Error(`${name} sends ${what} after ${end.asked.join()}`);
      end.asked.push(what);
      if (what === "abort") {
        end.queued = [];
        end.wire |= STATE_CONN_ABORT;
        pair.resetExcused = true;
      } else end.queued.push(what);
    },
    changed(from, to) {
      if (from === to) throw new Error(`${from} is told as a change`);
      if (to === "Closed") while (end.queued.length > 0) publish(pair, name);
    },
  });
  const result = verb(machine);
  end.machine = saved(machine);
  return result;
}

function tell(pair: Pair, name: Name, flags: number): boolean {
  pair[name].heard |= flags;
  return call(pair, name, (machine) => machine.peerFlags(flags));
}

function hear(pair: Pair, name: Name): boolean {
  return tell(pair, name, pair[other(name)].wire);
}

/** The end learns that nothing more can come; first it takes over what the peer had published. */
function noticeLoss(pair: Pair, name: Name, flag: number): boolean {
  const heard = hear(pair, name);
  if (flag === STATE_CONN_ABORT) pair.resetExcused = true;
  return tell(pair, name, flag) || heard;
}

const lost = (pair: Pair, name: Name): boolean => pair.cut || !pair[other(name)].alive;

/** Let everything under way arrive, and losses be noticed; the applications do nothing any more. */
function settle(pair: Pair): void {
  for (let again = true; again; ) {
    again = false;
    for (const name of NAMES) {
      if (!pair[name].alive) continue;
      while (pair[name].queued.length > 0) publish(pair, name);
      if (hear(pair, name)) again = true;
      if (lost(pair, name) && noticeLoss(pair, name, STATE_CONN_CLOSED)) again = true;
    }
  }
}

function check(pair: Pair): void {
  for (const name of NAMES) {
    const end = pair[name];
    const machine = restored(end);
    const said = end.asked.length > 0;
    const ownAbort = end.asked.includes("abort");
    if (machine.isClosed) {
      assert.ok(machine.closeCalled, `${name} is Closed under its application`);
      assert.ok(ownAbort || (end.heard & STATE_ANY_CLOSE) !== 0, `${name} is Closed before its peer`);
    }
    if ((end.heard & STATE_CONN_ABORT) !== 0)
      assert.match(machine.state, /^(ProcessAbort|PeerAbortWait|Closed)$/, `${name} after the peer's abort`);
    if (machine.canSend) assert.not.ok(said, `${name} may send bytes after its own flags`);
    assert.is(machine.writingShut, said, `${name} knows what it has said`);
    assert.is(machine.peerFinished, end.heard !== 0, `${name} knows what it was told`);
    if (!pair.resetExcused) assert.not.ok(machine.peerReset, `${name} is reset though nobody aborted`);
    if (!machine.closeCalled && machine.state !== "PeerAbortWait")
      assert.ok(machine.canReceive, `${name} may read what it received`);
  }
  const machines = NAMES.filter((name) => pair[name].alive).map((name) => restored(pair[name]));
  if (!machines.every((machine) => machine.closeCalled)) return;
  settle(pair);
  for (const name of NAMES)
    if (pair[name].alive)
      assert.is(restored(pair[name]).state, "Closed", `both have closed and all has arrived: ${name}`);
}

const fresh = (): End => ({
  machine: saved(new CloseMachine(SILENT)),
  wire: 0,
  asked: [],
  queued: [],
  heard: 0,
  unread: false,
  alive: true,
});

type Part = "bytes" | "loss" | "abort";

/** The model with some of its parts: together they are too many orders to be gone through in a test run. */
function pairModel(parts: readonly Part[]): Model<Pair> {
  const actions: Record<string, (pair: Pair) => boolean> = {};
  for (const name of NAMES) {
    const add = (action: string, run: (pair: Pair) => boolean): void => {
      actions[`${name}.${action}`] = (pair) => pair[name].alive && run(pair);
    };
    const verb = (action: string, run: (machine: CloseMachine) => void, sends: CloseSend): void =>
      add(action, (pair) => {
        const { canSend, isClosed } = restored(pair[name]);
        call(pair, name, run);
        if (canSend) assert.ok(pair[name].asked.includes(sends), `the first flag of an end that may send is ${sends}`);
        if (sends === "abort" && !isClosed) assert.ok((pair[name].wire & STATE_CONN_ABORT) !== 0, "told at once");
        return true;
      });
    verb("shutdown", (machine) => machine.shutdown(), "done");
    verb("close", (machine) => machine.close(), "final");
    if (parts.includes("abort")) verb("abort", (machine) => machine.abort(), "abort");
    add("hear", (pair) => {
      hear(pair, name);
      return true;
    });
    add("publish", (pair) => {
      if (pair[name].queued.length === 0) return false;
      publish(pair, name);
      return true;
    });
    if (parts.includes("bytes")) {
      add("write", (pair) => {
        const may = restored(pair[name]).canSend;
        if (may) pair[other(name)].unread = true;
        return may;
      });
      add("read", (pair) => {
        const may = restored(pair[name]).canReceive && pair[name].unread;
        if (may) pair[name].unread = false;
        return may;
      });
    }
    if (parts.includes("loss")) {
      add("dies", (pair) => {
        pair[name].alive = false;
        pair[name].queued = [];
        return true;
      });
      add("noticesEof", (pair) => lost(pair, name) && noticeLoss(pair, name, STATE_CONN_CLOSED));
      add("noticesReset", (pair) => lost(pair, name) && noticeLoss(pair, name, STATE_CONN_ABORT));
    }
  }
  if (parts.includes("loss")) actions["cut"] = (pair) => !pair.cut && (pair.cut = true);
  return {
    initial: { a: fresh(), b: fresh(), cut: false, resetExcused: false },
    actions,
    always: check,
    atRest: (pair) => {
      for (const name of NAMES)
        if (pair[name].alive) assert.is(restored(pair[name]).state, "Closed", `${name} at the very end`);
    },
    reachable: (pair) => NAMES.every((name) => !pair[name].alive || restored(pair[name]).isClosed),
  };
}

function exploreParts(parts: readonly Part[]): { states: number; seen: Set<ConnState> } {
  const seen = new Set<ConnState>();
  const model = pairModel(parts);
  const result = explore({
    ...model,
    always(pair) {
      seen.add(restored(pair.a).state);
      check(pair);
    },
  });
  assert.equal([...result.taken].sort(), Object.keys(model.actions).sort(), "every action took place");
  return { states: result.states, seen };
}

const pair = suite("close, two machines");

pair("calls, queued flags and bytes in every order: both Closed, no reset without a cause", () => {
  const { states, seen } = exploreParts(["bytes"]);
  assert.ok(states > 500, `${states} states`);
  assert.ok(seen.has("PeerFinCloseWait") && seen.has("AppFinCloseWait") && seen.has("ProcessAbort"));
});

pair("aborts and bytes in every order: both Closed", () => {
  const { seen } = exploreParts(["bytes", "abort"]);
  assert.is(seen.size, 10, `every state is met: ${[...seen]}`);
});

pair("aborts, a connection cut and processes that die, in every order: the survivors are Closed", () => {
  const { seen } = exploreParts(["abort", "loss"]);
  assert.is(seen.size, 10, `every state is met: ${[...seen]}`);
});

pair.run();
