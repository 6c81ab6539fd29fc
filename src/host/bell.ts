/**
 * The bell of a stack: a socketpair whose read end is a libuv-owned socket, so that a ring wakes the event loop in one hop.
 *
 * Owns both ends. The write end's number belongs to the stack *slot* for the life of the process: when a slot gets a new
 * stack, the new write end is moved over the old number in one step, so a late ring can never reach a foreign descriptor.
 */
import { Socket } from "node:net";
import type { Libc } from "./libc.js";

/**
 * Makes a bell.
 *
 * Takes:   previous, number of the slot's write end from an earlier stack, or -1; onRing, called in the event loop once
 *          for any number of rings since the last call.
 * Returns: number of the write end, or -1 when the system refused.
 */
export function makeBell(libc: Libc, previous: number, onRing: () => void): number {
  const pair = libc.socketpair();
  if (pair === undefined) return -1;
  const [readEnd, fresh] = pair;
  let writeEnd = fresh;
  if (previous >= 0) {
    if (!libc.replaceDescriptor(fresh, previous)) {
      libc.close(fresh);
      libc.close(readEnd);
      return -1;
    }
    libc.close(fresh);
    writeEnd = previous;
  }
  watchBell(readEnd, onRing, () => {});
  return writeEnd;
}

/**
 * Listens to the read end of a bell without keeping the loop alive.
 *
 * Takes:   onRing, called once for any number of rings since the last call; onEnd, called when nobody has the write end any
 *          more, or when the returned socket was destroyed.
 */
export function watchBell(readEnd: number, onRing: () => void, onEnd: () => void): Socket {
  const options = {
    fd: readEnd,
    readable: true,
    writable: false,
    onread: {
      buffer: Buffer.alloc(256),
      callback: (): boolean => {
        onRing();
        return true;
      },
    },
  };
  const socket = new Socket(options);
  socket.on("error", () => {});
  socket.on("close", onEnd);
  socket.resume();
  socket.unref();
  return socket;
}
