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
import type { Endpoint } from "../rendezvous/address.js";
import { channels } from "../trace.js";
import { UV_ECONNRESET, UV_ETIMEDOUT } from "../uv.js";
import { adaptSocket } from "./adapt.js";
import { Announcement } from "./announce.js";
import type { ConnectRequest, EngineBinding, TcpHandle } from "./binding.js";
import { ClcSocket } from "./clc-socket.js";
import { noDevice, threadContext } from "./context.js";
import { filterLate, giveBack } from "./fallback-read.js";
import type { SmcHandle } from "./handle.js";
import { Negotiation, type NegotiationContext } from "./negotiate.js";
import { showStatus, smcdStatus } from "./status.js";

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
      const native = Reflect.get(Object.getPrototypeOf(this) as TcpHandle, name) as TcpHandle["connect"];
      const socket = this[owner] as InternalSocket;
      const connect = (): number => native.call(this, request, address, port);
      const server = { address, port };
      return connectHandle({ context, socket, handle: this, options: socket[UNDECIDED]!, request, server, connect });
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
    showStatus(socket, noDevice("reason" in ready ? ready.reason : "switched off"));
    return;
  }
  showStatus(socket, ready.noPeer);
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

/** One `connect` of a handle, as `net` asked for it. */
interface Attempt {
  readonly context: NegotiationContext;
  readonly socket: InternalSocket;
  readonly handle: TcpHandle;
  readonly options: SmcOptions;
  readonly request: ConnectRequest;
  readonly server: Endpoint;
  /** The handle's own connect. */
  readonly connect: () => number;
}

/** Connects; if somebody who speaks SMC listens there, negotiates before `net` hears of it. */
function connectHandle(attempt: Attempt): number {
  const { handle, request, server, context } = attempt;
  // A process that was never met is met first: an intent has to stand before the SYN goes out.
  const cancel = context.stack.rendezvous.approach(server, () => {
    Reflect.deleteProperty(handle, "close");
    const status = announceAndConnect(attempt);
    if (status !== 0) request.oncomplete(status, handle, request, false, false);
  });
  if (cancel === undefined) return announceAndConnect(attempt);
  Object.defineProperty(handle, "close", {
    configurable: true,
    value(closed?: () => void) {
      cancel();
      Reflect.deleteProperty(handle, "close");
      handle.close(closed);
    },
  });
  return 0;
}

function announceAndConnect(attempt: Attempt): number {
  const { context, socket, handle, options, request, server, connect } = attempt;
  // Who knows both ends needs no match; a server that does not wait for a Proposal would never make one.
  const intent = options.negotiateAlways ? undefined : context.stack.rendezvous.intend(server);
  const { oncomplete } = request;
  if (intent === undefined && !options.negotiateAlways) {
    request.oncomplete = function (status, ...rest) {
      if (status === 0) unhook(socket);
      oncomplete.call(this, status, ...rest);
    };
    return connect();
  }
  const announcement = intent && new Announcement(context.stack, handle, intent);
  const scope = new AsyncResource("SMCCONNECT");
  request.oncomplete = (status, _handle, _request, readable, writable) => {
    const complete = (final: number, result: unknown): void =>
      scope.runInAsyncScope(oncomplete, request, final, result, request, readable, writable);
    if (status !== 0 || socket.destroyed || socket._handle !== handle) {
      announcement?.withdraw();
      complete(status, handle);
      return;
    }
    negotiate(context, socket, handle, options, announcement, complete);
  };
  const status = connect();
  if (status === 0) announcement?.claim();
  else announcement?.withdraw();
  return status;
}

function negotiate(
  context: NegotiationContext,
  socket: InternalSocket,
  handle: TcpHandle,
  options: SmcOptions,
  announcement: Announcement | undefined,
  complete: (status: number, handle: unknown) => void,
): void {
  const { engine } = context;
  const { onread } = handle;
  // The claim comes before anything that takes time: the acceptor waits for it.
  const claimed = announcement?.claim();
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
      announcement?.withdraw();
      complete((error as { code?: string }).code === "ETIMEDOUT" ? UV_ETIMEDOUT : UV_ECONNRESET, handle);
    },
  });
  // destroy(), an abort signal, a timeout or the next address close the handle: then nothing of ours may go on.
  Object.defineProperty(handle, "close", {
    configurable: true,
    value(closed?: () => void) {
      done();
      announcement?.withdraw();
      negotiation.cancel();
      handle.close(closed);
    },
  });
  if (announcement === undefined || announcement.settled()) {
    negotiation.start();
    announcement?.handOver();
    return;
  }
  if (!claimed) {
    announcement.withdraw();
    negotiation.giveUp();
    return;
  }
  announcement.onMatch = () => negotiation.start();
  const withdraw = (): void => {
    if (announcement.withdraw()) negotiation.giveUp();
  };
  // A loop that was blocked runs its timers first: what the acceptor did meanwhile is looked at before giving up.
  timer = setTimeout(() => setImmediate(withdraw), options.matchTimeoutMs);
  negotiation.listenFor(withdraw);
  announcement.handOver();
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
