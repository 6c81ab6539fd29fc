/**
 * Client sockets: SMC between the TCP connect and the `connect` event.
 *
 * Hooks the `connect` of one socket's TCP handles; nothing global. `connecting` stays true until the negotiation ends, so
 * early writes queue as they always do. Then the handle under the socket is another one, or the same as ever.
 */
import { AsyncResource } from "node:async_hooks";
import { Socket } from "node:net";
import type { FallbackReason } from "../clc/fallback.js";
import type { LateFilter } from "../clc/framing.js";
import type { SmcOptions } from "../config.js";
import { channels } from "../trace.js";
import { adaptSocket } from "./adapt.js";
import { type ConnectRequest, type EngineBinding, endpointsOf, type TcpHandle } from "./binding.js";
import { ClcSocket } from "./clc-socket.js";
import { NO_DEVICE, PEER_NO_SMC, threadContext } from "./context.js";
import { filterLate, giveBack } from "./fallback-read.js";
import type { SmcHandle } from "./handle.js";
import { Negotiation, type NegotiationContext } from "./negotiate.js";
import { showStatus, smcdStatus } from "./status.js";

/** libuv's numbers on Linux: how a failed handshake looks to `net`. */
const UV_ECONNRESET = -104;
const UV_ETIMEDOUT = -110;

/** The options of a socket until it is decided what carries it. */
const UNDECIDED = Symbol("smcnet.undecided");

type InternalSocket = Socket & { _handle: TcpHandle | SmcHandle | null; [UNDECIDED]: SmcOptions | undefined };

/**
 * `connect` of a hooked handle, and `_handle` of a hooked socket: the same functions for all of a thread, and they stay where
 * SMC carries the socket. With functions of its own, or with a property taken away, an object has a shape of its own:
 * slower, and several times as large.
 */
function makeHandleHook(context: NegotiationContext): PropertyDescriptor {
  const { TCP, owner } = context.engine;
  const connectHook = (name: "connect" | "connect6"): PropertyDescriptor => ({
    configurable: true,
    value(this: TcpHandle, request: ConnectRequest, address: string, port: number): number {
      const connect = Reflect.get(Object.getPrototypeOf(this) as TcpHandle, name) as TcpHandle["connect"];
      const socket = this[owner] as InternalSocket;
      return connectHandle(context, socket, this, socket[UNDECIDED]!, connect, request, address, port);
    },
  });
  const connectHooks = { connect: connectHook("connect"), connect6: connectHook("connect6") };
  const inherited = Object.getOwnPropertyDescriptor(Socket.prototype, "_handle");
  if (inherited === undefined) throw new TypeError("no _handle");
  return {
    configurable: true,
    enumerable: false,
    get(this: InternalSocket): unknown {
      return inherited.get?.call(this);
    },
    set(this: InternalSocket, handle: TcpHandle | SmcHandle | null): void {
      inherited.set?.call(this, handle);
      if (this[UNDECIDED] !== undefined && handle instanceof TCP) Object.defineProperties(handle, connectHooks);
    },
  };
}

let handleHook: PropertyDescriptor | undefined;

/** Sees to it that every TCP handle this socket connects goes through a negotiation. Idempotent. */
export function hookSocket(socket: Socket, options: SmcOptions): void {
  const ready = threadContext().ready();
  if (!options.enabled || "reason" in ready) {
    showStatus(socket, NO_DEVICE);
    return;
  }
  showStatus(socket, PEER_NO_SMC);
  // `net` makes the handle in connect(), and another one for each further address (kReinitializeHandle): both assign
  // `_handle`, whose accessor on the prototype is shadowed.
  handleHook ??= makeHandleHook(ready);
  Object.defineProperty(socket, UNDECIDED, { value: options, configurable: true, writable: true, enumerable: false });
  Object.defineProperty(socket, "_handle", handleHook);
}

/** The socket goes on as TCP: nothing of ours stays on it but its status. */
function unhook(socket: InternalSocket): void {
  Reflect.deleteProperty(socket, UNDECIDED);
  Reflect.deleteProperty(socket, "_handle");
}

/** Connects; if somebody who speaks SMC listens there, negotiates before `net` hears of it. */
function connectHandle(
  context: NegotiationContext,
  socket: InternalSocket,
  handle: TcpHandle,
  options: SmcOptions,
  connect: TcpHandle["connect"],
  request: ConnectRequest,
  address: string,
  port: number,
): number {
  // Who knows both ends needs no match; a server that does not wait for a Proposal would never make one.
  const intent = options.negotiateAlways ? undefined : context.stack.rendezvous.intend({ address, port });
  const { oncomplete } = request;
  if (intent === undefined && !options.negotiateAlways) {
    request.oncomplete = function (status, ...rest) {
      if (status === 0) unhook(socket);
      oncomplete.call(this, status, ...rest);
    };
    return connect.call(handle, request, address, port);
  }
  const scope = new AsyncResource("SMCCONNECT");
  request.oncomplete = (status, _handle, _request, readable, writable) => {
    const complete = (final: number, result: unknown): void =>
      scope.runInAsyncScope(oncomplete, request, final, result, request, readable, writable);
    if (status !== 0 || socket.destroyed || socket._handle !== handle) {
      intent?.close();
      complete(status, handle);
      return;
    }
    negotiate(context, socket, handle, options, intent, complete);
  };
  const status = connect.call(handle, request, address, port);
  if (status !== 0) intent?.close();
  return status;
}

function negotiate(
  context: NegotiationContext,
  socket: InternalSocket,
  handle: TcpHandle,
  options: SmcOptions,
  intent: { close(): void } | undefined,
  complete: (status: number, handle: unknown) => void,
): void {
  const { stack, engine } = context;
  const { onread } = handle;
  // The claim comes before anything that takes time: the acceptor waits for it.
  const ends = intent && endpointsOf(handle);
  const claim = ends && stack.rendezvous.claim(ends.local, ends.peer, () => negotiation.start());
  intent?.close();
  let timer: NodeJS.Timeout | undefined;
  const done = (): void => {
    clearTimeout(timer);
    Reflect.deleteProperty(handle, "close");
  };
  const ownBuffer = (): Uint8Array | undefined =>
    (socket as unknown as Record<symbol, Uint8Array | null>)[engine.userBuffer] ?? undefined;
  const clcSocket = new ClcSocket(engine, handle, ownBuffer);
  const negotiation = new Negotiation(context, "client", clcSocket, options, {
    smc(upgraded) {
      done();
      swap(engine, socket, onread, upgraded);
      const { connection } = upgraded;
      showStatus(socket, connection);
      if (channels.connected.hasSubscribers) channels.connected.publish({ socket, status: smcdStatus(connection) });
      complete(0, upgraded);
    },
    tcp(reason, rest, late) {
      done();
      goOnAsTcp(context, socket, handle, reason, rest, late);
      complete(0, handle);
    },
    failed(error) {
      done();
      claim?.withdraw();
      complete((error as { code?: string }).code === "ETIMEDOUT" ? UV_ETIMEDOUT : UV_ECONNRESET, handle);
    },
  });
  // destroy(), an abort signal, a timeout or the next address close the handle: then nothing of ours may go on.
  Object.defineProperty(handle, "close", {
    configurable: true,
    value(closed?: () => void) {
      done();
      claim?.withdraw();
      negotiation.cancel();
      handle.close(closed);
    },
  });
  if (intent === undefined) {
    negotiation.start();
    return;
  }
  if (claim === undefined) {
    negotiation.giveUp();
    return;
  }
  const withdraw = (): void => {
    if (claim.withdraw()) negotiation.giveUp();
  };
  // A loop that was blocked runs its timers first: what the acceptor did meanwhile is looked at before giving up.
  timer = setTimeout(() => setImmediate(withdraw), options.matchTimeoutMs);
  negotiation.listenFor(withdraw);
}

/** Replaces the handle under a socket that is still connecting. The old one lives on as the clcSocket. */
function swap(engine: EngineBinding, socket: InternalSocket, onread: TcpHandle["onread"], upgraded: SmcHandle): void {
  upgraded[engine.owner] = socket;
  upgraded.onread = onread;
  socket[UNDECIDED] = undefined;
  socket._handle = upgraded;
  adaptSocket(socket);
}

function goOnAsTcp(
  { engine, stack }: NegotiationContext,
  socket: InternalSocket,
  handle: TcpHandle,
  reason: FallbackReason,
  rest: Uint8Array,
  late: LateFilter | undefined,
): void {
  stack.counters.fellBack("client", reason.code);
  showStatus(socket, reason);
  unhook(socket);
  if (channels.fallback.hasSubscribers) channels.fallback.publish({ socket, side: "client", reason });
  giveBack(engine, socket, handle, rest);
  if (late !== undefined) filterLate(engine, socket, handle, late);
}
