/**
 * The other ends of unix sockets: reached without waiting, asked who they are, told from what is no unix stream, and
 * waited for. Skipped where libc is missing.
 */
import { spawn } from "node:child_process";
import { closeSync, fstatSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { libcFunction, loadLibc } from "../../src/host/libc.js";
import { createMemfd } from "../../src/host/memfd.js";
import {
  connectUnix,
  drain,
  duplicate,
  isUnixStream,
  peerCredentials,
  receiveFrame,
  sendFrame,
  waitReadable,
} from "../../src/host/unix-socket.js";
import { skip } from "../support/missing.js";
import { happens, WATCHDOG_MS } from "../support/watchdog.js";
import { closeAll, descriptorOf, errorOf, isCloseOnExec, openDescriptors } from "./descriptors.js";

const test = suite("unix-peer");
const loaded = loadLibc();

const RANGE = 65_536;

/** What is received, as text. */
function received(descriptor: number): string {
  const frame = Buffer.alloc(100);
  const got = receiveFrame(descriptor, frame);
  return typeof got === "string" ? `(${got})` : frame.toString("latin1", 0, got.length);
}

if ("reason" in loaded) {
  skip(test, "all of it", `no libc: ${loaded.reason}`);
} else {
  const folder = mkdtempSync(join(tmpdir(), "smcnet-unix-"));
  test.after(() => rmSync(folder, { recursive: true }));

  const pair = (): [number, number] => loaded.libc.socketpair()!;
  /** A listener that holds up nobody's end, and neither do its connections. */
  const listen = async (at: { path: string } | { port: number }, backlog = 100): Promise<Server> => {
    const server = createServer((accepted) => accepted.unref());
    server.unref().listen({ ...at, backlog });
    await happens(server, "listening");
    return server;
  };
  const makePair = libcFunction<(domain: number, type: number, protocol: number, target: Int32Array) => number>(
    "int socketpair(int domain, int type, int protocol, void *pair)",
  );
  const makePipe = libcFunction<(target: Int32Array) => number>("int pipe(void *pair)");

  test("a connection is made at once, non-blocking and close-on-exec, and carries frames both ways", async () => {
    const path = join(folder, "server");
    const server = await listen({ path });
    const accepting = happens(server, "connection");
    const client = connectUnix(path)!;
    assert.ok(client > 2 && isCloseOnExec(client));
    assert.is(received(client), "(empty)");
    assert.is(sendFrame(client, Buffer.from("to node")), "sent");
    const [accepted] = (await accepting) as [Socket];
    const [data] = await happens(accepted, "data");
    assert.is(String(data), "to node");
    accepted.write("from node");
    assert.ok(waitReadable(client, WATCHDOG_MS));
    assert.is(received(client), "from node");
    closeSync(client);
    await happens(accepted, "close");
    server.close();
  });

  test("where nobody listens there is no connection, and no descriptor stays", async () => {
    const path = join(folder, "stale");
    const server = await listen({ path });
    const before = openDescriptors();
    assert.is(connectUnix(join(folder, "missing")), undefined);
    assert.is(connectUnix(folder), undefined, "a folder");
    assert.is(connectUnix(process.execPath), undefined, "a file");
    const gone = duplicate(descriptorOf(server));
    server.close();
    closeSync(gone);
    assert.is(connectUnix(path), undefined);
    assert.is(openDescriptors(), before - 1);
  });

  test("a listener that does not accept is not waited for", async () => {
    const path = join(folder, "busy");
    const server = await listen({ path }, 1);
    const clients: number[] = [];
    for (;;) {
      const client = connectUnix(path);
      if (client === undefined) break;
      clients.push(client);
      assert.ok(clients.length < 1000, "a backlog is finite");
    }
    assert.ok(clients.length > 0);
    closeAll(clients);
    server.close();
  });

  test("a path of 107 bytes is reached, a longer one or none is refused", async () => {
    const path = join(folder, "p").padEnd(107, "p");
    const server = await listen({ path });
    closeSync(connectUnix(path)!);
    server.close();
    const accented = "é".repeat(54);
    for (const wrong of [`${path}p`, accented, "", "a\0b"]) {
      assert.is(errorOf(() => connectUnix(wrong)).code, "EINVAL", wrong);
    }
  });

  test("the peer's credentials are those of its process, to the listener and to the one who connects", async () => {
    const path = join(folder, "credentials");
    const server = await listen({ path });
    const accepting = happens(server, "connection");
    const script = `require("node:net").connect(${JSON.stringify(path)}).resume()`;
    const child = spawn(process.execPath, ["-e", script], { stdio: "ignore" });
    const ended = happens(child, "exit");
    const [accepted] = (await accepting) as [Socket];
    const uid = process.getuid!();
    const gid = process.getgid!();
    assert.equal(peerCredentials(descriptorOf(accepted)), { uid, gid, pid: child.pid });
    const client = connectUnix(path)!;
    assert.equal(peerCredentials(client), { uid, gid, pid: process.pid });
    closeSync(client);
    accepted.destroy();
    await ended;
    server.close();
  });

  test("what has no peer process has no credentials: a TCP socket, a pipe, a closed descriptor", async () => {
    const server = await listen({ port: 0 });
    const target = new Int32Array(2);
    assert.is(makePipe(target), 0);
    for (const descriptor of [descriptorOf(server), target[0]!, -1]) {
      assert.is(peerCredentials(descriptor), undefined);
    }
    closeAll(target);
    server.close();
  });

  test("a unix stream is told from all that a peer may pass instead of one", async () => {
    const server = await listen({ port: 0 });
    const pipe = new Int32Array(2);
    assert.is(makePipe(pipe), 0);
    const streams = pair();
    for (const stream of streams) assert.ok(isUnixStream(stream));
    const others = [...pipe, openSync(process.execPath, "r"), createMemfd("no socket", RANGE)];
    for (const type of [2, 5]) {
      const target = new Int32Array(2);
      assert.is(makePair(1, type, 0, target), 0);
      others.push(...target);
    }
    for (const other of [...others, descriptorOf(server), -1]) assert.not(isUnixStream(other), `${other}`);
    closeAll(streams, others);
    server.close();
  });

  test("a duplicate is the same open file, outlives the first descriptor, and is close-on-exec", () => {
    const [one, other] = pair();
    const copy = duplicate(one);
    assert.ok(copy > 2 && copy !== one && isCloseOnExec(copy));
    assert.is(fstatSync(copy).ino, fstatSync(one).ino);
    closeSync(one);
    assert.is(sendFrame(copy, Buffer.from("still")), "sent");
    assert.is(received(other), "still");
    closeAll([copy, other]);
    assert.equal(errorOf(() => duplicate(-1)).values, { call: "fcntl", errno: "EBADF" });
  });

  test("a wait ends when it is over, when bytes are there, and at the end of the stream", () => {
    const [one, other] = pair();
    assert.not(waitReadable(other, 0));
    const start = performance.now();
    assert.not(waitReadable(other, 20));
    assert.ok(performance.now() - start >= 19, "it waited");
    writeSync(one, "x");
    assert.ok(waitReadable(other, WATCHDOG_MS));
    drain(other);
    assert.not(waitReadable(other, 0));
    closeSync(one);
    assert.ok(waitReadable(other, WATCHDOG_MS));
    closeSync(other);
  });

  test("another thread ends a wait; a signal before it does not", async () => {
    const [one, other] = pair();
    process.on("SIGWINCH", () => {});
    // The thread sends its signals while the main thread sleeps, as far as the kernel says: in its wait.
    const script = `
      const { workerData: fd } = require("node:worker_threads");
      const { readFileSync, writeSync } = require("node:fs");
      const asleep = () => / S /.test(readFileSync("/proc/self/task/" + process.pid + "/stat", "latin1"));
      writeSync(fd, "1");
      for (let i = 0; i < 20; i++) {
        for (let looks = 0; looks < 10_000 && !asleep(); looks++);
        process.kill(process.pid, "SIGWINCH");
      }
      writeSync(fd, "2");`;
    const worker = new Worker(script, { eval: true, workerData: one });
    const ended = happens(worker, "exit");
    let text = "";
    while (text.length < 2) {
      assert.ok(waitReadable(other, WATCHDOG_MS));
      text += received(other);
    }
    assert.is(text, "12");
    await ended;
    process.removeAllListeners("SIGWINCH");
    closeAll([one, other]);
  });

  test("a wait for what is no descriptor, or with a limit that is none, is refused", () => {
    const [one, other] = pair();
    for (const limit of [Number.NaN, -1, Number.POSITIVE_INFINITY, 2 ** 31]) {
      assert.is(errorOf(() => waitReadable(one, limit)).code, "EINVAL", `${limit}`);
    }
    closeAll([one, other]);
    assert.equal(errorOf(() => waitReadable(one, 0)).values, { call: "poll", errno: "EBADF" });
  });

  test("a drained socket is empty, with descriptors that came gone; one that is empty or at its end is left alone", () => {
    const [one, other] = pair();
    drain(other);
    const before = openDescriptors();
    for (let i = 0; i < 20; i++) {
      assert.ok(loaded.libc.ring(one));
      assert.is(sendFrame(one, Buffer.from("ring"), one), "sent");
    }
    drain(other);
    assert.is(received(other), "(empty)");
    assert.is(openDescriptors(), before);
    closeSync(one);
    drain(other);
    assert.is(received(other), "(closed)");
    closeSync(other);
  });
}

test.run();
