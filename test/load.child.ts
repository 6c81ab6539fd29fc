/**
 * A process that loads built copies of smcnet by path and does a job with them; it prints what it saw as one JSON object.
 *
 * Owns the jobs. What must come out is load.test.ts. Nothing of the sources is imported here: what is tested is what is shipped.
 */
import { createHash } from "node:crypto";
import { createRequire } from "node:module";
import type { AddressInfo, Server, Socket } from "node:net";
import { Worker } from "node:worker_threads";

interface Module {
  connect(port: number, host: string): Socket;
  createServer(listener: (socket: Socket) => void): Server;
  poolFreePages(): number;
  stats(): { readonly doorbellRescued: number };
}
type Core = { readonly index: Module };

/** What a job prints. */
export interface ChildReport {
  /** What carried the two ends, and why not SMC. */
  readonly modes: readonly string[];
  readonly fallbacks: readonly string[];
  /** Whether every byte came back as it was sent. */
  readonly intact: boolean;
  /** Free pages as each copy counts them while the connection is open; and after it. */
  readonly pages: readonly number[];
  readonly pagesAfter: number;
  /** Codes of the warnings, in order. */
  readonly warnings: readonly string[];
  readonly workerListeners: number;
  readonly doorbellRescued: number;
}

const load = createRequire(import.meta.url);
const [job, ...paths] = process.argv.slice(2) as [string, ...string[]];
const warnings: string[] = [];
process.on("warning", (warning) => warnings.push((warning as { code?: string }).code ?? warning.name));

const LENGTH = 3_000_000;

/** The hash of everything that comes until the end. */
function digest(socket: Socket): Promise<string> {
  const hash = createHash("sha256");
  return new Promise((resolve, reject) => {
    socket.on("data", (chunk) => hash.update(chunk));
    socket.on("end", () => resolve(hash.digest("hex")));
    socket.on("error", reject);
  });
}

function smcOf(socket: Socket | undefined): { mode: string; fallback?: { name: string } } {
  return (socket as unknown as { smc?: { mode: string; fallback?: { name: string } } }).smc ?? { mode: "none" };
}

function report(sockets: (Socket | undefined)[], intact: boolean, pages: number[], smc: Module): ChildReport {
  const told = sockets.map(smcOf);
  return {
    modes: told.map(({ mode }) => mode),
    fallbacks: told.flatMap(({ fallback }) => (fallback === undefined ? [] : [fallback.name])),
    intact,
    pages,
    pagesAfter: smc.poolFreePages(),
    warnings,
    workerListeners: process.listenerCount("worker"),
    doorbellRescued: smc.stats().doorbellRescued,
  };
}

/** The first copy serves, the last one connects: LENGTH bytes go there and come back. */
async function exchange(): Promise<ChildReport> {
  const copies = paths.map((path) => (load(path) as Core).index);
  const near = copies.at(-1)!;
  const far = copies[0]!;
  let accepted: Socket | undefined;
  const server = far.createServer((socket) => {
    accepted = socket;
    socket.pipe(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const socket = near.connect((server.address() as AddressInfo).port, "127.0.0.1");
  const returned = digest(socket);
  const bytes = Buffer.alloc(LENGTH, "the bytes of the exchange, ");
  await new Promise((resolve) => socket.once("connect", resolve));
  const pages = copies.map((copy) => copy.poolFreePages());
  socket.end(bytes);
  const intact = (await returned) === createHash("sha256").update(bytes).digest("hex");
  const ends = [socket, accepted!].map((end) => end.closed || new Promise((resolve) => end.once("close", resolve)));
  await Promise.all([...ends, new Promise((resolve) => server.close(resolve))]);
  // The sockets are closed before the last word of their connection is said.
  for (let turns = 0; turns < 1000 && far.poolFreePages() === pages[0]; turns++) await new Promise(setImmediate);
  return report([accepted, socket], intact, pages, far);
}

/** A Worker made before this thread loads smcnet connects to it later. */
async function elder(): Promise<ChildReport> {
  const worker = new Worker(
    `const { parentPort } = require("node:worker_threads");
     parentPort.once("message", ({ path, port }) => {
       const socket = require(path).index.connect(port, "127.0.0.1", () => socket.end("from an elder"));
       socket.on("close", () => parentPort.postMessage(socket.smc.mode)).resume();
     });`,
    { eval: true },
  );
  await new Promise((resolve) => worker.once("online", resolve));
  const smc = (load(paths[0]!) as Core).index;
  let accepted: Socket | undefined;
  let text = "";
  const server = smc.createServer((socket) => {
    accepted = socket;
    socket.on("data", (chunk) => {
      text += String(chunk);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const mode = new Promise((resolve) => worker.once("message", resolve));
  worker.postMessage({ path: paths[0], port: (server.address() as AddressInfo).port });
  const elderMode = await mode;
  await worker.terminate();
  server.close();
  return report([accepted], text === "from an elder" && elderMode === accepted?.smc?.mode, [], smc);
}

const jobs: Record<string, () => Promise<ChildReport>> = { exchange, elder };
const result = await jobs[job]!();
process.stdout.write(JSON.stringify(result));
