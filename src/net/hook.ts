/**
 * Sockets of the explicit API: sees to it that every TCP handle such a socket connects goes through a negotiation.
 *
 * Owns the accessor by which a class of sockets learns of its handles; nothing global, and nothing on a socket but its options.
 */
import { Socket } from "node:net";
import type { SmcOptions } from "../config.js";
import { restoreSocket } from "./adapt.js";
import type { ConnectRequest, EngineBinding, TcpHandle } from "./binding.js";
import { connectHandle, worthAttempt } from "./connect.js";
import { noDevice, threadContext } from "./context.js";
import type { SmcHandle } from "./handle.js";
import { SocketSeat } from "./seat.js";
import { showStatus } from "./status.js";

/** The options of a hooked socket. */
const OPTIONS = Symbol("smcnet.options");

type InternalSocket = Socket & { _handle: TcpHandle | SmcHandle | null; [OPTIONS]: SmcOptions };

/** Whether the connects of a socket are hooked. */
export const isHookedSocket = (socket: Socket): boolean => OPTIONS in socket;

/** `connect` and `connect6` of a hooked handle: the same functions for all of a thread. */
function makeConnectHooks(engine: EngineBinding): PropertyDescriptorMap {
  const hook = (name: "connect" | "connect6"): PropertyDescriptor => ({
    configurable: true,
    value(this: TcpHandle, request: ConnectRequest, address: string, port: number): number {
      const native = Reflect.get(Object.getPrototypeOf(this) as TcpHandle, name) as TcpHandle["connect"];
      const connect = (): number => native.call(this, request, address, port);
      const context = threadContext().ready();
      if ("reason" in context) return connect();
      const socket = this[engine.owner] as InternalSocket;
      const options = socket[OPTIONS];
      const server = { address, port };
      if (!worthAttempt(context, options, server)) return connect();
      const seat = new SocketSeat(engine, socket, this);
      return connectHandle({ context, seat, handle: this, options, request, server, connect, plain: connect });
    },
  });
  return { connect: hook("connect"), connect6: hook("connect6") };
}

let connectHooks: PropertyDescriptorMap | undefined;

/** A socket got a handle. What carried the socket before, if it was used before, is over. */
function hookHandle(socket: InternalSocket, handle: object): void {
  const context = threadContext().ready();
  if ("reason" in context || !(handle instanceof context.engine.TCP)) return;
  connectHooks ??= makeConnectHooks(context.engine);
  Object.defineProperties(handle, connectHooks);
  restoreSocket(socket);
  showStatus(socket, context.noPeer);
}

/**
 * Has a class of sockets learn of its handles: `net` makes one in connect(), another for each further address
 * (kReinitializeHandle), and a new one when a closed socket is used again. All of them assign `_handle`.
 */
export function hookHandles(prototype: Socket): void {
  const inherited = Object.getOwnPropertyDescriptor(Socket.prototype, "_handle");
  if (inherited === undefined) return;
  Object.defineProperty(prototype, "_handle", {
    configurable: true,
    enumerable: false,
    get(this: InternalSocket): unknown {
      return inherited.get?.call(this);
    },
    set(this: InternalSocket, handle: TcpHandle | SmcHandle | null): void {
      inherited.set?.call(this, handle);
      if (handle !== null && this[OPTIONS] !== undefined) hookHandle(this, handle);
    },
  });
}

/** Hooks a socket of such a class before it connects. */
export function hookSocket(socket: Socket, options: SmcOptions): void {
  const ready = threadContext().ready();
  if (!options.enabled || "reason" in ready) {
    showStatus(socket, noDevice("reason" in ready ? ready.reason : "switched off"));
    return;
  }
  showStatus(socket, ready.noPeer);
  Object.defineProperty(socket, OPTIONS, { value: options, configurable: true, enumerable: false });
}
