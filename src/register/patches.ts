/**
 * What the preload replaces: one table.
 *
 *   TCP.prototype.connect, connect6    clients, below TLS too: net, http, https, http2, tls, fetch, undici
 *   net.Server.prototype._listen2      servers: net, http, https, http2, tls; in cluster workers as well
 *   net.Socket.prototype.smc           what carries a socket (added)
 *
 * Not intercepted: unix sockets and pipes, UDP, connections made by native addons, sockets bound to a local port below TLS,
 * servers with pauseOnConnect.
 */
import { Server, Socket } from "node:net";
import { restoreSocket } from "../net/adapt.js";
import { type ConnectRequest, type EngineBinding, engineBinding, TCP_SOCKET, type TcpHandle } from "../net/binding.js";
import { connectHandle, worthAttempt } from "../net/connect.js";
import { threadContext } from "../net/context.js";
import { HookedSocket } from "../net/hook.js";
import { isWrapped, parentOf, SocketSeat, TlsSeat } from "../net/seat.js";
import { hookListening, isHooked } from "../net/server.js";
import { defaultStatus, forgetStatus, type SmcStatus } from "../net/status.js";
import type { Addition, Patch } from "./patch.js";

type InternalSocket = Socket & { _handle: object | null };
type InternalServer = Server & { readonly pauseOnConnect: boolean };
type Connect = TcpHandle["connect"];

function connectPatch(engine: EngineBinding, name: "connect" | "connect6"): Patch {
  const { TCP, owner } = engine;
  const make = (original: Connect): Connect =>
    function (this: TcpHandle, request: ConnectRequest, address: string, port: number): number {
      const connect = (): number => original.call(this, request, address, port);
      const socket = this[owner];
      if (!(socket instanceof Socket) || HookedSocket.hooks(socket)) return connect();
      const top = (socket as InternalSocket)._handle;
      if (top === null || isWrapped(top)) return connect();
      const context = threadContext().ready();
      if ("reason" in context) return connect();
      restoreSocket(socket);
      forgetStatus(socket);
      const { options } = threadContext();
      const server = { address, port };
      if (!worthAttempt(context, options, server)) return connect();
      const common = { context, options, request, server, plain: connect };
      if (top === this) {
        const seat = new SocketSeat(engine, socket, this);
        return connectHandle({ ...common, seat, handle: this, connect });
      }
      if (parentOf(socket) !== this || isBound(this)) return connect();
      const handle = new TCP(TCP_SOCKET);
      const seat = new TlsSeat(engine, socket, handle);
      return connectHandle({ ...common, seat, handle, connect: () => original.call(handle, request, address, port) });
    };
  return { target: TCP.prototype as object, name, make };
}

/** Bound to an address of its own: another handle could not take its place. */
function isBound(handle: TcpHandle): boolean {
  const own: { port?: number } = {};
  return handle.getsockname(own) === 0 && (own.port ?? 0) !== 0;
}

const listenPatch: Patch = {
  target: Server.prototype,
  name: "_listen2",
  make: (original: (this: Server, ...args: unknown[]) => void) =>
    function (this: Server, ...args: unknown[]): void {
      original.apply(this, args);
      // What it accepts is for others to read, perhaps in another process: to them SMC's bytes would be lost.
      if ((this as InternalServer).pauseOnConnect) return;
      if (!isHooked(this)) hookListening(this, threadContext().options, args[5] as number | undefined);
    },
};

const statusAddition = ({ TCP }: EngineBinding): Addition => ({
  target: Socket.prototype,
  name: "smc",
  get(this: Socket): SmcStatus | undefined {
    const context = threadContext().ready();
    return "reason" in context ? undefined : defaultStatus(this, TCP, context.noPeer);
  },
});

/** The table; undefined where the engine's parts are not what they have to be. */
export function patches(): readonly (Patch | Addition)[] | undefined {
  const { engine } = engineBinding();
  if (engine === undefined) return undefined;
  return [connectPatch(engine, "connect"), connectPatch(engine, "connect6"), listenPatch, statusAddition(engine)];
}
