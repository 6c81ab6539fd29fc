/**
 * A process that does one thing with sockets and must then go by itself, or go in the middle of it.
 *
 * Owns the things it can be asked to do: argv is the transport, the thing, and a port where it needs one. What it saw goes to stdout.
 * The main side is ending.test.ts.
 */
import type { AddressInfo, Socket } from "node:net";
import { Worker } from "node:worker_threads";
import { closed, connectPair, dial, listen } from "../support/pair.js";
import { type TransportName, transport } from "../support/transports.js";
import { happens } from "../support/watchdog.js";
import type { EndingTask } from "./ending.worker.js";

const [name, thing, port] = process.argv.slice(2);
const carrier = transport(name as TransportName);

const THINGS: Record<string, () => Promise<void>> = {
  /** Open, idle and unref'd: nothing holds the process. */
  async unref() {
    const { server, client, accepted } = await connectPair(carrier);
    client.write("one");
    const [one] = (await happens(accepted, "data")) as [Buffer];
    accepted.write("two");
    const [two] = (await happens(client, "data")) as [Buffer];
    process.stdout.write(`${one} ${two}`);
    for (const item of [server, client, accepted]) item.unref();
  },
  /** Unref'd sockets still work for as long as something else holds the process. */
  async unrefWorks() {
    const { server, client, accepted } = await connectPair(carrier);
    for (const item of [server, client, accepted]) item.unref();
    const hold = setTimeout(() => undefined, 1_000_000);
    client.on("data", (chunk: Buffer) => {
      process.stdout.write(chunk);
      clearTimeout(hold);
    });
    accepted.on("data", (chunk: Buffer) => accepted.write(chunk));
    client.write("echo");
  },
  /** Unref'd before there is a connection, then ref'd again: the answer is waited for. */
  async refAgain() {
    const [server, at] = await listen(carrier);
    server.on("connection", (socket: Socket) => {
      server.close();
      setTimeout(() => socket.end("late answer"), 20).unref();
    });
    const client = dial(carrier, at);
    client.unref();
    client.ref();
    client.on("data", (chunk: Buffer) => void process.stdout.write(chunk));
  },
  /** All was closed in order: nothing holds the process. */
  async closed() {
    const { server, client, accepted } = await connectPair(carrier);
    client.resume().end("bye");
    accepted.resume();
    await Promise.all([closed(client), closed(accepted)]);
    server.close();
    process.stdout.write("closed");
  },
  /** A socket that reads holds the process until its peer, in a Worker that ends, has sent all. */
  async waits() {
    const [server, at] = await listen(carrier);
    const task: EndingTask = { transport: carrier.name, port: at, way: "endAndExit", stream: "waits", length: 1_000 };
    new Worker(new URL("../net/ending.worker.mjs", import.meta.url), { workerData: task }).unref();
    const [socket] = (await happens(server, "connection")) as [Socket];
    server.close();
    socket.on("data", (chunk: Buffer) => void process.stdout.write(String(chunk.length)));
  },
  /** end(data) and process.exit() in one turn; the peer is another process. */
  async endAndExit() {
    const client = dial(carrier, Number(port));
    await happens(client, "connect");
    client.end("the last words");
    process.exit();
  },
  /** The same in one process: nobody is left to see it, and nothing may go wrong. */
  async exitWithPair() {
    const { client, server } = await connectPair(carrier);
    process.stdout.write(`port ${(server.address() as AddressInfo).port > 0}`);
    client.end("into the void");
    process.exit();
  },
};

await THINGS[thing!]!();
