/**
 * Bytes that a handshake read and the application has to see: given back to a socket that goes on as TCP.
 *
 * Owns the give-back and the filter for one late CLC message. Without late messages nothing of ours stays on the handle.
 */
import type { Socket } from "node:net";
import type { LateFilter } from "../clc/framing.js";
import type { EngineBinding, TcpHandle } from "./binding.js";

/** Puts `rest` at the head of what `socket` will read. Before its first read. */
export function giveBack(engine: EngineBinding, socket: Socket, tcp: TcpHandle, rest: Uint8Array): void {
  if (rest.length === 0 || socket.destroyed) return;
  const user = (socket as unknown as Record<symbol, Uint8Array | null | undefined>)[engine.userBuffer];
  if (!user) {
    socket.unshift(rest);
    return;
  }
  // A socket with `onread` has no readable side to unshift to: its callback gets the bytes as reads of their own.
  const { state, READ_BYTES_OR_ERROR } = engine;
  for (let at = 0; at < rest.length && !socket.destroyed; ) {
    const target = (socket as unknown as Record<symbol, Uint8Array>)[engine.userBuffer]!;
    const length = Math.min(target.length, rest.length - at);
    target.set(rest.subarray(at, at + length));
    at += length;
    state[READ_BYTES_OR_ERROR] = length;
    tcp.onread(undefined);
  }
}

/**
 * Filters one late CLC message out of what `tcp` reads next, then takes itself away. Until then a native reader is told
 * that this is no stream to read from, so that it leaves reading to JavaScript.
 */
export function filterLate(engine: EngineBinding, socket: Socket, tcp: TcpHandle, late: LateFilter): void {
  const { state, READ_BYTES_OR_ERROR, ARRAY_BUFFER_OFFSET, userBuffer } = engine;
  const onread = tcp.onread;
  const restore = (): void => {
    tcp.onread = onread;
    Reflect.deleteProperty(tcp, "isStreamBase");
  };
  Object.defineProperty(tcp, "isStreamBase", { value: false, configurable: true });
  const pass = (bytes: Uint8Array): void => {
    if (bytes.length > 0) giveBack(engine, socket, tcp, bytes);
  };
  tcp.onread = (buffer) => {
    const length = state[READ_BYTES_OR_ERROR]!;
    if (length <= 0) {
      const held = late.release();
      restore();
      pass(held);
      state[READ_BYTES_OR_ERROR] = length;
      return length < 0 ? onread.call(tcp, undefined) : undefined;
    }
    const user = (socket as unknown as Record<symbol, Uint8Array | null | undefined>)[userBuffer];
    const source =
      buffer === undefined
        ? (user ?? new Uint8Array(0)).slice(0, length)
        : new Uint8Array(buffer, state[ARRAY_BUFFER_OFFSET], length);
    const passed = late.push(source);
    if (late.done) restore();
    pass(passed);
    return undefined;
  };
}
