/**
 * Sockets of the explicit API: sees to it that every TCP handle such a socket connects goes through a negotiation.
 *
 * Owns the properties by which one socket is hooked; nothing global.
 */
import { Socket } from "node:net";
import type { SmcOptions } from "../config.js";
import { restoreSocket } from "./adapt.js";
import type { ConnectRequest, TcpHandle } from "./binding.js";
import { connectHandle } from "./connect.js";
import { noDevice, threadContext } from "./context.js";
import type { SmcHandle } from "./handle.js";
import type { NegotiationContext } from "./negotiate.js";
import { SocketSeat } from "./seat.js";
import { showStatus } from "./status.js";

/** The options of a hooked socket. */
const OPTIONS = Symbol("smcnet.options");

type InternalSocket = Socket & { _handle: TcpHandle | SmcHandle | null; [OPTIONS]: SmcOptions };

/** Whether a socket has hooks of its own. */
export const isHookedSocket = (socket: Socket): boolean => OPTIONS in socket;

/**
 * `connect` of a hooked handle, and `_handle` of a hooked socket: the same functions for all of a thread, and they stay,
 * whatever carries the socket: once it is closed it may be used again. With functions of its own, or with a property taken
 * away, an object has a shape of its own: slower, and several times as large.
 */
function makeHandleHook(context: NegotiationContext): PropertyDescriptor {
  const { TCP, owner } = context.engine;
  const connectHook = (name: "connect" | "connect6"): PropertyDescriptor => ({
    configurable: true,
    value(this: TcpHandle, request: ConnectRequest, address: string, port: number): number {
      const native = Reflect.get(Object.getPrototypeOf(this) as TcpHandle, name) as TcpHandle["connect"];
      const socket = this[owner] as InternalSocket;
      const seat = new SocketSeat(context.engine, socket, this);
      const connect = (): number => native.call(this, request, address, port);
      const server = { address, port };
      return connectHandle({
        context,
        seat,
        handle: this,
        options: socket[OPTIONS],
        request,
        server,
        connect,
        plain: connect,
      });
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
      if (!(handle instanceof TCP)) return;
      Object.defineProperties(handle, connectHooks);
      // A new handle: what carried the socket before, if it was used before, is over.
      restoreSocket(this);
      showStatus(this, context.noPeer);
    },
  };
}

let handleHook: PropertyDescriptor | undefined;

/** Hooks a socket before it connects. Idempotent. */
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
  Object.defineProperty(socket, OPTIONS, { value: options, configurable: true, enumerable: false });
  Object.defineProperty(socket, "_handle", handleHook);
}
