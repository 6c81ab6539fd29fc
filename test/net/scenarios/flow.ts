/**
 * Scenarios about who sets the pace: pause and resume, backpressure, and the ways to read.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import type { Socket } from "node:net";
import { pipeline } from "node:stream/promises";
import * as assert from "uvu/assert";
import { happens, within } from "../../support/watchdog.js";
import { eachChunk, journal, readAll, receive, type Scenario, send } from "../scenario.js";

const FILE = process.execPath;
const FILE_BYTES = 6_000_001;

async function fileHash(): Promise<string> {
  const file = await open(FILE);
  const bytes = Buffer.alloc(FILE_BYTES);
  await file.read(bytes, 0, FILE_BYTES, 0);
  await file.close();
  return createHash("sha256").update(bytes).digest("hex");
}

/** The client of scenarios where the server does all the talking. */
async function listenOnly(socket: Socket): Promise<Record<string, unknown>> {
  const seen = journal(socket);
  socket.resume().end();
  await seen.closed();
  return { events: seen.events };
}

/** Text whose characters take 1 to 4 bytes in UTF-8. */
const TEXT = "a\u00e4\u20ac\ud83d\ude00\u65e5z".repeat(700);

export const flow: readonly Scenario[] = [
  {
    name: "a paused socket emits no data, and everything after resume",
    async server(end) {
      const socket = await end.accept();
      await send(socket, end.sequence("bytes"), [100, 70_000]);
      await end.heard("paused");
      for (let i = 0; i < 5; i++) {
        socket.write(end.sequence("rest").span(i * 1_000, 1_000));
        end.tell("wrote");
        await end.heard("looked");
      }
      socket.end();
      return { received: (await readAll(socket)).length };
    },
    async client(end) {
      const socket = await end.connect();
      const first = end.verifier("bytes");
      const rest = end.verifier("rest");
      let paused = false;
      await within(
        new Promise<void>((resolve) => {
          eachChunk(socket, (chunk) => {
            assert.not(paused, "data while paused");
            const ofFirst = chunk.subarray(0, 70_100 - first.received);
            first.push(ofFirst);
            rest.push(chunk.subarray(ofFirst.length));
            if (first.received === 70_100) resolve();
          });
        }),
        "the first part",
      );
      socket.pause();
      paused = true;
      end.tell("paused");
      for (let i = 0; i < 5; i++) {
        await end.heard("wrote");
        await new Promise((resolve) => setImmediate(resolve));
        end.tell("looked");
      }
      paused = false;
      const flags = [socket.isPaused(), socket.readableFlowing];
      const ended = happens(socket, "end");
      socket.resume();
      await ended;
      return { flags, first: first.received, rest: rest.received };
    },
  },
  {
    name: "backpressure: write returns false, drain comes when the reader reads",
    serve: { pauseOnConnect: true },
    async server(end) {
      const socket = await end.accept();
      await end.heard("written");
      end.tell("still not reading");
      await end.heard("checked");
      socket.resume();
      return { received: await receive(socket, end.verifier("bytes")) };
    },
    async client(end) {
      const socket = await end.connect();
      const sequence = end.sequence("bytes");
      const results = new Set<boolean>();
      let drains = 0;
      socket.on("drain", () => drains++);
      for (let i = 0; i < 48; i++) results.add(socket.write(sequence.span(i << 20, 1 << 20)));
      const total = socket.bytesWritten;
      assert.ok(results.has(false));
      end.tell("written");
      await end.heard("still not reading");
      assert.ok(socket.writableLength > 0, "48 MiB went to a reader that does not read");
      assert.is((socket as unknown as { bufferSize: number }).bufferSize, socket.writableLength);
      const flags = [socket.writableNeedDrain, drains];
      const drained = happens(socket, "drain");
      end.tell("checked");
      await drained;
      const length = socket.writableLength;
      const again = socket.write(sequence.span(48 << 20, 100));
      socket.resume().end();
      await happens(socket, "close");
      return { total, flags, length, again, drains, bytesWritten: socket.bytesWritten };
    },
  },
  {
    name: "messages taken by read(n) in readable events",
    async server(end) {
      const socket = await end.accept();
      const sizes = end.prng("sizes");
      const sequence = end.sequence("bytes");
      let offset = 0;
      for (let i = 0; i < 150; i++) {
        const size = sizes.oneIn(10) ? sizes.between(60_000, 140_000) : sizes.between(1, 3_000);
        const head = Buffer.alloc(4);
        head.writeUInt32BE(size);
        socket.write(head);
        if (!socket.write(sequence.span(offset, size))) await happens(socket, "drain");
        offset += size;
      }
      socket.end();
      return { offset };
    },
    async client(end) {
      const socket = await end.connect();
      const verifier = end.verifier("bytes");
      const ended = happens(socket, "end");
      let messages = 0;
      let size = -1;
      socket.on("readable", () => {
        try {
          for (;;) {
            const part = socket.read(size < 0 ? 4 : size) as Buffer | null;
            if (part === null) return;
            if (size < 0) size = part.readUInt32BE();
            else {
              assert.is(part.length, size);
              verifier.push(part);
              messages++;
              size = -1;
            }
          }
        } catch (cause) {
          socket.destroy(cause as Error);
        }
      });
      await ended;
      return { messages, received: verifier.received };
    },
  },
  {
    name: "onread with one buffer, stopped by returning false and resumed",
    async server(end) {
      const socket = await end.accept();
      await send(socket, end.sequence("bytes"), [1, 999, 1_000, 1_001, 200_000, 1]);
      return listenOnly(socket);
    },
    async client(end) {
      const buffer = Buffer.alloc(1_000);
      const verifier = end.verifier("bytes");
      let calls = 0;
      let stops = 0;
      const socket = end.dial({
        onread: {
          buffer,
          callback(length, into) {
            calls++;
            assert.ok(into === buffer, "the buffer given");
            verifier.push(into.subarray(0, length));
            into.fill(0);
            if (calls % 10 !== 0) return true;
            stops++;
            setImmediate(() => {
              assert.is(verifier.received, at, "called while stopped");
              socket.resume();
            });
            const at = verifier.received;
            return false;
          },
        },
      });
      const seen = journal(socket);
      let data = 0;
      socket.on("data", () => data++);
      await happens(socket, "close");
      assert.ok(stops > 10 && calls >= 203, `${calls} calls, ${stops} stops`);
      return { received: verifier.received, bytesRead: socket.bytesRead, data, events: seen.events };
    },
  },
  {
    name: "onread with a function that gives a buffer for each call",
    async server(end) {
      const socket = await end.accept();
      await send(socket, end.sequence("bytes"), [10, 100_000, 65_536, 3]);
      return listenOnly(socket);
    },
    async client(end) {
      const verifier = end.verifier("bytes");
      const sizes = end.prng("sizes");
      let given: Buffer | undefined;
      const socket = end.dial({
        onread: {
          buffer: () => (given = Buffer.alloc(sizes.between(1, 9_000))),
          callback(length, into) {
            assert.ok(into === given, "the buffer given last");
            verifier.push(into.subarray(0, length));
            return true;
          },
        },
      });
      const seen = journal(socket);
      await happens(socket, "close");
      return { received: verifier.received, bytesRead: socket.bytesRead, events: seen.events };
    },
  },
  {
    name: "setEncoding joins characters that were split anywhere",
    serve: { noDelay: true },
    async server(end) {
      const socket = await end.accept();
      const cuts = end.prng("cuts");
      const bytes = Buffer.from(TEXT);
      socket.write(bytes.subarray(0, 4));
      await end.heard("two characters and a part of the third");
      for (let at = 4; at < bytes.length; ) {
        const length = cuts.oneIn(3) ? 1 : cuts.between(1, 40);
        socket.write(bytes.subarray(at, at + length));
        at += length;
        if (cuts.oneIn(4)) await new Promise((resolve) => setImmediate(resolve));
      }
      socket.end();
      socket.setEncoding("hex");
      let hex = "";
      socket.on("data", (text: string) => (hex += text));
      await happens(socket, "end");
      return { hex };
    },
    async client(end) {
      const socket = await end.connect();
      socket.setEncoding("utf8");
      let text = "";
      socket.on("data", (part: string) => {
        text += part;
        if (text === TEXT.slice(0, 2)) end.tell("two characters and a part of the third");
      });
      socket.write("b");
      socket.write("yte", "latin1");
      await happens(socket, "end");
      assert.ok(text === TEXT, "the text is not what was sent");
      return { length: text.length, encoding: socket.readableEncoding };
    },
  },
  {
    name: "a file through pipeline to an echo by pipe",
    async server(end) {
      const socket = await end.accept();
      const seen = journal(socket);
      socket.pipe(socket);
      await seen.closed();
      return { bytesRead: socket.bytesRead, events: seen.events };
    },
    async client(end) {
      const socket = await end.connect();
      const hash = createHash("sha256");
      const file = createReadStream(FILE, { end: FILE_BYTES - 1 });
      eachChunk(socket, (chunk) => void hash.update(chunk));
      const closing = happens(socket, "close");
      await within(pipeline(file, socket), "the pipeline");
      await closing;
      const got = hash.digest("hex");
      assert.is(got, await fileHash());
      return { got, bytesRead: socket.bytesRead };
    },
  },
  {
    name: "async iteration to the end, and one that is left early",
    async server(end) {
      const [whole, part] = [await end.accept(), await end.accept()];
      const sequence = end.sequence("bytes");
      part.write(sequence.span(0, 1_000));
      const sending = send(whole, sequence, Array<number>(30).fill(33_333)).then(() => whole.end());
      const seen = journal(part);
      part.resume();
      await Promise.all([sending, seen.closed()]);
      return { events: seen.events };
    },
    async client(end) {
      const whole = await end.connect();
      const part = await end.connect();
      const verifier = end.verifier("bytes");
      for await (const chunk of whole) verifier.push(chunk as Buffer);
      let chunks = 0;
      for await (const chunk of part) {
        assert.ok((chunk as Buffer).length > 0);
        chunks++;
        break;
      }
      return { received: verifier.received, chunks, left: part.destroyed };
    },
  },
];
