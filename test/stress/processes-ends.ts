/**
 * One end of a connection under test: what it says and hears, byte by byte, and how it comes to its end.
 *
 * Owns the listeners of one socket. Both directions are streams that have labels, so that the other process can check them.
 */
import { createHash } from "node:crypto";
import { openSync, writeSync } from "node:fs";
import type { Socket } from "node:net";
import { prngFor } from "../support/prng.js";
import { Sequence, SPAN_MAX, Verifier } from "../support/sequence.js";
import { happens, within } from "../support/watchdog.js";

/** How an end came to its end. */
export interface Outcome {
  /** `end` `finish` `error` `close(hadError)`, in their order. */
  readonly events: string;
  /** Of the error; empty without one. */
  readonly code: string;
  readonly received: number;
  /** Bytes that this end has written. */
  readonly said: number;
}

export class End {
  readonly socket: Socket;
  readonly #events: string[] = [];
  #code = "";
  #verifier: Verifier | undefined;
  #wrong: Error | undefined;
  #received = 0;
  #said = 0;
  /** When its first ending event came: end of the stream, or an error. */
  overAt = 0;
  readonly #closing: Promise<void>;

  constructor(socket: Socket) {
    this.socket = socket;
    for (const name of ["end", "finish"]) {
      socket.on(name, () => {
        if (name === "end") this.#over();
        this.#events.push(name);
      });
    }
    socket.on("error", (error: NodeJS.ErrnoException) => {
      this.#over();
      this.#events.push("error");
      this.#code = error.code ?? error.message;
    });
    this.#closing = new Promise((resolve) => {
      socket.on("close", (hadError: boolean) => {
        this.#over();
        this.#events.push(`close(${hadError})`);
        resolve();
      });
    });
  }

  #over(): void {
    if (this.overAt === 0) this.overAt = performance.now();
  }

  /** From now on what comes is checked against the stream `label`. */
  hears(label: string): void {
    if (this.#verifier !== undefined) return;
    const verifier = new Verifier(prngFor(label).seed);
    this.#verifier = verifier;
    const paused = this.socket.isPaused();
    this.socket.on("data", (chunk: Buffer) => {
      this.#received += chunk.length;
      try {
        verifier.push(chunk);
      } catch (error) {
        this.#wrong ??= error as Error;
        this.socket.destroy();
      }
    });
    if (paused) this.socket.pause();
  }

  async hear(bytes: number): Promise<void> {
    const { socket } = this;
    let look = (): void => undefined;
    const heard = new Promise<void>((resolve) => {
      look = () => {
        if (this.#received >= bytes || socket.destroyed) resolve();
      };
    });
    for (const event of ["data", "close"]) socket.on(event, look);
    look();
    socket.resume();
    await within(heard, `${bytes} bytes`).finally(() => {
      for (const event of ["data", "close"]) socket.off(event, look);
    });
    socket.pause();
    if (this.#received < bytes) throw new Error(`${this.#received} of ${bytes} bytes: ${this.#events} ${this.#code}`);
  }

  /** Writes, and ends where `last`; resolves when nothing waits in this end any more. */
  async say(label: string, bytes: number, last: boolean): Promise<void> {
    const { socket } = this;
    const sequence = new Sequence(prngFor(label).seed);
    const until = this.#said + bytes;
    while (this.#said < until) {
      const length = Math.min(until - this.#said, SPAN_MAX, 65_536);
      const taken = new Promise<void>((resolve, reject) =>
        socket.write(sequence.span(this.#said, length), (error) => (error ? reject(error) : resolve())),
      );
      this.#said += length;
      await within(taken, "a write to be taken");
    }
    if (last) socket.end();
  }

  /** Says `bytes`, ends, and returns their hash. Takes as long as it takes, but no write may hang. */
  async sayHashed(label: string, bytes: number): Promise<string> {
    const { socket } = this;
    const sequence = new Sequence(prngFor(label).seed);
    const hash = createHash("sha256");
    for (; this.#said < bytes; ) {
      const span = sequence.span(this.#said, Math.min(bytes - this.#said, 262_144));
      hash.update(span);
      this.#said += span.length;
      if (!socket.write(span)) await happens(socket, "drain");
    }
    socket.end();
    return hash.digest("hex");
  }

  /** Hears everything, unchecked. Takes as long as it takes, but something has to come all the time. */
  async digest(): Promise<{ readonly bytes: number; readonly hash: string }> {
    const { socket } = this;
    const hash = createHash("sha256");
    let more = (): void => undefined;
    socket.on("data", (chunk: Buffer) => {
      hash.update(chunk);
      this.#received += chunk.length;
      more();
    });
    socket.once("end", () => {
      socket.end();
      more();
    });
    socket.resume();
    while (!socket.readableEnded) {
      const coming = new Promise<void>((resolve) => {
        more = resolve;
      });
      await within(coming, `more than ${this.#received} bytes`);
    }
    await within(this.#closing, "the close");
    return { bytes: this.#received, hash: hash.digest("hex") };
  }

  /** The last bytes, in this turn. */
  ending(label: string, bytes: number): void {
    this.socket.end(new Sequence(prngFor(label).seed).span(this.#said, bytes));
  }

  /** Writes without end. `board`, if there is one, is a file that holds the number of bytes that have left this end, u64. */
  pour(label: string, length: number, board?: string): void {
    const { socket } = this;
    const sequence = new Sequence(prngFor(label).seed);
    const file = board === undefined ? -1 : openSync(board, "w");
    const word = Buffer.alloc(8);
    const publish = (): void => {
      if (file < 0 || socket.writableLength > 0) return;
      word.writeBigUInt64LE(BigInt(this.#said));
      writeSync(file, word, 0, 8, 0);
    };
    publish();
    const burst = (): void => {
      for (let writes = 0; writes < 16 && !socket.destroyed; writes++) {
        const room = socket.write(sequence.span(this.#said, length));
        this.#said += length;
        publish();
        if (!room) {
          socket.once("drain", () => {
            publish();
            burst();
          });
          return;
        }
      }
      if (!socket.destroyed) setImmediate(burst);
    };
    burst();
  }

  /** Reads to the end, ends itself, and waits for the close. Errors: rejects for a wrong byte and when it hangs. */
  async outcome(): Promise<Outcome> {
    const { socket } = this;
    if (socket.readableEnded) socket.end();
    else socket.once("end", () => socket.end());
    socket.resume();
    const limit = `the close; so far: ${this.#events} after ${this.#received} bytes`;
    await within(this.#closing, limit).catch((error: Error) => {
      throw new Error(`${error.message}; now: ${this.#events} after ${this.#received} bytes, ${this.#said} said`);
    });
    if (this.#wrong !== undefined) throw this.#wrong;
    return { events: this.#events.join(" "), code: this.#code, received: this.#received, said: this.#said };
  }
}
