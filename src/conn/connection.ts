/**
 * One connection over a DMB pair: ties the close machine, the two halves and the clcSocket together.
 *
 * Owns the life of a connection from agreement to Closed. Does not know `net`: what it reads and how it ends goes to its
 * owner. Nothing here runs user code except the owner's callbacks and write completions.
 */
import {
  EVENT_ILLEGAL,
  EVENT_RING,
  EVENT_SIGNAL,
  STATE_CONN_ABORT,
  STATE_CONN_CLOSED,
} from "../../assembly/shared/codes.js";
import { CONN_LOCAL_SIZE } from "../../assembly/shared/layout.js";
import { UV_ECANCELED, UV_ECONNRESET, UV_EPIPE } from "../uv.js";
import { CloseMachine, type ClosePort } from "./close.js";
import type { CloseSend } from "./close-table.js";
import type { ConnectionHost } from "./host.js";
import type { ConnState } from "./states.js";
import type { ClcSocketInfo, ConnectionInfo, ConnectionPlace, ConnectionTerms } from "./terms.js";
import { Trim } from "./trim.js";
import { Tx, type TxPort } from "./tx.js";

/** Who reads the connection. Called from the event loop, one call a turn. */
export interface ConnectionOwner {
  /** There are `length` bytes to receive: take some by `take`. May run user code. */
  readable(length: number): void;
  /** End of stream, after every byte: orderly, or ECONNRESET. */
  ended(reset: boolean): void;
  /** Everything is over; the clcSocket may be closed. */
  closed(): void;
  /** Asked of the system: an idle connection does not carry its addresses around. */
  clcSocketInfo(): ClcSocketInfo;
}

/** The answer of Connection.admit for bytes that nobody will read. */
export const SWALLOW = 1;

/** The turn of a connection that scheduled itself. */
function turnOf(connection: Connection): void {
  connection.scheduledTurn();
}

/**
 * There may be thousands of them at rest, so one holds few objects and no closure: it is the port of its own parts, and
 * `send`, `changed`, `unread`, `violated` and `scheduledTurn` are theirs to call.
 */
export class Connection implements TxPort, ClosePort {
  readonly place: ConnectionPlace;
  readonly terms: ConnectionTerms;
  readonly tx: Tx;
  readonly trim: Trim;
  readonly #host: ConnectionHost;
  readonly #machine: CloseMachine;
  readonly #owner: ConnectionOwner;
  #reading = false;
  #endDelivered = false;
  #peerLost = false;
  #scheduled = false;
  #released = false;
  #lateWrite = false;
  #flagsSeen = 0;

  constructor(host: ConnectionHost, place: ConnectionPlace, terms: ConnectionTerms, owner: ConnectionOwner) {
    this.#host = host;
    this.place = place;
    this.terms = terms;
    this.#owner = owner;
    this.tx = new Tx(host, place.conn, place.peer, this);
    this.trim = new Trim(host, place.conn, place.peer.remote);
    this.#machine = new CloseMachine(this);
  }

  /** Made when asked for. */
  get info(): ConnectionInfo {
    const { group, ...agreed } = this.terms;
    return {
      ...agreed,
      device: group.device,
      nocopy: this.nocopy,
      version: group.version,
      peerGid: group.peerGid,
      linkGroup: group.id,
      clcSocket: this.#owner.clcSocketInfo(),
    };
  }

  /** Whether what is written goes straight into the peer's buffer. */
  get nocopy(): boolean {
    return this.place.sndDmb < 0;
  }

  get state(): ConnState {
    return this.#machine.state;
  }

  get writingShut(): boolean {
    return this.#machine.writingShut;
  }

  get peerFinished(): boolean {
    return this.#machine.peerFinished;
  }

  get peerReset(): boolean {
    return this.#machine.peerReset;
  }

  /** Whether everything was given back. */
  get over(): boolean {
    return this.#released;
  }

  get reading(): boolean {
    return this.#reading;
  }

  get endDelivered(): boolean {
    return this.#endDelivered;
  }

  /**
   * Whether a write may go on: 0 yes; SWALLOW when its bytes go nowhere; else a negative errno of libuv.
   *
   * As TCP: what is written after the peer's close is taken once and answered by a reset, so the next write fails. A reset that no
   * read has told of is told by the write.
   */
  admit(): number {
    const machine = this.#machine;
    if (machine.canSend) return 0;
    if (machine.writingShut || this.#lateWrite) return UV_EPIPE;
    if (machine.peerReset) return machine.endsInReset && !this.#endDelivered ? UV_ECONNRESET : UV_EPIPE;
    this.#lateWrite = true;
    return SWALLOW;
  }

  /** Whether a write may go straight into the ring. */
  get admitsNow(): boolean {
    return this.#machine.canSend;
  }

  startReading(): void {
    if (this.#reading) return;
    this.#reading = true;
    this.schedule();
  }

  stopReading(): void {
    this.#reading = false;
  }

  /** A turn of its own, soon: not from inside the caller. */
  schedule(): void {
    if (this.#scheduled || this.#released) return;
    this.#scheduled = true;
    setImmediate(turnOf, this);
  }

  scheduledTurn(): void {
    this.#scheduled = false;
    this.turn();
  }

  /** The peer posted, or we have reason to look: samples, flushes, delivers at most one read or the end. */
  turn(): void {
    if (this.#released) return;
    const { abi } = this.#host;
    if (this.noticed(abi.connSample(this.place.conn))) return;
    this.tx.flush();
    if (this.#released || !this.#reading || this.#endDelivered) return;
    const length = abi.rxReadable(this.place.conn);
    if (length > 0) this.#deliver(length);
    else if (this.#machine.peerFinished) this.#deliverEnd();
  }

  /** Takes in the state bits of a sample. True when nothing is left to be done. */
  noticed(events: number): boolean {
    if ((events & EVENT_ILLEGAL) !== 0) {
      this.violated();
      if (!this.#finishIfOver() && this.#reading && !this.#endDelivered) this.#deliverEnd();
      return true;
    }
    // Not by EVENT_STATE: a look for send space may have taken the flags in before.
    const flags = this.#host.abi.connPeerState(this.place.conn);
    if (flags !== this.#flagsSeen) {
      this.#flagsSeen = flags;
      this.#peerFlags(flags);
    }
    return this.#finishIfOver();
  }

  #deliver(length: number): void {
    const { abi } = this.#host;
    const { conn } = this.place;
    if (length === abi.connPeek(conn, CONN_LOCAL_SIZE)) this.#host.counters.rxFull++;
    try {
      this.#owner.readable(length);
    } finally {
      if (!this.#released) {
        if (abi.rxReadable(conn) > 0 || this.#machine.peerFinished) {
          if (this.#reading) this.schedule();
        } else abi.rxFlush(conn);
      }
    }
  }

  #deliverEnd(): void {
    this.#endDelivered = true;
    this.#reading = false;
    this.#owner.ended(this.#machine.endsInReset);
  }

  /** `length` bytes of the ring have been copied out: gives them back to the sender. */
  consumed(length: number): void {
    const { abi, counters } = this.#host;
    const events = abi.rxConsume(this.place.conn, length);
    counters.read(length);
    if ((events & EVENT_SIGNAL) !== 0) counters.consUpdates++;
    if ((events & EVENT_RING) !== 0) this.place.peer.ring();
  }

  /** Ends our writing half behind everything written; `done` runs once the peer has been told. */
  shutdown(done: (status: number) => void): void {
    this.tx.onDone = () => done(0);
    const before = this.#machine.writingShut;
    this.#machine.shutdown();
    if (!before && this.#machine.writingShut) return;
    // Nothing to tell: the peer is gone, or it was told before.
    this.tx.onDone = undefined;
    done(0);
  }

  /** The application lets go. Queued writes are cancelled, what is in the send ring still goes out. */
  close(): void {
    this.#reading = false;
    this.tx.fail(UV_ECANCELED);
    this.#machine.close();
    this.#finishIfOver();
  }

  /** Reset: the peer gets ECONNRESET. */
  reset(): void {
    this.#reading = false;
    this.#machine.abort();
    this.tx.fail(UV_ECANCELED);
    this.#machine.close();
    this.#finishIfOver();
  }

  /**
   * The clcSocket ended or failed: without close flags, the peer's death. What it published before is still delivered;
   * then EOF, or ECONNRESET if it had bytes of ours unread, as TCP would show it.
   *
   * Takes: failed, whether it failed instead of ending: a peer that gave up, not one that died.
   */
  peerLost(failed = false): void {
    if (this.#peerLost || this.#released) return;
    this.#peerLost = true;
    const { abi } = this.#host;
    const { conn } = this.place;
    if ((abi.connSample(conn) & EVENT_ILLEGAL) !== 0) this.violated();
    const flags = abi.connPeerState(conn);
    const said = (flags & (STATE_CONN_CLOSED | STATE_CONN_ABORT)) !== 0;
    const lost = abi.connPeerUnread(conn) + abi.txUnsent(conn) + this.tx.queuedBytes > 0;
    this.#peerFlags(said ? flags : lost || failed ? STATE_CONN_ABORT : STATE_CONN_CLOSED);
    if (!this.#finishIfOver()) this.schedule();
  }

  /** The process or thread ends: tells the peer, without waiting for anything. */
  farewell(): void {
    if (this.#released) return;
    this.tx.fail(UV_ECANCELED);
    this.#machine.close();
    this.tx.forceMark();
  }

  unread(): number {
    return this.#host.abi.rxReadable(this.place.conn);
  }

  violated(): void {
    if (this.#machine.peerReset) return;
    this.#machine.abort();
    this.#machine.peerFlags(STATE_CONN_ABORT);
    this.schedule();
  }

  send(what: CloseSend): void {
    if (what === "abort") {
      this.#host.counters.aborts++;
      this.tx.abort();
    } else this.tx.mark(what);
  }

  /** Takes in the peer's state flags; after its full close or abort nobody reads what we send. */
  #peerFlags(flags: number): void {
    if (!this.#machine.peerFlags(flags)) return;
    if ((flags & (STATE_CONN_CLOSED | STATE_CONN_ABORT)) === 0) return;
    this.tx.fail((flags & STATE_CONN_ABORT) !== 0 ? UV_ECONNRESET : UV_EPIPE);
    this.tx.forceMark();
  }

  changed(_from: ConnState, to: ConnState): void {
    if (to === "Closed") this.tx.forceMark();
  }

  /** Gives everything back once the application has closed and the peer needs nothing more of us. Whether it did. */
  #finishIfOver(): boolean {
    if (this.#released) return true;
    if (!this.#machine.closeCalled) return false;
    // A server that has not read our Confirm yet still has to find our DMB, and in its own what we said last.
    const { isClosed, peerFinished } = this.#machine;
    const heard = isClosed && (peerFinished || this.#host.abi.dmbAttached(this.place.localDmb) !== 0);
    if (!heard && !this.#peerLost) return false;
    this.#released = true;
    this.#host.release(this);
    this.#owner.closed();
    return true;
  }
}
