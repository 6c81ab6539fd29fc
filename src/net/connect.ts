/**
 * Client sockets: SMC between the TCP connect and the `connect` event.
 *
 * Hooks the `connect` of one socket's TCP handles; nothing global. `connecting` stays true until the negotiation ends, so
 * early writes queue as they always do. Then the handle under the socket is another one, or the same as ever.
 */
import { AsyncResource } from "node:async_hooks";
import type { Socket } from "node:net";
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
import { showStatus, smcdStatus, tcpStatus } from "./status.js";

/** libuv's numbers on Linux: how a failed handshake looks to `net`. */
const UV_ECONNRESET = -104;
const UV_ETIMEDOUT = -110;

type InternalSocket = Socket & { _handle: TcpHandle | SmcHandle | null; [key: symbol]: unknown };

/** Sees to it that every TCP handle this socket connects goes through a negotiation. Idempotent. */
export function hookSocket(socket: Socket, options: SmcOptions): void {
  const ready = threadContext().ready();
  if (!options.enabled || "reason" in ready) {
    showStatus(socket, tcpStatus(NO_DEVICE));
    return;
  }
  showStatus(socket, tcpStatus(PEER_NO_SMC));
  const { TCP } = ready.engine;
  // `net` makes the handle in connect(), and another one for each further address (kReinitializeHandle): both assign
  // `_handle`, whose accessor on the prototype is shadowed until the socket is connected.
  const inherited = findAccessor(socket, "_handle");
  Object.defineProperty(socket, "_handle", {
    configurable: true,
    enumerable: false,
    get: () => inherited.get?.call(socket),
    set(handle: TcpHandle | null) {
      inherited.set?.call(socket, handle);
      if (handle instanceof TCP) hookHandle(ready, socket as InternalSocket, handle, options);
    },
  });
}

function findAccessor(target: object, name: string): PropertyDescriptor {
  for (let at: object | null = Object.getPrototypeOf(target); at !== null; at = Object.getPrototypeOf(at)) {
    const found = Object.getOwnPropertyDescriptor(at, name);
    if (found !== undefined) return found;
  }
  throw new TypeError(`no ${name}`);
}

function hookHandle(context: NegotiationContext, socket: InternalSocket, handle: TcpHandle, options: SmcOptions): void {
  for (const name of ["connect", "connect6"] as const) {
    Object.defineProperty(handle, name, {
      configurable: true,
      value(request: ConnectRequest, address: string, port: number): number {
        const connect = Reflect.get(Object.getPrototypeOf(handle) as TcpHandle, name) as TcpHandle["connect"];
        return connectHandle(context, socket, handle, options, connect, request, address, port);
      },
    });
  }
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
      if (status === 0) Reflect.deleteProperty(socket, "_handle");
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
  const ownBuffer = (): Uint8Array | undefined => (socket[engine.userBuffer] as Uint8Array | null) ?? undefined;
  const clcSocket = new ClcSocket(engine, handle, ownBuffer);
  const negotiation = new Negotiation(context, "client", clcSocket, options, {
    smc(upgraded) {
      done();
      swap(engine, socket, onread, upgraded);
      const { connection } = upgraded;
      showStatus(socket, () => smcdStatus(connection));
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
  Reflect.deleteProperty(socket, "_handle");
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
  showStatus(socket, tcpStatus(reason));
  Reflect.deleteProperty(socket, "_handle");
  if (channels.fallback.hasSubscribers) channels.fallback.publish({ socket, side: "client", reason });
  giveBack(engine, socket, handle, rest);
  if (late !== undefined) filterLate(engine, socket, handle, late);
}
