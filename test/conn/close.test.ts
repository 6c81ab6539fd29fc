/** The close machine, one connection end at a time: what it sends, where it goes, what it lets the connection do. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { CloseMachine } from "../../src/conn/close.js";
import { STATE_CONN_ABORT, STATE_CONN_CLOSED, STATE_DONE_WRITING } from "../../src/conn/states.js";
import { channels } from "../../src/trace.js";

/** A machine and what it told its port, in order: sends as words, changes as `to` after an arrow. */
function watched(): { machine: CloseMachine; log: string[] } {
  const log: string[] = [];
  const machine = new CloseMachine({
    send: (what) => log.push(what),
    changed: (_from, to, event) => log.push(`${event} -> ${to}`),
  });
  return { machine, log };
}

const close = suite("close machine");

close("a half close on each side, then both closes: nobody is reset", () => {
  const { machine, log } = watched();
  assert.is(machine.state, "Active");
  machine.shutdown();
  assert.ok(machine.writingShut && !machine.canSend && machine.canReceive && !machine.peerFinished);
  machine.peerFlags(STATE_DONE_WRITING);
  assert.ok(machine.peerFinished && !machine.peerReset && machine.canReceive);
  machine.close();
  assert.ok(machine.closeCalled && !machine.canReceive && !machine.isClosed);
  machine.peerFlags(STATE_DONE_WRITING | STATE_CONN_CLOSED);
  assert.ok(machine.isClosed);
  assert.equal(log, [
    "done",
    "appShutdown -> PeerCloseWait1",
    "peerDone -> PeerCloseWait2",
    "final",
    "peerClosed -> Closed",
  ]);
});

close("after the peer's half close this side may still write, after its full close not", () => {
  const { machine } = watched();
  machine.peerFlags(STATE_DONE_WRITING);
  assert.is(machine.state, "AppCloseWait1");
  assert.ok(machine.canSend);
  assert.ok(machine.peerFlags(STATE_DONE_WRITING | STATE_CONN_CLOSED), "news, though the state stays");
  assert.is(machine.state, "AppCloseWait1");
  assert.not.ok(machine.canSend);
  assert.not.ok(machine.writingShut, "so a write is ECONNRESET, not EPIPE");
  assert.ok(machine.canReceive, "what was received may still be read");
});

close("flags that come again are no news, and flags that vanish stay remembered", () => {
  const { machine, log } = watched();
  assert.ok(machine.peerFlags(STATE_DONE_WRITING));
  assert.not.ok(machine.peerFlags(STATE_DONE_WRITING));
  assert.not.ok(machine.peerFlags(0));
  assert.ok(machine.peerFinished);
  assert.not.ok(machine.peerFlags(0x1f), "bits without a meaning");
  assert.equal(log, ["peerDone -> AppCloseWait1"]);
});

close("of several new flags the strongest is the event", () => {
  for (const [flags, expected] of [
    [STATE_DONE_WRITING | STATE_CONN_CLOSED | STATE_CONN_ABORT, "peerAbort -> ProcessAbort"],
    [STATE_DONE_WRITING | STATE_CONN_CLOSED, "peerClosed -> AppCloseWait1"],
  ] as const) {
    const { machine, log } = watched();
    machine.peerFlags(flags);
    assert.equal(log, [expected], "one change: no end of stream is seen before a reset");
  }
});

close("an abort by the peer leaves the ring to the reader until it closes", () => {
  for (const before of ["", "shutdown", "halfClosed", "both"]) {
    const { machine } = watched();
    if (before === "shutdown" || before === "both") machine.shutdown();
    if (before === "halfClosed" || before === "both") machine.peerFlags(STATE_DONE_WRITING);
    machine.peerFlags(STATE_CONN_ABORT);
    assert.is(machine.state, "ProcessAbort", before);
    assert.ok(machine.canReceive && machine.peerReset && !machine.canSend, before);
    machine.close();
    assert.ok(machine.isClosed, before);
  }
});

close("an abort behind the peer's end is no reset to who reads, unless this side aborted for it", () => {
  for (const [flags, aborts, reset] of [
    [[STATE_CONN_ABORT], false, true],
    [[STATE_DONE_WRITING, STATE_CONN_ABORT], false, false],
    [[STATE_DONE_WRITING | STATE_CONN_ABORT], false, false],
    [[STATE_DONE_WRITING, STATE_CONN_CLOSED], false, false],
    [[STATE_DONE_WRITING, STATE_CONN_ABORT], true, true],
  ] as const) {
    const { machine } = watched();
    for (const flag of flags) {
      if (flag === STATE_CONN_ABORT && aborts) machine.abort();
      machine.peerFlags(flag);
    }
    assert.is(machine.endsInReset, reset, `${flags} ${aborts}`);
  }
});

close("the peer of an end that aborts with unread data is told to let go", () => {
  const { machine, log } = watched();
  machine.peerFlags(STATE_CONN_ABORT);
  machine.close();
  assert.equal(log, ["peerAbort -> ProcessAbort", "abort", "appClose -> Closed"]);
});

close("an abort of our own is sent at once, once, and waits for the application's close", () => {
  const { machine, log } = watched();
  machine.abort();
  machine.abort();
  assert.is(machine.state, "PeerAbortWait");
  assert.ok(machine.writingShut && !machine.canSend && !machine.canReceive);
  machine.peerFlags(STATE_CONN_ABORT);
  machine.shutdown();
  machine.close();
  machine.close();
  assert.equal(log, ["abort", "localAbort -> PeerAbortWait", "appClose -> Closed"]);
});

close("an abort after close ends the wait for the peer, also where final may still be queued", () => {
  for (const prepare of [
    (machine: CloseMachine) => machine.close(),
    (machine: CloseMachine) => {
      machine.peerFlags(STATE_DONE_WRITING);
      machine.close();
    },
  ]) {
    const { machine, log } = watched();
    prepare(machine);
    assert.not.ok(machine.isClosed);
    machine.abort();
    assert.equal(log.slice(-2), ["abort", "localAbort -> Closed"]);
  }
});

close("closing twice sends final once", () => {
  const { machine, log } = watched();
  machine.shutdown();
  machine.close();
  machine.close();
  machine.shutdown();
  assert.equal(log, ["done", "appShutdown -> PeerCloseWait1", "final"]);
});

close("the flag goes out before the change is told, and both see the new state", () => {
  const seen: string[] = [];
  const machine: CloseMachine = new CloseMachine({
    send: (what) => seen.push(`${what} in ${machine.state}`),
    changed: (from, to) => seen.push(`${from} -> ${to}`),
  });
  machine.peerFlags(STATE_CONN_CLOSED);
  machine.close();
  assert.equal(seen, ["Active -> AppCloseWait1", "final in Closed", "AppCloseWait1 -> Closed"]);
});

close("a port may call the machine when it is told of a change", () => {
  const log: string[] = [];
  const machine: CloseMachine = new CloseMachine({
    send: (what) => log.push(what),
    changed: (_from, to) => {
      log.push(to);
      machine.close();
    },
  });
  machine.peerFlags(STATE_CONN_ABORT);
  assert.equal(log, ["ProcessAbort", "abort", "Closed"]);
});

close("changes are published to those who listen, in order, with the event", () => {
  const heard: unknown[] = [];
  const listener = (message: unknown): void => void heard.push(message);
  channels.state.subscribe(listener);
  const { machine } = watched();
  machine.peerFlags(STATE_CONN_CLOSED);
  machine.peerFlags(STATE_CONN_CLOSED);
  machine.close();
  channels.state.unsubscribe(listener);
  watched().machine.close();
  assert.equal(heard, [
    { from: "Active", to: "AppCloseWait1", event: "peerClosed" },
    { from: "AppCloseWait1", to: "Closed", event: "appClose" },
  ]);
});

close.run();
