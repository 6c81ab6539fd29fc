/**
 * Scenarios about the end of a connection: half close, end with data, abort, and what each side is told.
 */
import type { Socket } from "node:net";
import * as assert from "uvu/assert";
import { happens, until, within } from "../../support/watchdog.js";
import { eachChunk, errorFields, journal, readAll, receive, type Scenario, type Seen, send } from "../scenario.js";

/** Calls `write` with its callback and resolves with the error it is given. */
function written(socket: Socket, chunk: Uint8Array | string): Promise<Error | null | undefined> {
  return within(new Promise((resolve) => socket.write(chunk, resolve)), "the callback of a write");
}

/** A side that writes until it is told that the other one is gone. */
async function writeUntilError(socket: Socket): Promise<Seen> {
  const seen = journal(socket);
  const chunk = Buffer.alloc(10_000);
  await until(() => {
    if (!socket.destroyed) socket.write(chunk, () => undefined);
    return socket.destroyed;
  }, "a write to fail");
  await seen.closed();
  const { code, syscall } = seen.error ?? {};
  assert.ok(code === "EPIPE" || code === "ECONNRESET", `code ${code}`);
  assert.is(syscall, code === "EPIPE" ? "write" : syscall);
  return { last: seen.events.at(-1) };
}

export const closing: readonly Scenario[] = [
  {
    name: "half close: the server goes on writing after the client's end",
    serve: { allowHalfOpen: true },
    async server(end) {
      const socket = await end.accept();
      const seen = journal(socket);
      const got = await readAll(socket);
      const state = socket.readyState;
      await send(socket, end.sequence("answer"), Array<number>(10).fill(50_000));
      socket.end();
      await seen.closed();
      return { got: String(got), state, events: seen.events };
    },
    async client(end) {
      const socket = await end.connect();
      const seen = journal(socket);
      socket.end("question");
      await happens(socket, "finish");
      const state = socket.readyState;
      const received = await receive(socket, end.verifier("answer"));
      await seen.closed();
      return { state, received, events: seen.events };
    },
  },
  {
    name: "half close by the server, allowHalfOpen at the client",
    dial: { allowHalfOpen: true },
    async server(end) {
      const socket = await end.accept();
      const seen = journal(socket);
      socket.end("greeting");
      const received = await receive(socket, end.verifier("upload"));
      await seen.closed();
      return { received, events: seen.events };
    },
    async client(end) {
      const socket = await end.connect();
      const seen = journal(socket);
      const greeting = await readAll(socket);
      const states = [socket.readyState, socket.writable, socket.readable];
      await send(socket, end.sequence("upload"), [1, 100_000, 200_000]);
      const error = await written(socket, "");
      socket.end();
      await seen.closed();
      return { greeting: String(greeting), states, error: String(error), events: seen.events };
    },
  },
  {
    name: "without allowHalfOpen the answer to an end is an end, and later writes fail with EPIPE",
    async server(end) {
      const socket = await end.accept();
      const seen = journal(socket);
      socket.resume();
      await happens(socket, "end");
      await new Promise((resolve) => setImmediate(resolve));
      const error = await written(socket, "too late").catch(String);
      await seen.closed();
      return { error: errorFields(error as Error), events: seen.events, seen: seen.error };
    },
    async client(end) {
      const socket = await end.connect();
      const seen = journal(socket);
      socket.resume().end();
      await seen.closed();
      return { events: seen.events };
    },
  },
  {
    name: "end with data before the connection is there",
    async server(end) {
      const socket = await end.accept();
      const seen = journal(socket);
      const got = await readAll(socket);
      await seen.closed();
      return { got: String(got), events: seen.events };
    },
    async client(end) {
      const socket = end.dial();
      const seen = journal(socket);
      socket.write("first, ");
      socket.end("and the rest");
      const states = [socket.connecting, socket.pending, socket.readyState, socket.writableEnded];
      socket.resume();
      await seen.closed();
      return { states, events: seen.events, bytesWritten: socket.bytesWritten };
    },
  },
  {
    name: "a write after end fails and the data before it arrives",
    async server(end) {
      return { got: String(await readAll(await end.accept())) };
    },
    async client(end) {
      const socket = await end.connect();
      const seen = journal(socket);
      socket.end("data");
      const error = await written(socket, "more");
      await seen.closed();
      return { error: errorFields(error as Error), seen: seen.error, last: seen.events.at(-1) };
    },
  },
  {
    name: "3 MiB and an end reach a reader that starts only afterwards",
    serve: { pauseOnConnect: true },
    async server(end) {
      const socket = await end.accept();
      await end.heard("all written");
      socket.resume();
      return { received: await receive(socket, end.verifier("bytes")) };
    },
    async client(end) {
      const socket = await end.connect();
      const seen = journal(socket);
      const sending = send(socket, end.sequence("bytes"), Array<number>(48).fill(65_536));
      end.tell("all written");
      await sending;
      socket.resume().end();
      await seen.closed();
      return { events: seen.events };
    },
  },
  {
    name: "destroySoon sends what was written and then closes",
    async server(end) {
      const socket = await end.accept();
      const seen = journal(socket);
      const received = await receive(socket, end.verifier("bytes"));
      await seen.closed();
      return { received, events: seen.events };
    },
    async client(end) {
      const socket = await end.connect();
      const seen = journal(socket);
      socket.write(end.sequence("bytes").span(0, 1_000_000));
      socket.destroySoon();
      await seen.closed();
      return { events: seen.events, destroyed: socket.destroyed };
    },
  },
  {
    name: "destroy with nothing unread is a clean end for the peer",
    async server(end) {
      const socket = await end.accept();
      const seen = journal(socket);
      const got = await readAll(socket);
      await seen.closed();
      return { got: String(got), events: seen.events };
    },
    async client(end) {
      const socket = await end.connect();
      const seen = journal(socket);
      await written(socket, "the last words");
      socket.destroy();
      await seen.closed();
      return { events: seen.events, flags: [socket.destroyed, socket.closed, socket.readyState, socket.errored] };
    },
  },
  {
    name: "destroy with an error tells this side alone",
    async server(end) {
      const socket = await end.accept();
      const seen = journal(socket);
      socket.resume();
      await seen.closed();
      return { events: seen.events };
    },
    async client(end) {
      const socket = await end.connect();
      const seen = journal(socket);
      socket.destroy(Object.assign(new Error("by the application"), { code: "EAPPLICATION" }));
      await seen.closed();
      return { events: seen.events, error: seen.error };
    },
  },
  {
    name: "destroy with unread data is an ECONNRESET for the peer",
    serve: { pauseOnConnect: true },
    async server(end) {
      const socket = await end.accept();
      const seen = journal(socket);
      await end.heard("written");
      socket.destroy();
      await seen.closed();
      return { events: seen.events, bytesRead: socket.bytesRead };
    },
    async client(end) {
      const socket = await end.connect();
      const seen = journal(socket);
      socket.resume();
      await written(socket, Buffer.alloc(1000));
      end.tell("written");
      await seen.closed();
      return { events: seen.events, error: seen.error };
    },
  },
  {
    name: "resetAndDestroy is an ECONNRESET for the peer",
    async server(end) {
      const socket = await end.accept();
      const seen = journal(socket);
      socket.resume();
      end.tell("accepted");
      await seen.closed();
      return { events: seen.events, error: seen.error };
    },
    async client(end) {
      const socket = await end.connect();
      const seen = journal(socket);
      await end.heard("accepted");
      socket.resetAndDestroy();
      await seen.closed();
      const events = [...seen.events];
      socket.resetAndDestroy();
      return { events, error: seen.error };
    },
  },
  {
    name: "writes that wait when the peer aborts are all called back with the error",
    serve: { pauseOnConnect: true },
    async server(end) {
      const socket = await end.accept();
      await end.heard("writing");
      socket.resetAndDestroy();
      await journal(socket).closed();
      return {};
    },
    async client(end) {
      const socket = await end.connect();
      const seen = journal(socket);
      let good = 0;
      let bad = 0;
      for (let i = 0; i < 48; i++) {
        socket.write(Buffer.alloc(1 << 20), (error) => {
          if (error) bad++;
          else good++;
        });
      }
      end.tell("writing");
      await seen.closed();
      await new Promise((resolve) => setImmediate(resolve));
      assert.ok(bad > 0);
      assert.is(good + bad, 48);
      assert.ok(["ECONNRESET", "EPIPE"].includes(String(seen.error?.["code"])), JSON.stringify(seen.error));
      return { last: seen.events.at(-1), length: socket.writableLength };
    },
  },
  {
    name: "destroy with waiting writes calls them back, and the peer has a clean prefix",
    async server(end) {
      const socket = await end.accept();
      const seen = journal(socket);
      const verifier = end.verifier("bytes");
      await end.heard("destroyed");
      eachChunk(socket, (chunk) => verifier.push(chunk));
      await seen.closed();
      assert.ok(seen.error === undefined || seen.error["code"] === "ECONNRESET", JSON.stringify(seen.error));
      return { prefix: verifier.received <= 48 << 20 };
    },
    async client(end) {
      const socket = await end.connect();
      const seen = journal(socket);
      const sequence = end.sequence("bytes");
      const codes = new Set<unknown>();
      let called = 0;
      for (let i = 0; i < 48; i++) {
        socket.write(sequence.span(i << 20, 1 << 20), (error) => {
          called++;
          if (error) codes.add((error as NodeJS.ErrnoException).code);
        });
      }
      socket.destroy();
      await seen.closed();
      end.tell("destroyed");
      await new Promise((resolve) => setImmediate(resolve));
      for (const code of codes) assert.ok(code === "ERR_STREAM_DESTROYED" || code === "ECANCELED", String(code));
      return { called, events: seen.events };
    },
  },
  {
    name: "writing to a peer that has gone ends in EPIPE or ECONNRESET",
    dial: { allowHalfOpen: true },
    async server(end) {
      const socket = await end.accept();
      socket.destroy();
      await journal(socket).closed();
      return {};
    },
    async client(end) {
      const socket = await end.connect();
      socket.resume();
      return writeUntilError(socket);
    },
  },
  {
    name: "server.close waits for its connections",
    async server(end) {
      const socket = await end.accept();
      const events: string[] = [];
      end.server.on("close", () => events.push("server closed"));
      socket.on("close", () => events.push("socket closed"));
      const closing = happens(end.server, "close");
      end.server.close((error) => events.push(`called back: ${error}`));
      const listening = end.server.listening;
      end.tell("closing");
      const closed = happens(socket, "close");
      await readAll(socket);
      await Promise.all([closing, closed]);
      return {
        events: [...events],
        listening,
        again: String(await new Promise((resolve) => end.server.close(resolve))),
      };
    },
    async client(end) {
      const socket = await end.connect();
      const seen = journal(socket);
      await end.heard("closing");
      const refused = end.dial();
      const error = await within(new Promise<Error>((resolve) => refused.on("error", resolve)), "the refusal");
      socket.resume().end("good bye");
      await seen.closed();
      return { events: seen.events, refused: errorFields(error) };
    },
  },
];
