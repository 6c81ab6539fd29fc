/**
 * Scenarios about a socket beside its bytes: addresses, flags, options, timeouts, refused and cancelled connects, the server's counts.
 */
import type { AddressInfo, Socket } from "node:net";
import * as assert from "uvu/assert";
import { happens, within } from "../../support/watchdog.js";
import { errorFields, journal, readAll, type Scenario } from "../scenario.js";

/** Lets a client go, and waits for it. */
async function part(socket: Socket): Promise<void> {
  socket.resume().end();
  await journal(socket).closed();
}

/** Waits for the client to part. */
async function seeOff(socket: Socket): Promise<void> {
  socket.resume();
  await journal(socket).closed();
}

/** address() without the port, which differs from run to run. */
const addressOf = (socket: Socket) => ({ ...socket.address(), port: undefined });

const flags = (socket: Socket) => ({
  connecting: socket.connecting,
  pending: socket.pending,
  readyState: socket.readyState,
  destroyed: socket.destroyed,
  closed: socket.closed,
  writable: socket.writable,
  readable: socket.readable,
  writableEnded: socket.writableEnded,
  writableFinished: socket.writableFinished,
});

/** Symbol.asyncDispose where this Node has it. */
const ASYNC_DISPOSE = (Symbol as { asyncDispose?: symbol }).asyncDispose;
type Disposable = Record<symbol, () => Promise<void>>;

export const lifecycle: readonly Scenario[] = [
  {
    name: "addresses on both sides, during and after the connection",
    async server(end) {
      const socket = await end.accept();
      const local = end.server.address() as AddressInfo;
      assert.is(socket.localPort, local.port);
      end.tell("ports", [socket.remotePort, socket.localPort]);
      const seen = [socket.remoteAddress, socket.remoteFamily, socket.localAddress, socket.localFamily];
      await seeOff(socket);
      return { seen, after: addressOf(socket), family: local.family, address: local.address };
    },
    async client(end) {
      const socket = end.dial();
      const before = [socket.address(), socket.remoteAddress, socket.remotePort];
      await happens(socket, "connect");
      assert.equal(await end.heard("ports"), [socket.localPort, socket.remotePort]);
      assert.is(socket.remotePort, end.address.port);
      assert.is((socket.address() as AddressInfo).port, socket.localPort);
      const seen = [socket.remoteAddress, socket.remoteFamily, socket.localAddress, socket.localFamily];
      await part(socket);
      return { before, seen, after: [addressOf(socket), socket.remoteAddress] };
    },
  },
  {
    name: "flags before, during and after the connection",
    async server(end) {
      const socket = await end.accept();
      const during = flags(socket);
      await seeOff(socket);
      return { during, after: flags(socket) };
    },
    async client(end) {
      const socket = end.dial();
      const before = flags(socket);
      const seen = journal(socket);
      await happens(socket, "ready");
      const during = flags(socket);
      socket.resume().end();
      const ending = flags(socket);
      await seen.closed();
      return { before, during, ending, after: flags(socket), events: seen.events };
    },
  },
  {
    name: "socket options are taken and return the socket",
    serve: { noDelay: true, keepAlive: true, keepAliveInitialDelay: 1_000 },
    dial: { noDelay: true, keepAlive: true, keepAliveInitialDelay: 1_000 },
    async server(end) {
      const socket = await end.accept();
      await seeOff(socket);
      return { got: socket.bytesRead };
    },
    async client(end) {
      const socket = end.dial();
      const all = () =>
        [
          socket.setNoDelay(),
          socket.setNoDelay(false),
          socket.setKeepAlive(true, 500),
          socket.setKeepAlive(false),
          socket.unref(),
          socket.ref(),
          socket.setTimeout(0),
          socket.setEncoding("utf8"),
        ].every((result) => result === socket);
      const before = all();
      await happens(socket, "connect");
      const during = all();
      socket.write("x");
      await part(socket);
      return { before, during, after: all() };
    },
  },
  {
    name: "timeout is emitted when nothing moves, changes nothing, and can be switched off",
    async server(end) {
      const [idle, off] = [await end.accept(), await end.accept()];
      await end.heard("timed out");
      idle.write("still there?");
      const got = await readAll(idle);
      await seeOff(off);
      return { got: String(got) };
    },
    async client(end) {
      const idle = end.dial({ timeout: 100_000 });
      const byOption = idle.timeout;
      await happens(idle, "connect");
      const off = await end.connect();
      let fired = 0;
      off.setTimeout(20, () => fired++);
      off.setTimeout(0);
      const seen = journal(idle);
      idle.setTimeout(40);
      await happens(idle, "timeout");
      const { timeout, destroyed } = idle;
      idle.setTimeout(0);
      end.tell("timed out");
      const [reply] = (await happens(idle, "data")) as [Buffer];
      idle.end("yes");
      await seen.closed();
      await part(off);
      return { byOption, timeout, destroyed, reply: String(reply), fired, events: seen.events };
    },
  },
  {
    name: "received and sent bytes put the timeout off",
    async server(end) {
      const [receiver, sender, idle] = [await end.accept(), await end.accept(), await end.accept()];
      const beat = setInterval(() => receiver.write("."), 10);
      const timedOut = end.heard("the idle one timed out").then(() => {
        clearInterval(beat);
        receiver.end();
      });
      await Promise.all([timedOut, ...[receiver, sender, idle].map(seeOff)]);
      return {};
    },
    async client(end) {
      const limitMs = 300;
      const [receiver, sender, idle] = [await end.connect(), await end.connect(), await end.connect()];
      const last = new Map<Socket, number>();
      const early: number[] = [];
      const moved = (socket: Socket) => last.set(socket, performance.now());
      for (const socket of [receiver, sender]) {
        moved(socket);
        socket.setTimeout(limitMs, () => {
          const quietMs = performance.now() - last.get(socket)!;
          if (quietMs < limitMs / 2) early.push(quietMs);
        });
      }
      receiver.on("data", () => moved(receiver));
      const beat = setInterval(() => sender.write(".", () => moved(sender)), 10);
      idle.setTimeout(limitMs);
      await happens(idle, "timeout");
      clearInterval(beat);
      end.tell("the idle one timed out");
      await Promise.all([receiver, sender, idle].map(part));
      return { early };
    },
  },
  {
    name: "pauseOnConnect holds every byte until resume",
    serve: { pauseOnConnect: true },
    async server(end) {
      const socket = await end.accept();
      let early = 0;
      const count = () => early++;
      socket.on("data", count);
      await end.heard("written");
      await new Promise((resolve) => setImmediate(resolve));
      socket.off("data", count);
      const before = [socket.isPaused(), socket.bytesRead, early];
      socket.resume();
      return { before, got: String(await readAll(socket)) };
    },
    async client(end) {
      const socket = await end.connect();
      await within(
        new Promise((resolve) => socket.end("held back", () => resolve(undefined))),
        "the end to be flushed",
      );
      end.tell("written");
      await part(socket);
      return {};
    },
  },
  {
    name: "a refused connect tells code, syscall, address and port",
    async server(end) {
      await seeOff(await end.accept());
      const closing = happens(end.server, "close");
      end.server.close();
      await closing;
      end.tell("closed");
      return {};
    },
    async client(end) {
      await part(await end.connect());
      await end.heard("closed");
      const socket = end.dial();
      const seen = journal(socket);
      let port: number | undefined;
      socket.once("error", (error: Error & { port?: number }) => {
        port = error.port;
      });
      const called = within(
        new Promise<Error | null | undefined>((resolve) => socket.write("x", resolve)),
        "the callback",
      );
      await seen.closed();
      assert.is(port, end.address.port);
      return { error: seen.error, events: seen.events, called: errorFields((await called)!), flags: flags(socket) };
    },
  },
  {
    name: "destroy, resetAndDestroy and an abort in the turn of the connect",
    async server(end) {
      end.eachConnection((socket) => socket.on("error", () => undefined).resume());
      await end.heard("all closed");
      return { listening: end.server.listening };
    },
    async client(end) {
      const controller = new AbortController();
      const ways: [() => Socket, (socket: Socket) => void][] = [
        [() => end.dial(), (socket) => socket.destroy()],
        [() => end.dial(), (socket) => socket.destroy(new Error("on purpose"))],
        [() => end.dial(), (socket) => socket.resetAndDestroy()],
        [() => end.dial({ signal: controller.signal }), () => controller.abort()],
      ];
      const seen = [];
      for (const [start, cancel] of ways) {
        const socket = start();
        const story = journal(socket);
        cancel(socket);
        await story.closed();
        seen.push({ events: story.events, error: story.error, flags: flags(socket) });
      }
      end.tell("all closed");
      return { seen };
    },
  },
  {
    name: "an AbortSignal ends an established connection",
    async server(end) {
      const socket = await end.accept();
      const seen = journal(socket);
      const got = await readAll(socket);
      await seen.closed();
      return { got: String(got), events: seen.events };
    },
    async client(end) {
      const controller = new AbortController();
      const socket = end.dial({ signal: controller.signal });
      const seen = journal(socket);
      await happens(socket, "connect");
      await new Promise((resolve) => socket.write("one", resolve));
      controller.abort();
      await seen.closed();
      return { events: seen.events, error: seen.error };
    },
  },
  {
    name: "Symbol.asyncDispose closes sockets and servers",
    async server(end) {
      const socket = await end.accept();
      const seen = journal(socket);
      const got = await readAll(socket);
      await seen.closed();
      if (ASYNC_DISPOSE !== undefined) await (end.server as unknown as Disposable)[ASYNC_DISPOSE]!();
      return { got: String(got), events: seen.events, listening: end.server.listening };
    },
    async client(end) {
      const socket = await end.connect();
      const seen = journal(socket);
      await new Promise((resolve) => socket.write("used", resolve));
      if (ASYNC_DISPOSE === undefined) socket.destroy();
      else await (socket as unknown as Disposable)[ASYNC_DISPOSE]!();
      await seen.closed();
      return { events: seen.events, error: seen.error };
    },
  },
  {
    name: "maxConnections drops the connections beyond it, getConnections counts the others",
    async server(end) {
      end.server.maxConnections = 2;
      const drops: unknown[] = [];
      end.server.on("drop", (data?: object) => drops.push(Object.keys(data ?? {}).sort()));
      end.tell("limited");
      const sockets = [await end.accept(), await end.accept()];
      await end.heard("three were turned away");
      const count = await new Promise((resolve) => end.server.getConnections((_, number) => resolve(number)));
      end.tell("counted");
      await Promise.all(sockets.map(seeOff));
      const after = await new Promise((resolve) => end.server.getConnections((_, number) => resolve(number)));
      return { drops, count, after };
    },
    async client(end) {
      await end.heard("limited");
      const kept = [await end.connect(), await end.connect()];
      const stories = [];
      for (let i = 0; i < 3; i++) {
        const socket = end.dialUnwelcome();
        const seen = journal(socket);
        socket.resume();
        await seen.closed();
        stories.push([seen.events, seen.error]);
      }
      end.tell("three were turned away");
      await end.heard("counted");
      await Promise.all(kept.map(part));
      return { stories };
    },
  },
];
