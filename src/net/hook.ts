/**
 * Sockets of the explicit API: sees to it that every TCP handle such a socket connects goes through a negotiation.
 *
 * Owns the accessor by which a class of sockets learns of its handles; nothing global, and nothing on a socket.
 */
import { Socket, type SocketConstructorOpts } from "node:net";
import type { SmcOptions } from "../config.js";
import { restoreSocket } from "./adapt.js";
import type { ConnectRequest, EngineBinding, TcpHandle } from "./binding.js";
import { connectHandle, worthAttempt } from "./connect.js";
import { noDevice, threadContext } from "./context.js";
import type { SmcHandle } from "./handle.js";
import { SocketSeat } from "./seat.js";
import { StatusSocket, showStatus } from "./status.js";

type InternalSocket = Socket & { _handle: TcpHandle | SmcHandle | null };

/** What hooked handles inherit from: a TCP handle with a `connect` and `connect6` of ours. */
function makeHandlePrototype(engine: EngineBinding): object {
  const core = engine.TCP.prototype as TcpHandle;
  const hook = (name: "connect" | "connect6"): PropertyDescriptor => ({
    configurable: true,
    value(this: TcpHandle, request: ConnectRequest, address: string, port: number): number {
      const connect = (): number => core[name].call(this, request, address, port);
      const context = threadContext().ready();
      if ("reason" in context) return connect();
      const socket = this[engine.owner] as HookedSocket;
      const options = HookedSocket.options(socket);
      const server = { address, port };
      if (!worthAttempt(context, options, server)) return connect();
      const seat = new SocketSeat(engine, socket, this);
      return connectHandle({ context, seat, handle: this, options, request, server, connect, plain: connect });
    },
  });
  return Object.create(core, { connect: hook("connect"), connect6: hook("connect6") }) as object;
}

let handlePrototype: object | undefined;

/** A socket got a handle. What carried the socket before, if it was used before, is over. */
function hookHandle(socket: InternalSocket, handle: object): void {
  const context = threadContext().ready();
  if ("reason" in context || !(handle instanceof context.engine.TCP)) return;
  handlePrototype ??= makeHandlePrototype(context.engine);
  Object.setPrototypeOf(handle, handlePrototype);
  restoreSocket(socket);
  showStatus(socket, context.noPeer);
}

/**
 * A net.Socket that negotiates when it connects. It learns of its handles by an accessor: `net` makes one in connect(), another
 * for each further address (kReinitializeHandle), and a new one when a closed socket is used again. All of them assign `_handle`.
 */
export class HookedSocket extends StatusSocket {
  /** Undefined where nothing is negotiated. */
  #options: SmcOptions | undefined;

  constructor(options: SocketConstructorOpts | undefined, smc: SmcOptions) {
    super(options);
    const ready = threadContext().ready();
    if (!smc.enabled || "reason" in ready) {
      showStatus(this, noDevice("reason" in ready ? ready.reason : "switched off"));
      return;
    }
    showStatus(this, ready.noPeer);
    this.#options = smc;
    // One that was bound before, and is connected later (net.BoundSocket).
    const { _handle: bound } = this as unknown as InternalSocket;
    if (bound) hookHandle(this as unknown as InternalSocket, bound);
  }

  /** Whether the connects of a socket are hooked; then they have options. */
  static hooks(socket: object): socket is HookedSocket {
    return #options in socket && socket.#options !== undefined;
  }

  static options(socket: HookedSocket): SmcOptions {
    return socket.#options!;
  }

  static {
    const inherited = Object.getOwnPropertyDescriptor(Socket.prototype, "_handle");
    if (inherited !== undefined)
      Object.defineProperty(HookedSocket.prototype, "_handle", {
        configurable: true,
        enumerable: false,
        get(this: InternalSocket): unknown {
          return inherited.get?.call(this);
        },
        set(this: InternalSocket, handle: TcpHandle | SmcHandle | null): void {
          inherited.set?.call(this, handle);
          if (handle !== null && HookedSocket.hooks(this)) hookHandle(this, handle);
        },
      });
  }
}
