/**
 * Refuses to hand a socket that SMC carries to another process: its rings belong to this thread, and the engine would take
 * the handle that is sent for a TCP one and crash. Plain sockets, sockets that fell back and listening ones pass as ever.
 *
 * Owns the guard on `send` of children and of the process itself. It outlives `uninstall()`, as sockets over SMC do.
 * `child_process` is not loaded for it: the first child of the thread brings it along.
 */
import { Socket } from "node:net";
import { SmcError } from "../errors.js";
import type { EngineBinding } from "./binding.js";

/** Not exported by the engine's types: what `send` of a child, of a cluster worker and of `process` all end in. */
type Send = (this: unknown, message: unknown, handle: unknown, ...rest: unknown[]) => unknown;
interface Channel {
  _send?: Send;
}
interface NativeProcess {
  spawn(this: Record<symbol, Channel | undefined>, ...args: unknown[]): number;
}

const GUARDED = Symbol.for("smcnet/transfer");

/** Whether SMC carries a socket, below TLS too. */
function isCarried(engine: EngineBinding, socket: Socket): boolean {
  const { _handle: handle } = socket as Socket & { _handle?: { readonly _parent?: object } | null };
  const bottom = handle?._parent ?? handle;
  return bottom instanceof engine.JSStream && "connection" in bottom;
}

function guarded(engine: EngineBinding, send: Send): Send {
  return function (message, handle, ...rest) {
    if (handle instanceof Socket && isCarried(engine, handle))
      throw new SmcError("ERR_SMC_NOT_TRANSFERABLE", "SMC carries the socket: it cannot leave its process", {
        localPort: handle.localPort,
        remotePort: handle.remotePort,
      });
    return send.call(this, message, handle, ...rest);
  };
}

function guardOwn(engine: EngineBinding, channel: Channel): void {
  const { _send: send } = channel;
  if (send !== undefined) channel._send = guarded(engine, send);
}

/** Guards children of the class of `child`: their channel is set up, by assignment, once they were spawned. */
function guardChildren(engine: EngineBinding, child: object): void {
  let owner: object | null = child;
  while (owner !== null && !Object.hasOwn(owner, "spawn")) owner = Object.getPrototypeOf(owner) as object | null;
  if (owner === null) return;
  Object.defineProperty(owner, "_send", {
    configurable: true,
    get: () => undefined,
    set(this: Channel, send: Send) {
      const value = guarded(engine, send);
      Object.defineProperty(this, "_send", { configurable: true, enumerable: true, writable: true, value });
    },
  });
}

/** Every child from now on, and the channel to the parent. Once for a thread. */
export function guardTransfers(engine: EngineBinding): void {
  const thread = globalThis as unknown as Record<symbol, true | undefined>;
  if (thread[GUARDED]) return;
  Object.defineProperty(thread, GUARDED, { value: true });
  guardOwn(engine, process as Channel);
  const { prototype } = engine.Process as { readonly prototype: NativeProcess };
  const { spawn } = prototype;
  prototype.spawn = function (...args) {
    const child = this[engine.owner];
    if (child !== undefined && !("_send" in child)) guardChildren(engine, child);
    return spawn.apply(this, args);
  };
}
