/**
 * Scenarios with many sockets at once: none gets another's bytes, context or failure.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import type { Socket } from "node:net";
import * as assert from "uvu/assert";
import { until, within } from "../../support/watchdog.js";
import { type ClientEnd, type Journal, journal, type Scenario, type ServerEnd } from "../scenario.js";

/** Sockets of the largest crowd; each has two ends. */
const CROWD = 1_000;

/** Sockets that connect at once. A larger wave keeps the loop so busy that the ends give each other up: see rendezvous.test.ts. */
const WAVE = 16;

/** What socket `index` sends: its own number and bytes of its own. */
function message(index: number): Buffer {
  const bytes = Buffer.alloc(8 + ((index * 37) % 3_000), index & 0xff);
  bytes.writeUInt32BE(index, 0);
  bytes.writeUInt32BE(bytes.length, 4);
  return bytes;
}

/** Calls back with the message once a socket has sent a whole one. */
function onMessage(socket: Socket, take: (bytes: Buffer) => void): void {
  let got = Buffer.alloc(0);
  socket.on("data", (chunk: Buffer) => {
    got = Buffer.concat([got, chunk]);
    if (got.length >= 8 && got.length >= got.readUInt32BE(4)) {
      const whole = got;
      got = Buffer.alloc(0);
      take(whole);
    }
  });
}

/** Answers nobody before all `count` connections have asked, then answers all of them in one turn. */
async function answerTogether(end: ServerEnd, count: number): Promise<void> {
  const asked: [Socket, Buffer][] = [];
  let open = 0;
  let most = 0;
  end.eachConnection((socket) => {
    most = Math.max(most, ++open);
    socket.on("close", () => open--);
    onMessage(socket, (bytes) => asked.push([socket, bytes]));
  });
  end.tell("ready");
  await until(() => asked.length === count, `all ${count} to ask`);
  for (const [socket, bytes] of asked) socket.write(bytes);
  await until(() => open === 0, "all connections to close");
  assert.is(most, count);
}

/** Opens `count` sockets and sends each one's message in one turn. Resolves with them when all have been answered rightly. */
async function askTogether(end: ClientEnd, count: number): Promise<Socket[]> {
  await end.heard("ready");
  const sockets: Socket[] = [];
  const stories: Journal[] = [];
  while (sockets.length < count) {
    const wave = Array.from({ length: Math.min(WAVE, count - sockets.length) }, () => end.dial());
    stories.push(...wave.map(journal));
    sockets.push(...wave);
    await until(() => wave.every((socket) => !socket.connecting), "a wave to connect");
  }
  let answered = 0;
  const wrong: number[] = [];
  sockets.forEach((socket, index) => {
    onMessage(socket, (bytes) => {
      answered++;
      if (!bytes.equals(message(index))) wrong.push(index);
    });
    socket.write(message(index));
  });
  await until(() => answered === count, `all ${count} to be answered`);
  assert.equal(wrong, []);
  assert.ok(stories.every((story) => story.error === undefined));
  return sockets;
}

export const crowd: readonly Scenario[] = [
  {
    name: `${CROWD} sockets at once, all answered in one turn`,
    async server(end) {
      await answerTogether(end, CROWD);
      return {};
    },
    async client(end) {
      const sockets = await askTogether(end, CROWD);
      const stories = sockets.map(journal);
      for (const socket of sockets) socket.end();
      await Promise.all(stories.map((story) => story.closed()));
      return { events: [...new Set(stories.map((story) => story.events.join(" ")))] };
    },
  },
  {
    name: "contexts of AsyncLocalStorage stay with their socket",
    async server(end) {
      await answerTogether(end, 50);
      return {};
    },
    async client(end) {
      const storage = new AsyncLocalStorage<number>();
      const mixed: string[] = [];
      const counts = new Map<string, number>();
      const expect = (index: number, event: string) => {
        counts.set(event, (counts.get(event) ?? 0) + 1);
        if (storage.getStore() !== index) mixed.push(`${event} of ${index} in the context of ${storage.getStore()}`);
      };
      await end.heard("ready");
      const closings = Array.from({ length: 50 }, (_, index) =>
        storage.run(index, () => {
          const socket = end.dial();
          socket.on("connect", () => {
            expect(index, "connect");
            socket.write(message(index), () => expect(index, "write"));
            setTimeout(() => expect(index, "timer"), 0);
          });
          socket.once("data", () => {
            expect(index, "data");
            process.nextTick(() => expect(index, "tick"));
            void Promise.resolve().then(() => expect(index, "promise"));
          });
          onMessage(socket, () => socket.end(() => expect(index, "finish")));
          socket.on("end", () => expect(index, "end"));
          return within(
            new Promise<void>((resolve) => {
              socket.on("close", () => {
                expect(index, "close");
                resolve();
              });
            }),
            `socket ${index} to close`,
          );
        }),
      );
      await Promise.all(closings);
      assert.equal(mixed, []);
      return { counts: [...counts].sort() };
    },
  },
  {
    name: "the contexts of a server's connections",
    async server(end) {
      const storage = new AsyncLocalStorage<string>();
      const stores = new Set<string>();
      end.eachConnection((socket, index) => {
        stores.add(`connection: ${storage.getStore()}`);
        storage.run(`inside ${index % 2}`, () => {
          socket.on("data", () => stores.add(`data: ${storage.getStore()}`));
          socket.on("end", () => stores.add(`end: ${storage.getStore()}`));
          socket.write("x", () => stores.add(`write ${index % 2}: ${storage.getStore()}`));
        });
      });
      end.tell("ready");
      await end.heard("done");
      return { stores: [...stores].sort() };
    },
    async client(end) {
      await end.heard("ready");
      const sockets = await Promise.all(Array.from({ length: 10 }, () => end.connect()));
      const stories = sockets.map(journal);
      for (const socket of sockets) socket.resume().end("data");
      await Promise.all(stories.map((story) => story.closed()));
      end.tell("done");
      return {};
    },
  },
  {
    name: "a data listener that throws stalls no other socket",
    async server(end) {
      await answerTogether(end, 20);
      return {};
    },
    async client(end) {
      await end.heard("ready");
      const caught: unknown[] = [];
      const previous = process.listeners("uncaughtException");
      process.removeAllListeners("uncaughtException");
      process.on("uncaughtException", (error) => caught.push(error.message));
      try {
        const sockets = await Promise.all(Array.from({ length: 20 }, () => end.connect()));
        const answered: number[] = [];
        sockets.forEach((socket, index) => {
          socket.once("data", () => {
            if (index % 5 === 3) throw new Error(`listener of ${index}`);
          });
          onMessage(socket, (bytes) => {
            if (bytes.equals(message(index))) answered.push(index);
          });
          socket.write(message(index));
        });
        const good = sockets.flatMap((_, index) => (index % 5 === 3 ? [] : [index]));
        await until(() => caught.length === 4, "the four listeners to throw");
        await until(() => answered.length >= good.length, "all other sockets to be answered");
        const stories = sockets.map(journal);
        for (const socket of sockets) socket.end();
        await Promise.all(stories.map((story) => story.closed()));
        return {
          caught: caught.sort(),
          answered: answered.sort((a, b) => a - b),
          events: stories.map((story) => story.events.join(" ")),
        };
      } finally {
        process.removeAllListeners("uncaughtException");
        for (const listener of previous) process.on("uncaughtException", listener);
      }
    },
  },
];
