/**
 * The life of a handle over SMC: its connection and clcSocket, what keeps the process alive for it, and its end.
 *
 * Owns references, closing, and what else `net` asks a TCP handle for. Knows no read and no write: handle.ts is the stream.
 */
import { AsyncResource } from "node:async_hooks";
import type { Connection, ConnectionOwner } from "../conn/connection.js";
import type { ConnectionHost } from "../conn/host.js";
import type { ClcSocketInfo } from "../conn/terms.js";
import type { Endpoint } from "../rendezvous/address.js";
import { UV_EOF } from "../uv.js";
import type { AddressOut, EngineBinding, JsStreamHandle, TcpHandle } from "./binding.js";

/** What the stream above needs of it. */
export interface HandleLife extends JsStreamHandle, Pick<ConnectionOwner, "closed" | "clcSocketInfo"> {
  readonly tcp: TcpHandle;
  readonly connection: Connection;
  /** Where callbacks run: the asynchronous context of the connect. */
  readonly scope: AsyncResource;
  /** Whether close or reset was called. */
  readonly closing: boolean;
  /** A write or shutdown began (+1) or came to its end (-1). */
  pend(change: 1 | -1): void;
  /** The connection has begun or stopped reading, or is at its end. */
  updateRef(): void;
}

/** For a handle that is closed, so that it keeps nothing else from being collected. */
const noMore = (): void => {};

/** Builds the class: its base is an internal of the running engine, its connections are those of `host`. */
export function defineHandleLife(engine: EngineBinding, host: ConnectionHost): new (tcp: TcpHandle) => HandleLife {
  const { JSStream, state, READ_BYTES_OR_ERROR, ref, unref } = engine;

  return class extends JSStream {
    readonly tcp: TcpHandle;
    connection!: Connection;
    reading = false;
    onconnection: unknown;
    readonly scope: AsyncResource;
    closing = false;
    #pending = 0;
    #userRef: boolean;
    #holds = false;

    constructor(tcp: TcpHandle) {
      super();
      this.tcp = tcp;
      this.scope = new AsyncResource("SMCSTREAM");
      this.#userRef = tcp.hasRef();
      tcp.onread = (buffer) => this.#clcSocketRead(buffer);
      tcp.readStart();
    }

    bind(connection: Connection): void {
      this.connection = connection;
      unref.call(this.tcp);
      this.updateRef();
    }

    /** After the handshake the clcSocket carries nothing but its end. */
    #clcSocketRead(_buffer: ArrayBuffer | undefined): void {
      const length = state[READ_BYTES_OR_ERROR]!;
      if (length === 0) return;
      this.tcp.readStop();
      this.connection.peerLost(length !== UV_EOF);
      this.updateRef();
    }

    // ---- the part of ConnectionOwner that is about the clcSocket

    closed(): void {
      this.#hold(false);
      this.tcp.close();
      this.tcp.onread = noMore;
    }

    clcSocketInfo(): ClcSocketInfo {
      const { tcp } = this;
      const local: AddressOut = {};
      const peer: AddressOut = {};
      return {
        fd: tcp.fd,
        local: tcp.getsockname(local) === 0 ? (local as Endpoint) : undefined,
        peer: tcp.getpeername(peer) === 0 ? (peer as Endpoint) : undefined,
      };
    }

    // ---- the end

    isClosing(): boolean {
      return this.closing;
    }

    close(done?: () => void): void {
      this.#end(done, () => this.connection.close());
    }

    reset(done?: () => void): number {
      this.#end(done, () => this.connection.reset());
      return 0;
    }

    #end(done: (() => void) | undefined, end: () => void): void {
      if (this.closing) return;
      this.closing = true;
      end();
      this.#hold(false);
      // What is still in a private send ring has to reach the peer before the process may go.
      if (this.connection.tx.finalSent) unref.call(this.tcp);
      else this.connection.tx.onFinal = () => unref.call(this.tcp);
      // As libuv: behind the immediates of this turn.
      if (done !== undefined) setImmediate(setImmediate, () => this.scope.runInAsyncScope(done, this));
    }

    // ---- references

    pend(change: 1 | -1): void {
      this.#pending += change;
      this.updateRef();
    }

    /** Alive for the process iff the user wants it and (it reads and is not at its end, or something is pending). */
    updateRef(): void {
      if (this.closing) return;
      const { connection } = this;
      const wanted = this.#userRef && ((connection.reading && !connection.endDelivered) || this.#pending > 0);
      this.#hold(wanted);
    }

    #hold(wanted: boolean): void {
      if (wanted === this.#holds) return;
      this.#holds = wanted;
      host.ref(wanted ? 1 : -1);
      if (this.closing) return;
      if (wanted) ref.call(this.tcp);
      else unref.call(this.tcp);
    }

    ref(): void {
      this.#userRef = true;
      this.updateRef();
    }

    override unref(): void {
      this.#userRef = false;
      this.updateRef();
    }

    hasRef(): boolean {
      return this.#userRef;
    }

    // ---- the rest of a TCP handle

    get fd(): number {
      return this.tcp.fd;
    }

    getsockname(out: AddressOut): number {
      return this.tcp.getsockname(out);
    }

    getpeername(out: AddressOut): number {
      return this.tcp.getpeername(out);
    }

    /** Nothing waits in a ring to be sent with more, and the clcSocket has nothing to send. */
    setNoDelay(on: boolean): number {
      if (on) host.counters.nodelay++;
      return 0;
    }

    setKeepAlive(on: boolean, delay: number): number {
      return this.tcp.setKeepAlive(on, delay);
    }

    /** Asked for from Node 24 on; it marks the packets of the clcSocket, which carry no bytes. */
    setTypeOfService(value: number): number {
      return this.tcp.setTypeOfService?.(value) ?? 0;
    }

    getTypeOfService(): number {
      return this.tcp.getTypeOfService?.() ?? 0;
    }

    setBlocking(): number {
      return 0;
    }
  } as unknown as new (
    tcp: TcpHandle,
  ) => HandleLife;
}
