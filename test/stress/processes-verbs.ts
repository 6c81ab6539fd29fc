/**
 * What a party can be asked: listening and connecting, speaking and hearing, dying in many ways, and counting what it holds.
 *
 * Owns the sockets, servers and Workers of a party or of a thread of one. Who asks, and what the answers mean, is the test's.
 */
import cluster from "node:cluster";
import { once } from "node:events";
import { closeSync, createReadStream, openSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { createRequire } from "node:module";
import type { AddressInfo, ListenOptions, Server, Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { arenaGid } from "../../src/engine/memory.js";
import { PairTable } from "../../src/engine/pair-table.js";
import * as smc from "../../src/index.js";
import { threadContext } from "../../src/net/context.js";
import { diagnosisName } from "../../src/wire/clc-diagnosis.js";
import { closed } from "../support/pair.js";
import { type TransportName, transport } from "../support/transports.js";
import { happens, until, WATCHDOG_MS, within } from "../support/watchdog.js";
import { End, type Outcome } from "./processes-ends.js";

/** What one process holds. */
export interface Census {
  readonly descriptors: number;
  /** Mappings of memfds of ours. */
  readonly memfds: number;
  /** Mappings and descriptors of files in /dev/shm. */
  readonly devShm: number;
  /** Blocks of the arena. */
  readonly freeBlocks: number;
  /** Entries of the pair table in use. */
  readonly pairs: number;
  readonly connections: number;
  /** Doorbells that came too late: must be 0. */
  readonly rescued: number;
}

export interface Carried {
  readonly mode: string;
  readonly device: string;
  /** Name of the fallback's reason; `peer` before what the peer's Decline says. */
  readonly why: string;
}

/** `reusePort` is from Node 22.12 and 23.1. */
export type Listening = ListenOptions & { readonly reusePort?: boolean };

export type Died = "exit" | "throw" | "exec";

const ends = new Map<string, End>();
const servers: Server[] = [];
/** Of `keep`, until echoKept. */
const kept: End[] = [];
/** Of `serve` and `keep`. */
const keptOpen = new Set<Socket>();
let everServed = 0;
const accepted: End[] = [];
const awaited: ((end: End) => void)[] = [];
const workers: Worker[] = [];

function endOf(name: string): End {
  const end = ends.get(name);
  if (end === undefined) throw new Error(`no end "${name}"`);
  return end;
}

function carried(socket: Socket): Carried {
  const told = socket.smc;
  const { name = "", peerDiagnosis } = told?.fallback ?? {};
  const why = peerDiagnosis === undefined ? name : `peer ${diagnosisName(peerDiagnosis)}`;
  return { mode: told?.mode ?? "net", device: told?.device ?? "", why };
}

/** A socket may have failed before anybody asked for it. */
async function nextAccepted(): Promise<End> {
  const ready = accepted.shift();
  return ready ?? within(new Promise<End>((resolve) => awaited.push(resolve)), "a connection to accept");
}

const inTable = (): number => {
  const arena = threadContext().arena;
  return arena === undefined ? 0 : [...new PairTable(arena.reservation.memory).used()].length;
};

/** Numbers and files of all open descriptors, but that of the listing itself. */
function descriptors(): [string, string][] {
  return readdirSync("/proc/self/fd").flatMap((number): [string, string][] => {
    try {
      return [[number, readlinkSync(`/proc/self/fd/${number}`)]];
    } catch {
      return [];
    }
  });
}

function census(): Census {
  // First, for it makes the stack where there is none yet.
  const freeBlocks = smc.poolFreePages();
  const open = descriptors();
  const maps = readFileSync("/proc/self/maps", "utf8").split("\n");
  return {
    descriptors: open.length,
    memfds: maps.filter((line) => line.includes("memfd:smcnet")).length,
    devShm: [...open.map(([, file]) => file), ...maps].filter((line) => line.includes("/dev/shm/")).length,
    freeBlocks,
    pairs: inTable(),
    connections: smc.sockets().filter(({ mode, conn }) => mode === "SMCD" && conn !== undefined).length,
    rescued: smc.stats().doorbellRescued,
  };
}

/** Turns of the event loop for so long: a moment to be struck at, in microseconds from now. */
async function turns(us: number): Promise<void> {
  const until = performance.now() + us / 1000;
  while (performance.now() < until) await new Promise((resolve) => setImmediate(resolve));
}

/** Replaces the program of this process by another one, which does nothing. */
function exec(): never {
  const koffi = createRequire(import.meta.url)("koffi") as {
    load(name: string): { func(signature: string): (path: string, argv: (string | null)[]) => number };
  };
  const execv = koffi.load("libc.so.6").func("int execv(const char *path, const char **argv)");
  execv("/bin/sleep", ["sleep", String(WATCHDOG_MS / 1000), null]);
  throw new Error("execv returned");
}

export const verbs = {
  /** Listens on 127.0.0.1; what comes is paused and waits to be asked for. Returns: the port. */
  async listen(carrier: TransportName, options: Listening = {}): Promise<number> {
    const { server: module, smc: overrides } = transport(carrier);
    const server = module.createServer({ smc: overrides, pauseOnConnect: true, allowHalfOpen: true });
    server.on("connection", (socket: Socket) => {
      const end = new End(socket);
      const waiting = awaited.shift();
      if (waiting === undefined) accepted.push(end);
      else waiting(end);
    });
    server.listen({ port: 0, host: "127.0.0.1", backlog: 1024, ...options });
    await happens(server, "listening");
    servers.push(server);
    return (server.address() as AddressInfo).port;
  },

  /** Listens and sends back to everybody what comes. Returns: the port. */
  async serve(carrier: TransportName, options: Listening = {}): Promise<number> {
    const { server: module, smc: overrides } = transport(carrier);
    const server = module.createServer({ smc: overrides });
    server.on("connection", (socket: Socket) => {
      everServed++;
      keptOpen.add(socket);
      socket.on("error", () => undefined);
      socket.on("close", () => keptOpen.delete(socket));
      socket.pipe(socket);
    });
    server.listen({ port: 0, host: "127.0.0.1", backlog: 1024, ...options });
    await happens(server, "listening");
    servers.push(server);
    return (server.address() as AddressInfo).port;
  },

  /** Makes this party the primary of a cluster of `count` workers that echo on one port. Returns: the port. */
  async cluster(count: number): Promise<number> {
    const exec = fileURLToPath(new URL("../stress/processes-cluster.child.mjs", import.meta.url));
    let port = 0;
    cluster.setupPrimary({ exec });
    for (let started = 0; started < count; started++) {
      [port] = (await happens(cluster.fork(), "message", "a cluster worker to listen")) as [number];
    }
    return port;
  },

  /** Connections that `serve` has had. */
  served(): number {
    return everServed;
  },

  /** The next connection that came, from now on called `name`. */
  async accept(name: string): Promise<Carried> {
    const end = await nextAccepted();
    ends.set(name, end);
    return carried(end.socket);
  },

  /** A paused connection to `port`, called `name`. Errors: rejects when it cannot be made. */
  async dial(name: string, carrier: TransportName, port: number): Promise<Carried> {
    const { client: module, smc: overrides } = transport(carrier);
    const socket = module.connect({ port, host: "127.0.0.1", allowHalfOpen: true, smc: overrides });
    socket.pause();
    const end = new End(socket);
    ends.set(name, end);
    await happens(socket, "connect", `a connection to port ${port}`);
    return carried(socket);
  },

  /** Makes `count` connections to `port`, one after the other, for echoKept. Returns: how many by what. */
  async keep(carrier: TransportName, port: number, count: number): Promise<Record<string, number>> {
    const { client: module, smc: overrides } = transport(carrier);
    const seen: Record<string, number> = {};
    for (let made = 0; made < count; made++) {
      const socket = module.connect({ port, host: "127.0.0.1", smc: overrides });
      keptOpen.add(socket);
      socket.on("close", () => keptOpen.delete(socket));
      const end = new End(socket);
      await happens(socket, "connect", `connection ${made} of ${count} to port ${port}`);
      const { mode, device, why } = carried(socket);
      const key = `${mode} ${device}${why}`;
      seen[key] = (seen[key] ?? 0) + 1;
      kept.push(end);
    }
    return seen;
  },

  /** Sends `bytes` by each connection that was kept, and has them back; then they are closed. Returns: how many there were. */
  async echoKept(bytes: number): Promise<number> {
    const all = kept.splice(0);
    await Promise.all(
      all.map(async (end, index) => {
        const label = `echo ${process.pid} ${index}`;
        end.hears(label);
        await end.say(label, bytes, true);
        const { events, received } = await end.outcome();
        if (received !== bytes || events.includes("error"))
          throw new Error(`echo ${index}: ${received} bytes, ${events}`);
      }),
    );
    return all.length;
  },

  /** `count` connections to `port` that each send `bytes` and want them back, all at once. Returns: how many by what. */
  async echoes(carrier: TransportName, port: number, count: number, bytes: number): Promise<Record<string, number>> {
    const each = await Promise.all(Array.from({ length: count }, () => verbs.keep(carrier, port, 1)));
    await verbs.echoKept(bytes);
    const seen: Record<string, number> = {};
    for (const [how] of each.flatMap((one) => Object.entries(one))) seen[how] = (seen[how] ?? 0) + 1;
    return seen;
  },

  /** Connects until SMC carries it: who missed somebody leaves it to TCP for a while. */
  async met(carrier: TransportName, port: number): Promise<void> {
    const { client: module, smc: overrides } = transport(carrier);
    const once = async (): Promise<boolean> => {
      const socket = module.connect({ port, host: "127.0.0.1", smc: overrides });
      await happens(socket, "connect", `a connection to port ${port}`);
      const { mode } = carried(socket);
      socket.destroy();
      await within(closed(socket), "the close");
      return mode === "SMCD";
    };
    const trying = async (): Promise<void> => {
      while (!(await once())) {
        // Once more.
      }
    };
    await within(trying(), `a connection to port ${port} over SMC`);
  },

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
    const end = endOf(name);
    ends.delete(name);
    end.hears(label);
    return end.outcome();
  },

  end(name: string): void {
    endOf(name).socket.end();
  },

  destroy(name: string): Promise<void> {
    const { socket } = endOf(name);
    ends.delete(name);
    socket.destroy();
    return within(closed(socket), `the close of "${name}"`);
  },

  /** Ends with `bytes` of the stream `label` and goes in the same turn. */
  endAndExit(name: string, label: string, bytes: number): void {
    endOf(name).ending(label, bytes);
    process.exit();
  },

  /** The program of this party ends, in the middle of whatever it does. */
  die(way: Died): void {
    if (way === "exit") process.exit();
    if (way === "exec") exec();
    setImmediate(() => {
      // What it says about it is of no interest: from here on descriptor 2 is another file.
      closeSync(2);
      openSync("/dev/null", "w");
      throw new Error("on purpose");
    });
  },

  /** Kills process `pid` in `us` microseconds, and hears end `name` out. `ms`: from the kill to the first event. */
  async strike(name: string, label: string, pid: number, us: number): Promise<Outcome & { readonly ms: number }> {
    const end = endOf(name);
    ends.delete(name);
    end.hears(label);
    await turns(us);
    const killed = performance.now();
    process.kill(pid, "SIGKILL");
    const outcome = await end.outcome();
    return { ...outcome, ms: end.overAt - killed };
  },

  /** Connects and kills itself in `us` microseconds, whatever has become of it. */
  async dialAndDie(carrier: TransportName, port: number, us: number): Promise<void> {
    const { client: module, smc: overrides } = transport(carrier);
    module.connect({ port, host: "127.0.0.1", smc: overrides }).on("error", () => undefined);
    await turns(us);
    process.kill(process.pid, "SIGKILL");
  },

  /** Connects to a process and kills it in `us` microseconds. Returns: what became of the connection. */
  async dialAndKill(carrier: TransportName, port: number, pid: number, us: number): Promise<Outcome> {
    const { client: module, smc: overrides } = transport(carrier);
    const end = new End(module.connect({ port, host: "127.0.0.1", smc: overrides }));
    await turns(us);
    process.kill(pid, "SIGKILL");
    return end.outcome();
  },

  /** All that was accepted, and nobody asked for, heard out. */
  async settle(): Promise<Outcome[]> {
    return Promise.all(accepted.splice(0).map((end) => end.outcome()));
  },

  census,

  /** The process's own, 16 hexadecimal digits. */
  gid(): string {
    const arena = threadContext().arena;
    return arena === undefined ? "" : arenaGid(arena.reservation.memory).toString(16).padStart(16, "0");
  },

  /** Resolves once this thread uses no pair any more, whatever other threads do. */
  left(): Promise<void> {
    const { stack, arena } = threadContext();
    const table = new PairTable(arena!.reservation.memory);
    return until(() => [...table.used()].every((pair) => !table.uses(pair, stack!.slot)), "the pairs to be left");
  },

  /** A census once all peers are gone: it equals `wanted` in every field that this one has. */
  async settled(wanted: Partial<Census>): Promise<Census> {
    let now = census();
    const same = (): boolean => {
      now = census();
      return Object.entries(wanted).every(([field, value]) => now[field as keyof Census] === value);
    };
    await until(same, "everything to be given back").catch((error: Error) => {
      const open = descriptors().map(([number, file]) => `${number} ${file}`);
      throw new Error(`${error.message}; wanted ${JSON.stringify(wanted)}, there is ${JSON.stringify(now)}, ${open}`);
    });
    return now;
  },

  /** Starts a thread. Returns: its number, for `inWorker`. */
  async addWorker(): Promise<number> {
    const worker = new Worker(new URL("../stress/processes.worker.mjs", import.meta.url));
    await happens(worker, "online", "a Worker to start");
    return workers.push(worker) - 1;
  },

  /** Asks a thread of this party. */
  async inWorker(index: number, verb: string, ...args: unknown[]): Promise<unknown> {
    const worker = workers[index]!;
    const id = nextQuestion++;
    worker.postMessage({ id, verb, args });
    const answered = async (): Promise<Reply> => {
      for (;;) {
        const [reply] = (await once(worker, "message")) as [Reply];
        if (reply.id === id) return reply;
      }
    };
    const { value, error } = await within(answered(), `a Worker's answer to "${verb}"`, 2 * WATCHDOG_MS);
    if (error !== undefined) throw new Error(`in a Worker: ${error}`);
    return value;
  },

  async endWorker(index: number): Promise<void> {
    await within(workers[index]!.terminate(), "the end of a Worker");
  },

  /** Closes what there is; the process then has to end by itself. */
  leave(): void {
    process.exitCode = 0;
    for (const server of servers) server.close();
    for (const socket of [...[...ends.values(), ...accepted].map((end) => end.socket), ...keptOpen]) socket.destroy();
    for (const worker of workers) void worker.terminate();
    for (const worker of Object.values(cluster.workers ?? {})) worker!.disconnect();
    process.disconnect();
    // Then nobody may have to wait for it, or to clear up after it.
    setTimeout(() => process.kill(process.pid, "SIGKILL"), WATCHDOG_MS).unref();
  },
};

let nextQuestion = 0;

export type Verbs = typeof verbs;
export type Verb = keyof Verbs;

/** A question, and its answer. */
export interface Asked {
  readonly id: number;
  readonly verb: Verb;
  readonly args: unknown[];
}
export interface Reply {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: string;
}

export async function answer({ id, verb, args }: Asked): Promise<Reply> {
  try {
    const value = await (verbs[verb] as (...given: unknown[]) => unknown)(...args);
    return { id, value };
  } catch (error) {
    return { id, error: String((error as Error).stack) };
  }
}
