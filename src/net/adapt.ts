/**
 * What `net` decides by the class of a handle, decided for sockets that live on an SmcHandle.
 */
import type { Socket } from "node:net";
import { SmcError } from "../errors.js";

/**
 * `net` resets only handles that are an `instanceof` TCP; a socket over SMC gets this method of its own instead.
 */
function resetAndDestroy(this: Socket & { _reset(): void; _handle: unknown }): Socket {
  if (!this._handle) return this.destroy(new SmcError("EPIPE", "the socket is closed"));
  if (this.connecting) this.once("connect", () => this._reset());
  else this._reset();
  return this;
}

/** Prepares a socket that lives on an SmcHandle, for what `net` decides by the handle's class. */
export function adaptSocket(socket: object): void {
  Object.defineProperty(socket, "resetAndDestroy", { value: resetAndDestroy, configurable: true, writable: true });
}

/** A socket that is about to be used again, on a handle of whatever class. */
export function restoreSocket(socket: object): void {
  if (Object.hasOwn(socket, "resetAndDestroy")) Reflect.deleteProperty(socket, "resetAndDestroy");
}
