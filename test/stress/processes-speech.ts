/**
 * What ends of a party say to each other: streams by label, files, and what they hear to the end.
 *
 * Owns nothing: the ends are the party's. What a stream consists of is processes-ends.ts's.
 */
import { createReadStream } from "node:fs";
import { closed } from "../support/pair.js";
import { within } from "../support/watchdog.js";
import { endOf, takeEnd } from "./processes-connections.js";
import type { Outcome } from "./processes-ends.js";

export const speaking = {
  /** Writes `bytes` more of the stream `label`; answers when they are out of its hands. */
  async say(name: string, label: string, bytes: number): Promise<void> {
    await endOf(name).say(label, bytes, false);
  },

  /** As say, for more than the peer has room for: does not wait. */
  sayOn(name: string, label: string, bytes: number): void {
    endOf(name)
      .say(label, bytes, false)
      .catch(() => undefined);
  },

  /** Writes the stream `label` without end, `length` bytes at a time; keeps in `board` how much is out of its hands. */
  pour(name: string, label: string, length: number, board?: string): void {
    endOf(name).pour(label, length, board);
  },

  /** Reads and checks `bytes` of the stream `label`, then pauses. */
  async hear(name: string, label: string, bytes: number): Promise<void> {
    const end = endOf(name);
    end.hears(label);
    await end.hear(bytes);
  },

  /** Reads and checks whatever comes. */
  hearAll(name: string, label: string): void {
    endOf(name).hears(label);
    endOf(name).socket.resume();
  },

  /** Sends a file by end `name` and hears it come back by end `back`. Returns: the hash of what came. */
  async sendFile(name: string, path: string, back: string): Promise<string> {
    createReadStream(path).pipe(endOf(name).socket.resume());
    return (await endOf(back).digest()).hash;
  },

  /** Sends on what comes by end `name`. Returns: its hash. */
  async forward(name: string, next: string): Promise<string> {
    endOf(name).socket.pipe(endOf(next).socket.resume());
    return (await endOf(name).digest()).hash;
  },

  /** Says `bytes` of the stream `label` and ends. Returns: their hash. */
  sendStream(name: string, label: string, bytes: number): Promise<string> {
    return endOf(name).sayHashed(label, bytes);
  },

  /** Hears everything; number of bytes and hash. */
  digest(name: string): Promise<{ readonly bytes: number; readonly hash: string }> {
    return endOf(name).digest();
  },

  /** Everything to the end of the connection. */
  async outcome(name: string, label: string): Promise<Outcome> {
    const end = takeEnd(name);
    end.hears(label);
    return end.outcome();
  },

  end(name: string): void {
    endOf(name).socket.end();
  },

  destroy(name: string): Promise<void> {
    const { socket } = takeEnd(name);
    socket.destroy();
    return within(closed(socket), `the close of "${name}"`);
  },
};
