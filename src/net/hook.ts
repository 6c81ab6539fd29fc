/**
 * Sockets of the explicit API: sees to it that every TCP handle such a socket connects goes through a negotiation.
 *
 * Owns the properties by which one socket is hooked; nothing global.
 */
import { Socket } from "node:net";
import type { SmcOptions } from "../config.js";
import type { ConnectRequest, TcpHandle } from "./binding.js";
import { connectHandle } from "./connect.js";
import { noDevice, threadContext } from "./context.js";
import type { SmcHandle } from "./handle.js";
import type { NegotiationContext } from "./negotiate.js";
import { SocketSeat } from "./seat.js";
import { showStatus } from "./status.js";

/** The options of a socket until it is decided what carries it. */
const UNDECIDED = Symbol("smcnet.undecided");

type InternalSocket = Socket & { _handle: TcpHandle | SmcHandle | null; [UNDECIDED]: SmcOptions | undefined };

/** Whether a socket has hooks of its own. */
export const isHookedSocket = (socket: Socket): boolean => UNDECIDED in socket;

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
      const seat = new SocketSeat(context.engine, socket, this, unhook);
      const connect = (): number => native.call(this, request, address, port);
      const plain = (): number => {
        const { oncomplete } = request;
        request.oncomplete = function (status, ...rest) {
          if (status === 0) unhook(socket);
          oncomplete.call(this, status, ...rest);
        };
        return connect();
      };
      const server = { address, port };
      return connectHandle({
        context,
        seat,
        handle: this,
        options: socket[UNDECIDED]!,
        request,
        server,
        connect,
        plain,
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
      if (this[UNDECIDED] === undefined || handle === null) return;
      if (handle instanceof TCP) Object.defineProperties(handle, connectHooks);
      else this[UNDECIDED] = undefined;
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
  Object.defineProperty(socket, UNDECIDED, { value: options, configurable: true, writable: true, enumerable: false });
  Object.defineProperty(socket, "_handle", handleHook);
}

/** The socket goes on as TCP: nothing of ours stays on it but its status. */
function unhook(socket: Socket): void {
  Reflect.deleteProperty(socket, UNDECIDED);
  Reflect.deleteProperty(socket, "_handle");
}
