/**
 * Where the handle of a socket sits while it connects, and what is put there once it is decided what carries it.
 *
 * Owns the handle properties of sockets. Two kinds: a socket's own `_handle`, and the handle below TLS. Knows nothing of
 * how the decision is made.
 */
import type { Socket } from "node:net";
import type { LateFilter } from "../clc/framing.js";
import { UV_ECONNRESET } from "../uv.js";
import { adaptSocket } from "./adapt.js";
import type { EngineBinding, TcpHandle } from "./binding.js";
import { filterLate, giveBack } from "./fallback-read.js";
import type { SmcHandle } from "./handle.js";

export interface Seat {
  readonly socket: Socket;
  /** Where the socket wants its bytes put, if it was made with the `onread` option. */
  readonly ownBuffer: Uint8Array | undefined;
  /** Whether the socket still waits for this handle to be connected. */
  waitsFor(handle: TcpHandle): boolean;
  /** SMC carries the socket. The TCP handle lives on as the clcSocket. */
  take(upgraded: SmcHandle): void;
  /**
   * TCP carries the socket, with `rest` read already and perhaps one late CLC message to be filtered out.
   *
   * Returns: status of the connect, 0 or a negative errno of libuv.
   */
  goOn(handle: TcpHandle, rest: Uint8Array, late: LateFilter | undefined): number;
}

type InternalSocket = Socket & { _handle: TcpHandle | SmcHandle | null };

/** Whether a socket of TLS has been put on top of a handle: then it can be replaced no more. */
export const isWrapped = (handle: object): boolean =>
  Object.getOwnPropertyDescriptor(handle, "reading")?.get !== undefined;

/** A plain socket, whose `_handle` is the TCP handle itself. */
export class SocketSeat implements Seat {
  readonly socket: InternalSocket;
  readonly #engine: EngineBinding;
  readonly #onread: TcpHandle["onread"];

  constructor(engine: EngineBinding, socket: Socket, handle: TcpHandle) {
    this.#engine = engine;
    this.socket = socket as InternalSocket;
    this.#onread = handle.onread;
  }

  get ownBuffer(): Uint8Array | undefined {
    return (this.socket as unknown as Record<symbol, Uint8Array | null>)[this.#engine.userBuffer] ?? undefined;
  }

  waitsFor(handle: TcpHandle): boolean {
    return !this.socket.destroyed && this.socket._handle === handle && !isWrapped(handle);
  }

  take(upgraded: SmcHandle): void {
    const { socket } = this;
    upgraded[this.#engine.owner] = socket;
    upgraded.onread = this.#onread;
    socket._handle = upgraded;
    adaptSocket(socket);
  }

  goOn(handle: TcpHandle, rest: Uint8Array, late: LateFilter | undefined): number {
    giveBack(this.#engine, this.socket, handle, rest);
    if (late !== undefined) filterLate(this.#engine, this.socket, handle, late);
    return 0;
  }
}

/** The handle of a socket below TLS: a TLSWrap. */
interface TlsWrap {
  readonly _parent: TcpHandle;
  receive(bytes: Uint8Array): void;
  enableSessionCallbacks(): void;
  enableKeylogCallback(): void;
}
type TlsSocket = Socket & { _handle: TlsWrap | null; ssl: TlsWrap | null };

/** The TCP handle that TLS has wrapped for this socket, if `socket` is one of TLS. */
export const parentOf = (socket: Socket): TcpHandle | undefined => (socket as TlsSocket)._handle?._parent;

/**
 * Below TLS. What TLS has wrapped cannot be replaced, so another handle connects in its place, and TLS is made anew over
 * whatever carries the connection then: as core does for each further address of a host.
 */
export class TlsSeat implements Seat {
  readonly ownBuffer = undefined;
  readonly socket: TlsSocket;
  readonly #engine: EngineBinding;
  readonly #wrap: TlsWrap;

  /** Takes: handle, which connects; it is closed with the one that TLS has wrapped. */
  constructor(engine: EngineBinding, socket: Socket, handle: TcpHandle) {
    this.#engine = engine;
    this.socket = socket as TlsSocket;
    this.#wrap = this.socket._handle!;
    handle[engine.owner] = socket;
    const parent = this.#wrap._parent;
    if (!parent.hasRef()) handle.unref();
    Object.defineProperty(parent, "close", {
      configurable: true,
      value(closed?: () => void) {
        Reflect.deleteProperty(parent, "close");
        handle.close();
        parent.close(closed);
      },
    });
  }

  waitsFor(): boolean {
    return !this.socket.destroyed && this.socket._handle === this.#wrap;
  }

  take(upgraded: SmcHandle): void {
    this.#wrapAnew(upgraded);
  }

  goOn(handle: TcpHandle, rest: Uint8Array, late: LateFilter | undefined): number {
    // TLS reads by itself: nothing could be kept from it.
    if (late !== undefined) {
      handle.close();
      return UV_ECONNRESET;
    }
    this.#wrapAnew(handle);
    if (rest.length > 0) this.socket._handle?.receive(rest);
    return 0;
  }

  #wrapAnew(handle: TcpHandle | SmcHandle): void {
    Reflect.deleteProperty(this.#wrap._parent, "close");
    const { socket } = this;
    const { owner, reinitialize, bufferMaker } = this.#engine;
    const internal = socket as unknown as Record<symbol, unknown>;
    handle[owner] = socket;
    if (!this.#wrap._parent.hasRef()) handle.unref();
    // With the new handle core makes the streams as good as new, asks for another buffer and writes keys twice: what was
    // before has to stand.
    const keylog = socket.listeners("keylog");
    const maker = internal[bufferMaker];
    internal[bufferMaker] = null;
    Object.defineProperty(socket, "_undestroy", { value: () => undefined, configurable: true });
    (internal[reinitialize] as (handle: object) => void).call(socket, handle);
    Reflect.deleteProperty(socket, "_undestroy");
    internal[bufferMaker] = maker;
    for (const listener of socket.listeners("keylog"))
      if (!keylog.includes(listener)) socket.off("keylog", listener as () => void);
    // These it sets for the first wrap alone, as a listener is added or the socket is made.
    socket.ssl = socket._handle;
    if (socket.listenerCount("session") > 0) socket._handle?.enableSessionCallbacks();
    if (keylog.length > 0) socket._handle?.enableKeylogCallback();
  }
}
