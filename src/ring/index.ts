/**
 * `smcnet/ring`: the ring under an established SMC socket, for worker code that wants to block and to save copies.
 *
 * Owns the two roles of a connection, taken from its socket. Everything is synchronous: `write` and `read` copy;
 * `reserve`/`commit` and `peek`/`consume` hand out views into the ring itself. Bytes of a peeked view can still be
 * rewritten by the peer: copy before you decode. Cost: no allocation in `write` and `read`, no system call while both
 * sides are awake.
 */
import type { Socket } from "node:net";
import { isMainThread } from "node:worker_threads";
import { EVENT_ILLEGAL, EVENT_READABLE, EVENT_RING, EVENT_STATE, EVENT_WRITABLE } from "../../assembly/shared/codes.js";
import { CONN_LOCAL_RING, CONN_LOCAL_SIZE, CONN_SND, CONN_SND_SIZE } from "../../assembly/shared/layout.js";
import type { Connection } from "../conn/connection.js";
import { SmcError } from "../errors.js";
import { threadContext } from "../net/context.js";
import type { SmcHandle } from "../net/handle.js";
import type { Stack } from "../stack.js";

/** What `read` answers at the end of the stream. */
export const END = -1;

/** Looks at the cursors in a microsecond, where a look costs 5 ns. */
const TURNS_PER_US = 200;

/** How long `wait` spins before it sleeps: about what a wake-up costs, by another thread and by another process. */
const SPIN_US = { thread: 20, process: 100 };

/** Looks between two readings of the clock where a thread may only spin. */
const SPIN_BATCH = 256;

/** What ends a `wait`. */
const ENDINGS = EVENT_STATE | EVENT_ILLEGAL;
const WANTED = {
  any: EVENT_READABLE | EVENT_WRITABLE | ENDINGS,
  bytes: EVENT_READABLE | ENDINGS,
  room: EVENT_WRITABLE | ENDINGS,
} as const;

export interface RingOptions {
  /** Microseconds `wait` spins before it sleeps; a main thread only spins for a thread of its process. Default about 20, between processes 100; 0 on one CPU or with `busyPoll` 0. */
  readonly spinUs?: number;
}

/** One ring as memory of its own, made when a view is first asked for. */
class RingWindow {
  readonly #stack: Stack;
  readonly #address: number;
  readonly #length: number;
  #window: { buffer: ArrayBufferLike; offset: number } | undefined;

  constructor(stack: Stack, address: number, length: number) {
    this.#stack = stack;
    this.#address = address;
    this.#length = length;
  }

  view(address: number, length: number): Uint8Array {
    this.#window ??= this.#stack.window(this.#address, this.#length);
    return new Uint8Array(this.#window.buffer, this.#window.offset + address - this.#address, length);
  }

  /** The part after the wrap: from the ring's first byte. */
  head(length: number): Uint8Array {
    return this.view(this.#address, length);
  }
}

class Ring {
  readonly #sending: RingWindow;
  readonly #receiving: RingWindow;
  readonly #socket: Socket;
  readonly #connection: Connection;
  readonly #stack: Stack;
  readonly #conn: number;
  readonly #spinTurns: number;
  #ended = false;
  #reset = false;
  #closed = false;
  /** EVENT_WRITABLE if room has come that no wait has told of. */
  #unseen = 0;
  /** Bytes handed out by reserve and not committed. */
  #reserved = 0;

  constructor(socket: Socket, connection: Connection, stack: Stack, options: RingOptions) {
    this.#socket = socket;
    this.#connection = connection;
    this.#stack = stack;
    this.#conn = connection.place.conn;
    const { abi } = stack;
    const at = (offset: number): number => abi.connPeek(this.#conn, offset) >>> 0;
    this.#sending = new RingWindow(stack, at(CONN_SND), at(CONN_SND_SIZE));
    this.#receiving = new RingWindow(stack, at(CONN_LOCAL_RING), at(CONN_LOCAL_SIZE));
    const usual = stack.maySpin ? SPIN_US[connection.place.peer.remote ? "process" : "thread"] : 0;
    this.#spinTurns = Math.ceil((options.spinUs ?? usual) * TURNS_PER_US);
  }

  /** The socket underneath; its own reads and writes are taken. */
  get socket(): Socket {
    return this.#socket;
  }

  /** Whether the peer has ended its direction and everything was read. */
  get ended(): boolean {
    return this.#ended;
  }

  /**
   * Copies as much of `data` as fits into the ring and publishes it.
   *
   * Returns: bytes taken, 0..data.length; 0 when the ring is full: `wait`.
   * Errors:  SmcError EPIPE after close or abort, ECONNRESET when the peer is gone.
   */
  write(data: Uint8Array): number {
    const { abi, copy } = this.#stack;
    this.#checkWritable();
    const { length } = data;
    this.#reserved = 0;
    let run = this.#room(length);
    if (run === 0) return 0;
    copy.put(abi.txAddress(this.#conn), data, 0, run);
    if (run === length) {
      this.#published(abi.txSend(this.#conn, run), run);
      return run;
    }
    let written = run;
    abi.txPrepare(this.#conn, run);
    run = abi.txRun(this.#conn, length - written);
    if (run > 0) {
      copy.put(abi.txAddress(this.#conn), data, written, run);
      abi.txPrepare(this.#conn, run);
      written += run;
    }
    this.#published(abi.txPublish(this.#conn), written);
    return written;
  }

  /** Contiguous room for at most `length` bytes. Without any, looks whether the peer has closed or made some. */
  #room(length: number): number {
    const run = this.#stack.abi.txRun(this.#conn, length);
    if (run > 0 || length === 0) return run;
    this.#look();
    this.#checkWritable();
    return this.#stack.abi.txRun(this.#conn, length);
  }

  #published(events: number, bytes: number): void {
    this.#stack.counters.wrote(bytes);
    if (events !== 0) this.#act(events);
  }

  /**
   * A writable view of at most `length` contiguous bytes of the ring. Fill it, then `commit`.
   *
   * Returns: a view that may be shorter than `length`, and is empty when the ring is full. Valid until commit.
   */
  reserve(length: number): Uint8Array {
    const { abi } = this.#stack;
    this.#checkWritable();
    const run = this.#room(length);
    this.#reserved = run;
    return this.#sending.view(abi.txAddress(this.#conn), run);
  }

  /** Publishes the first `length` bytes of the view that `reserve` gave. Errors: SmcError EINVAL when it was shorter. */
  commit(length: number): void {
    if (length > this.#reserved || length < 0)
      throw new SmcError("EINVAL", `commit(${length}) after reserve gave ${this.#reserved} bytes`, {
        length,
        reserved: this.#reserved,
      });
    this.#reserved = 0;
    if (length > 0) this.#published(this.#stack.abi.txSend(this.#conn, length), length);
  }

  /**
   * Copies what has arrived into `target` and gives its space back.
   *
   * Returns: bytes read; 0 when there is nothing now: `wait`; END after the last byte.
   * Errors:  SmcError ECONNRESET after the last byte when the peer aborted or died with bytes unread.
   */
  read(target: Uint8Array): number {
    const { abi, copy } = this.#stack;
    const readable = abi.rxReadable(this.#conn);
    if (readable === 0) return this.#nothing();
    const wanted = Math.min(readable, target.length);
    const first = Math.min(abi.rxRun(this.#conn), wanted);
    copy.take(abi.rxAddress(this.#conn), first, target, 0);
    if (first < wanted) copy.take(abi.rxStart(this.#conn), wanted - first, target, first);
    this.#consumed(wanted);
    return wanted;
  }

  #consumed(length: number): void {
    const events = this.#stack.abi.rxConsume(this.#conn, length);
    this.#stack.counters.read(length);
    if (events !== 0) this.#act(events);
  }

  /** Nothing to read: a pause, or the end. */
  #nothing(): number {
    this.#look();
    if (this.#stack.abi.rxReadable(this.#conn) > 0) return 0;
    if (this.#reset) throw new SmcError("ECONNRESET", "the peer aborted the connection or died");
    return this.#ended ? END : 0;
  }

  /**
   * The bytes that have arrived, in place: at most two views, in order. They stay until `consume`.
   * The peer can still rewrite them: copy before you decode.
   */
  peek(): Uint8Array[] {
    const { abi } = this.#stack;
    const readable = abi.rxReadable(this.#conn);
    if (readable === 0) {
      this.#nothing();
      return [];
    }
    const first = abi.rxRun(this.#conn);
    const views = [this.#receiving.view(abi.rxAddress(this.#conn), first)];
    if (first < readable) views.push(this.#receiving.head(readable - first));
    return views;
  }

  /** Gives the first `length` bytes of what `peek` showed back to the sender. Errors: SmcError EINVAL beyond it. */
  consume(length: number): void {
    const readable = this.#stack.abi.rxReadable(this.#conn);
    if (length < 0 || length > readable)
      throw new SmcError("EINVAL", `consume(${length}) of ${readable} bytes`, { length, readable });
    if (length > 0) this.#consumed(length);
  }

  /**
   * Waits until there is something to read, room to write, or the end: spins, then blocks the thread.
   *
   * Takes:   timeoutMs; Infinity for no limit. A main thread may not block on shared memory: for a thread of
   *          its own process it spins the whole time, for another process it sleeps.
   *          For what: a writer that leaves incoming bytes unread asks for "room", else they end every wait at once.
   * Returns: false when the time ran out.
   */
  wait(timeoutMs = Number.POSITIVE_INFINITY, what: "any" | "bytes" | "room" = "any"): boolean {
    const { abi } = this.#stack;
    const wanted = WANTED[what];
    // Room that a read or a write has seen meanwhile is news as well.
    const unseen = this.#unseen & wanted;
    this.#unseen = 0;
    let events = unseen | abi.connSpin(this.#conn, unseen === 0 ? this.#spinTurns : 1, wanted);
    this.#act(events & ~unseen);
    if ((events & wanted) !== 0 || this.#gone()) return this.#told();
    const deadline = performance.now() + timeoutMs;
    while ((events & wanted) === 0 && !this.#gone()) {
      const left = deadline - performance.now();
      if (left <= 0) break;
      events = this.#sleep(left, wanted);
      this.#act(events);
    }
    // The doorbell word was ours meanwhile: the event loop has to look for itself and arm it again.
    this.#stack.recheck();
    return (events & wanted) !== 0 || this.#gone() ? this.#told() : false;
  }

  #told(): true {
    this.#unseen = 0;
    return true;
  }

  #sleep(leftMs: number, wanted: number): number {
    const { peer } = this.#connection.place;
    if (isMainThread && !peer.remote) return this.#stack.abi.connSpin(this.#conn, SPIN_BATCH, wanted);
    return peer.wait(this.#conn, leftMs, wanted);
  }

  /** Whether nothing will come any more. A blocked thread does not see the clcSocket end; the parent's reaping wakes it. */
  #gone(): boolean {
    const alive = !this.#connection.place.peer.gone;
    if (!this.#connection.over && !alive) {
      this.#connection.peerLost();
      this.#act(0);
    }
    return this.#connection.over || this.#connection.peerFinished;
  }

  #look(): void {
    this.#act(this.#stack.abi.connSample(this.#conn));
  }

  #act(events: number): void {
    const { abi } = this.#stack;
    this.#unseen |= events & EVENT_WRITABLE;
    if ((events & EVENT_RING) !== 0) this.#connection.place.peer.ring();
    // In copy mode, room at the peer is first for what waits in the private ring.
    if (abi.txUnsent(this.#conn) > 0 && (abi.txPublish(this.#conn) & EVENT_RING) !== 0)
      this.#connection.place.peer.ring();
    this.#connection.noticed(events);
    if (this.#connection.peerFinished) {
      this.#ended = this.#stack.abi.rxReadable(this.#conn) === 0;
      this.#reset = this.#connection.peerReset;
    }
  }

  #checkWritable(): void {
    if (this.#closed) throw new SmcError("EPIPE", "the ring is closed");
    if (!this.#connection.admitsNow) throw new SmcError("ECONNRESET", "the peer has closed or aborted the connection");
  }

  /** Ends both directions; what is in the ring still reaches the peer. The socket is destroyed. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.destroy();
  }

  /** Resets: the peer gets ECONNRESET. */
  abort(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.resetAndDestroy();
  }
}

export type { Ring };

const taken = new WeakSet<Connection>();

/**
 * Takes the ring of a connected SMC socket. From here on the socket's own reads and writes must not be used.
 *
 * Errors: SmcError SMC_NOT_SMC when SMC does not carry the socket; EBUSY when its ring was taken before, or the socket
 *         still has writes under way.
 */
export function openRing(socket: Socket, options: RingOptions = {}): Ring {
  const handle = (socket as unknown as { _handle?: Partial<SmcHandle> | null })._handle;
  const connection = handle?.connection;
  const { stackIfAny } = threadContext();
  if (connection === undefined || stackIfAny === undefined)
    throw new SmcError("SMC_NOT_SMC", "the socket is not carried by SMC", { status: socket.smc });
  if (taken.has(connection)) throw new SmcError("EBUSY", "the ring of this socket was taken before");
  if (!connection.tx.drained) throw new SmcError("EBUSY", "the socket has writes under way");
  taken.add(connection);
  socket.pause();
  connection.stopReading();
  connection.trim.off();
  return new Ring(socket, connection, stackIfAny, options);
}
