/**
 * Scenarios about the bytes themselves: nothing lost, doubled, moved or invented, in either direction, in every form of write.
 */
import { createHash } from "node:crypto";
import type { Socket } from "node:net";
import * as assert from "uvu/assert";
import { happens, within } from "../../support/watchdog.js";
import {
  type ClientEnd,
  eachChunk,
  journal,
  readAll,
  receive,
  type Scenario,
  type Seen,
  type ServerEnd,
  send,
} from "../scenario.js";

const sha256 = (bytes: string | Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** Sizes around those where rings, chunks and high-water marks begin and end, bytes. */
const EDGES = [1, 2, 7, 8, 9, 16383, 16384, 16385, 65535, 65536, 65537, 131072];

async function bothWays(end: ServerEnd | ClientEnd, socket: Socket, own: string, other: string): Promise<Seen> {
  const seen = journal(socket);
  const random = end.prng(`${own} sizes`);
  const sizes = Array.from({ length: 120 }, () =>
    random.oneIn(4) ? random.pick(EDGES) : random.between(1, 1 << random.below(17)),
  );
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const [received] = await Promise.all([
    receive(socket, end.verifier(other)),
    send(socket, end.sequence(own), sizes).then(() => socket.end()),
  ]);
  await seen.closed();
  assert.is(socket.bytesWritten, total);
  return { received, bytesRead: socket.bytesRead, bytesWritten: socket.bytesWritten, hadError: seen.error };
}

/** One string of each kind of encoding, with sizes that do not fit into one ring. */
const TEXTS: readonly [string, BufferEncoding][] = [
  ["plain ascii, short", "latin1"],
  ["\u00e4\u00f6\u00fc\u00df\u0000\u00ff".repeat(30_000), "latin1"],
  ["a", "ascii"],
  ["Stra\u00dfe \u20ac \u65e5\u672c\u8a9e \ud83d\ude00 ".repeat(9_000), "utf8"],
  ["\ud83d\ude00", "utf8"],
  ["lone \ud800 half", "utf8"],
  ["x".repeat(65_537), "utf8"],
  ["\u65e5\u672c\u8a9e\u0000\ud83d\ude00".repeat(20_000), "utf16le"],
  ["odd", "ucs2"],
  ["00ff80e2d4c3d9".repeat(11_111), "hex"],
  [Buffer.from("any bytes at all \u0000\u00ff").toString("base64").repeat(1), "base64"],
  [Buffer.alloc(99_999, 0xa5).toString("base64"), "base64"],
  [Buffer.alloc(1_001, 0x5a).toString("base64url"), "base64url"],
];

export const transfer: readonly Scenario[] = [
  {
    name: "random sizes in both directions at once",
    serve: { allowHalfOpen: true },
    dial: { allowHalfOpen: true },
    async server(end) {
      return bothWays(end, await end.accept(), "from the server", "from the client");
    },
    async client(end) {
      return bothWays(end, await end.connect(), "from the client", "from the server");
    },
  },
  {
    name: "strings of every encoding",
    async server(end) {
      const bytes = await readAll(await end.accept());
      assert.is(sha256(bytes), sha256(Buffer.concat(TEXTS.map(([text, encoding]) => Buffer.from(text, encoding)))));
      return { length: bytes.length };
    },
    async client(end) {
      const socket = await end.connect();
      const seen = journal(socket);
      for (const [text, encoding] of TEXTS) socket.write(text, encoding);
      socket.setDefaultEncoding("utf8");
      socket.resume().end();
      await seen.closed();
      return { bytesWritten: socket.bytesWritten, events: seen.events };
    },
  },
  {
    name: "cork, uncork and writev with mixed chunks",
    async server(end) {
      return { sha256: sha256(await readAll(await end.accept())) };
    },
    async client(end) {
      const socket = await end.connect();
      const sequence = end.sequence("bytes");
      const parts: Buffer[] = [];
      const called: number[] = [];
      const write = (part: Buffer | string, encoding?: BufferEncoding) => {
        const index = parts.push(typeof part === "string" ? Buffer.from(part, encoding) : part) - 1;
        const done = () => called.push(index);
        if (typeof part === "string") socket.write(part, encoding, done);
        else socket.write(part, done);
      };
      socket.cork();
      write("head\r\n", "latin1");
      write(sequence.span(0, 70_000));
      socket.cork();
      write("");
      write("\u20ac\u65e5", "utf8");
      write("cafe", "hex");
      socket.uncork();
      write(sequence.span(70_000, 1));
      socket.uncork();
      for (let i = 0; i < 40; i++) write(sequence.span(i * 5_000, 5_000));
      socket.cork();
      for (let i = 0; i < 1_100; i++) write(i % 2 === 0 ? `${i};` : sequence.span(i, 3), "utf16le");
      process.nextTick(() => socket.uncork());
      await within(new Promise<void>((resolve) => socket.end(resolve)), "the end to be flushed");
      assert.equal(
        called,
        parts.map((_, index) => index),
        "callbacks in the order of the writes",
      );
      return { sha256: sha256(Buffer.concat(parts)), bytesWritten: socket.bytesWritten };
    },
  },
  {
    name: "a buffer may be overwritten once its callback was called",
    async server(end) {
      return { received: await receive(await end.accept(), end.verifier("bytes")) };
    },
    async client(end) {
      const socket = await end.connect();
      const sequence = end.sequence("bytes");
      const sizes = end.prng("sizes");
      const buffer = Buffer.alloc(200_000);
      let offset = 0;
      for (let i = 0; i < 40; i++) {
        const size = sizes.between(1, buffer.length);
        sequence.span(offset, size).copy(buffer);
        await within(
          new Promise<void>((resolve) => socket.write(buffer.subarray(0, size), () => resolve())),
          "a write",
        );
        buffer.fill(0xee);
        offset += size;
      }
      socket.resume().end();
      return { received: offset };
    },
  },
  {
    name: "one write of 8 MiB, other kinds of views, and nothing at all",
    async server(end) {
      const bytes = await readAll(await end.accept());
      return { length: bytes.length, sha256: sha256(bytes) };
    },
    async client(end) {
      const socket = await end.connect();
      const huge = Buffer.alloc(8 << 20);
      end.prng("bytes").fill(huge);
      const odd = huge.subarray(3, 100_004);
      socket.write("");
      socket.write(Buffer.alloc(0));
      socket.write(huge);
      socket.write(new Uint8Array(odd.buffer, odd.byteOffset, odd.length));
      socket.end(Buffer.alloc(0));
      return { length: huge.length + odd.length, sha256: sha256(Buffer.concat([huge, odd])) };
    },
  },
  {
    name: "bytesRead and bytesWritten while bytes are under way",
    async server(end) {
      const socket = await end.accept();
      await happens(socket, "data", "the first chunk");
      const first = socket.bytesRead;
      assert.ok(first > 0);
      socket.write("reply");
      await readAll(socket);
      return { bytesRead: socket.bytesRead, bytesWritten: socket.bytesWritten };
    },
    async client(end) {
      const socket = end.dial();
      socket.write("before connect \u20ac");
      const pending = socket.bytesWritten;
      await happens(socket, "connect");
      const [reply] = (await happens(socket, "data", "the reply")) as [Buffer];
      socket.cork();
      socket.write(Buffer.alloc(1000));
      socket.write("\u20ac".repeat(10), "utf8");
      const corked = socket.bytesWritten;
      socket.uncork();
      socket.end("z");
      await happens(socket, "close");
      return { pending, reply: String(reply), corked, bytesRead: socket.bytesRead, bytesWritten: socket.bytesWritten };
    },
  },
  {
    name: "2,000 small messages back and forth",
    serve: { noDelay: true },
    dial: { noDelay: true },
    async server(end) {
      const socket = await end.accept();
      socket.on("data", (chunk: Buffer) => socket.write(chunk));
      await happens(socket, "end", "the end");
      return { bytesRead: socket.bytesRead, bytesWritten: socket.bytesWritten };
    },
    async client(end) {
      const socket = await end.connect();
      const verifier = end.verifier("bytes");
      const sequence = end.sequence("bytes");
      const sizes = end.prng("sizes");
      let sent = 0;
      let left = 2_000;
      const next = () => {
        if (left-- === 0) {
          socket.end();
          return;
        }
        const size = sizes.between(1, 100);
        socket.write(sequence.span(sent, size));
        sent += size;
      };
      eachChunk(socket, (chunk) => {
        verifier.push(chunk);
        if (verifier.received === sent) next();
      });
      next();
      await happens(socket, "end", "the end");
      return { bytesRead: socket.bytesRead, bytesWritten: socket.bytesWritten };
    },
  },
  {
    name: "messages with pauses in which both loops go to sleep",
    async server(end) {
      const socket = await end.accept();
      socket.on("data", (chunk: Buffer) => setTimeout(() => socket.write(chunk), 4));
      await happens(socket, "end", "the end");
      return {};
    },
    async client(end) {
      const socket = await end.connect();
      const echoes: string[] = [];
      for (let i = 0; i < 8; i++) {
        socket.write(`message ${i}`);
        const [echo] = (await happens(socket, "data", `echo ${i}`)) as [Buffer];
        echoes.push(String(echo));
        await new Promise((resolve) => setTimeout(resolve, 4));
      }
      socket.end();
      return { echoes };
    },
  },
];
