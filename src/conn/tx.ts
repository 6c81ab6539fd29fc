/**
 * The sending half: what the application wrote and the ring could not take yet, in order.
 *
 * Owns the queue and the place of the close flags behind it. Does not know why a flag is sent. A write that fits is one
 * copy and one publish, and leaves nothing here.
 */
import {
  EVENT_ILLEGAL,
  EVENT_RING,
  STATE_CONN_ABORT,
  STATE_CONN_CLOSED,
  STATE_DONE_WRITING,
} from "../../assembly/shared/codes.js";
import { CONN_PEER_SIZE, CONN_SND_SIZE } from "../../assembly/shared/layout.js";
import type { ConnectionHost } from "./host.js";
import type { ConnectionPeer } from "./terms.js";

/** How a write ended: 0, or a negative errno of libuv. */
export type WriteDone = (status: number) => void;

interface PendingWrite {
  readonly chunks: readonly Uint8Array[];
  readonly done: WriteDone;
  index: number;
  offset: number;
}

/** What goes out once everything before it is in the peer's ring. */
export type CloseMark = "done" | "final";

export interface TxPort {
  /** Bytes received and not read by the application: they turn `final` into an abort. */
  unread(): number;
  /** The peer broke the protocol. */
  violated(): void;
}

export class Tx {
  readonly #host: ConnectionHost;
  readonly #conn: number;
  readonly #peer: ConnectionPeer;
  readonly #port: TxPort;
  /** Undefined while nothing is queued. */
  #queue: PendingWrite[] | undefined;
  #mark: CloseMark | undefined;
  #finalSent = false;
  /** Bytes queued, not yet in the ring: `writeQueueSize`. */
  queuedBytes = 0;
  /** Called once, when the `done` mark has gone out. */
  onDone: (() => void) | undefined;
  /** Called once, when the connection has told the peer that it is over. */
  onFinal: (() => void) | undefined;

  constructor(host: ConnectionHost, conn: number, peer: ConnectionPeer, port: TxPort) {
    this.#host = host;
    this.#conn = conn;
    this.#peer = peer;
    this.#port = port;
  }

  /** Whether nothing is waiting here or in the private send ring. */
  get drained(): boolean {
    return this.#queue === undefined && this.#host.abi.txUnsent(this.#conn) === 0;
  }

  get finalSent(): boolean {
    return this.#finalSent;
  }

  /** Acts on the event bits of a publish. */
  settle(events: number): void {
    if ((events & EVENT_RING) !== 0) this.#peer.ring();
    if ((events & EVENT_ILLEGAL) !== 0) this.#port.violated();
  }

  /** The address for `length` bytes in one piece, if nothing is queued and they fit now; else 0. Finish with `sent`. */
  place(length: number): number {
    const { abi } = this.#host;
    if (this.#queue !== undefined || length === 0 || abi.txRun(this.#conn, length) < length) return 0;
    return abi.txAddress(this.#conn);
  }

  /** `length` bytes stand at the address that `place` gave. */
  sent(length: number): void {
    const events = this.#host.abi.txSend(this.#conn, length);
    if (events !== 0) this.settle(events);
    this.#host.counters.wrote(length);
    this.#host.expect();
  }

  /**
   * Sends the chunks, or as much as fits, and queues the rest. The chunks must not change until `done`.
   *
   * Returns: true when everything is in the ring; `done` will not be called then.
   */
  write(chunks: readonly Uint8Array[], done: WriteDone): boolean {
    const pending: PendingWrite = { chunks, done, index: 0, offset: 0 };
    let bytes = 0;
    for (const chunk of chunks) bytes += chunk.length;
    const { abi, counters } = this.#host;
    counters.wrote(bytes);
    if (bytes > abi.connPeek(this.#conn, CONN_SND_SIZE)) counters.txTooSmall++;
    if (bytes > abi.connPeek(this.#conn, CONN_PEER_SIZE)) counters.txTooSmallAtPeer++;
    if (this.#queue === undefined) {
      const left = bytes - this.#send(pending);
      this.#host.expect();
      if (left > 0 || abi.txUnsent(this.#conn) > 0) counters.txFullAtPeer++;
      if (left === 0) return true;
      counters.txFull++;
      this.queuedBytes += left;
    } else this.queuedBytes += bytes;
    this.#queue ??= [];
    this.#queue.push(pending);
    return false;
  }

  /**
   * Sends what fits of `pending`; bytes sent. A publish empties a private send ring as far as the peer's takes it, so there
   * is space again, of which nobody will tell: the peer says what it has read to those it knows to be blocked.
   */
  #send(pending: PendingWrite): number {
    const { abi } = this.#host;
    let sent = 0;
    do {
      sent += this.#fill(pending);
      this.settle(abi.txPublish(this.#conn));
    } while (pending.index < pending.chunks.length && abi.txRun(this.#conn, 1) > 0);
    return sent;
  }

  /** Copies what fits of `pending` into the send ring, unpublished; bytes copied. */
  #fill(pending: PendingWrite): number {
    const { abi, copy } = this.#host;
    let copied = 0;
    while (pending.index < pending.chunks.length) {
      const chunk = pending.chunks[pending.index]!;
      const left = chunk.length - pending.offset;
      if (left > 0) {
        const run = abi.txRun(this.#conn, left);
        if (run === 0) break;
        copy.put(abi.txAddress(this.#conn), chunk, pending.offset, run);
        abi.txPrepare(this.#conn, run);
        pending.offset += run;
        copied += run;
        if (run < left) continue;
      }
      pending.index++;
      pending.offset = 0;
    }
    return copied;
  }

  /** Space may have grown: goes on where it stopped. Completed writes are reported one by one. */
  flush(): void {
    const { abi } = this.#host;
    let pending = this.#queue?.[0];
    while (pending !== undefined) {
      this.queuedBytes -= this.#send(pending);
      if (pending.index < pending.chunks.length || this.#queue?.[0] !== pending) return;
      if (this.#queue.length > 1) this.#queue.shift();
      else this.#queue = undefined;
      pending.done(0);
      pending = this.#queue?.[0];
    }
    if (abi.txUnsent(this.#conn) > 0) this.settle(abi.txPublish(this.#conn));
    this.#flushMark();
  }

  /** Puts a close flag behind everything written so far; `final` replaces a `done` that is still waiting. */
  mark(mark: CloseMark): void {
    this.#mark = mark;
    this.#flushMark();
  }

  #flushMark(): void {
    if (this.#mark !== undefined && this.drained) this.forceMark();
  }

  /** Sends the waiting flag now, whatever is still queued. */
  forceMark(): void {
    const mark = this.#mark;
    if (mark === undefined) return;
    this.#mark = undefined;
    if (mark === "done") {
      this.settle(this.#host.abi.connSignal(this.#conn, STATE_DONE_WRITING << 8));
      const { onDone } = this;
      this.onDone = undefined;
      onDone?.();
    } else {
      this.#finish(this.#port.unread() > 0 ? STATE_CONN_ABORT : STATE_CONN_CLOSED);
    }
  }

  /** Tells the peer of an abort, now. */
  abort(): void {
    this.#mark = undefined;
    this.#finish(STATE_CONN_ABORT);
  }

  #finish(flag: number): void {
    this.#finalSent = true;
    this.settle(this.#host.abi.connSignal(this.#conn, flag << 8));
    const { onFinal } = this;
    this.onFinal = undefined;
    onFinal?.();
  }

  /** Ends all queued writes with `status`; takes the list first, because completions run user code. */
  fail(status: number): void {
    const queue = this.#queue;
    if (queue === undefined) return;
    this.#queue = undefined;
    this.queuedBytes = 0;
    for (const { done } of queue) done(status);
  }
}
