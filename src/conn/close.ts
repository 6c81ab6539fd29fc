/**
 * The close machine of one connection: the only reader of CLOSE_TABLE and the only writer of the connection's state.
 *
 * Owns the state, what has been sent and what the peer has said. Refuses to know rings, flushing, timers and sockets:
 * it asks its port to send and tells it of changes. What `net` shows for a state is decided above, from the properties.
 */
import { channels } from "../trace.js";
import { CLOSE_TABLE, type CloseCondition, type CloseEvent, type CloseSend, type Row } from "./close-table.js";
import {
  type ConnState,
  STATE_ANY_CLOSE,
  STATE_CONN_ABORT,
  STATE_CONN_CLOSED,
  STATE_DONE_WRITING,
  STATE_FLAGS,
} from "./states.js";

/** What the machine asks of its connection. The machine's properties already show the new state in both calls. */
export interface ClosePort {
  /**
   * Tell the peer. `done` and `final` take their place behind every byte accepted before; `final` is connClosed, or
   * connAbort if received bytes are unread when it goes out; `abort` goes out now and discards what is queued.
   * Must not call the machine.
   */
  send(what: CloseSend): void;
  /**
   * The state is another one; may call the machine. At `Closed` a `done` or `final` still queued has to go out at
   * once (the peer may be waiting for it and reads no more bytes), then everything may be given back.
   */
  changed(from: ConnState, to: ConnState, event: CloseEvent): void;
}

// `facts` keeps the peer's flags at their own bits of the wire and this side's facts in the bits the wire leaves free.
const CLOSE_CALLED = 0x01;
const WRITING_SHUT = 0x02;

const HOLDS: Record<CloseCondition, (facts: number) => boolean> = {
  closeCalled: (facts) => (facts & CLOSE_CALLED) !== 0,
  rxAnyClose: (facts) => (facts & STATE_ANY_CLOSE) !== 0,
};

function choose(state: ConnState, event: CloseEvent, facts: number): Row | undefined {
  const rows: readonly Row[] = CLOSE_TABLE[state][event];
  for (const row of rows) if (row.when === undefined || HOLDS[row.when](facts)) return row;
  return undefined;
}

/** Starts Active. Three fields, about 48 bytes. Every verb may be called in every state, any number of times. */
export class CloseMachine {
  private current: ConnState = "Active";
  private facts = 0;

  constructor(private readonly port: ClosePort) {}

  get state(): ConnState {
    return this.current;
  }

  /** Nothing more will happen: the application has closed and the peer needs nothing of this side. */
  get isClosed(): boolean {
    return this.current === "Closed";
  }

  /** Bytes of the application may be sent. When false: `writingShut` says EPIPE, else the peer is gone: ECONNRESET. */
  get canSend(): boolean {
    return this.current === "Active" || (this.current === "AppCloseWait1" && (this.facts & STATE_ANY_CLOSE) === 0);
  }

  /** Bytes in the ring may still go to the application: it has neither closed nor aborted. */
  get canReceive(): boolean {
    return (this.facts & CLOSE_CALLED) === 0 && this.current !== "PeerAbortWait";
  }

  /** This side has ended its own writing: done, final or abort was sent. */
  get writingShut(): boolean {
    return (this.facts & WRITING_SHUT) !== 0;
  }

  /** The application has let go. */
  get closeCalled(): boolean {
    return (this.facts & CLOSE_CALLED) !== 0;
  }

  /** The peer publishes no byte any more: with the ring drained this is the end of the stream. */
  get peerFinished(): boolean {
    return (this.facts & STATE_FLAGS) !== 0;
  }

  /** The peer has aborted. */
  get peerReset(): boolean {
    return (this.facts & STATE_CONN_ABORT) !== 0;
  }

  /**
   * The stream ends with ECONNRESET. Not where the peer had ended it before it aborted: as over TCP, that end is what the
   * reader gets, whatever became of the peer's own reading half; unless this side aborted as well, for what the peer did.
   */
  get endsInReset(): boolean {
    return this.peerReset && ((this.facts & STATE_DONE_WRITING) === 0 || this.current === "PeerAbortWait");
  }

  /** The application ends its writing half. */
  shutdown(): void {
    this.dispatch("appShutdown", 0);
  }

  /** The application lets go of the connection; it hears of nothing after this. */
  close(): void {
    this.dispatch("appClose", CLOSE_CALLED);
  }

  /** A reset was asked for, the link group was terminated, or the process ends. close() is still to be called. */
  abort(): void {
    this.dispatch("localAbort", 0);
  }

  /**
   * The peer's state-flag byte as sampled now. Flags are sticky and come again and again: only new ones count, and of
   * several new ones the strongest (abort, closed, done). A peer that died without flags is reported here as well:
   * STATE_CONN_CLOSED where TCP would show EOF, STATE_CONN_ABORT where it would show ECONNRESET. Bits that mean
   * nothing are ignored, bits that vanish again stay remembered.
   *
   * Takes:   the byte after the producer cursor of the same sample has been taken over.
   * Returns: whether something was new; the state may be the same (readers and writers have to look again).
   */
  peerFlags(flagsByte: number): boolean {
    const fresh = flagsByte & STATE_FLAGS & ~this.facts;
    if (fresh === 0) return false;
    const event =
      (fresh & STATE_CONN_ABORT) !== 0 ? "peerAbort" : (fresh & STATE_CONN_CLOSED) !== 0 ? "peerClosed" : "peerDone";
    this.dispatch(event, fresh);
    return true;
  }

  private dispatch(event: CloseEvent, learned: number): void {
    const from = this.current;
    const row = choose(from, event, this.facts);
    this.facts |= learned;
    if (row === undefined) return;
    const to = row.next;
    this.current = to;
    if (row.send !== undefined) {
      this.facts |= WRITING_SHUT;
      this.port.send(row.send);
    }
    if (to === from) return;
    if (channels.state.hasSubscribers) channels.state.publish({ from, to, event });
    this.port.changed(from, to, event);
  }
}
