/**
 * The connections of a party: listening and connecting in all ways, one connection by name or many at once.
 *
 * Owns the servers and sockets of a party, or of a thread of one, and the names that tests call them by.
 */
import cluster from "node:cluster";
import type { AddressInfo, ListenOptions, Server, Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { diagnosisName } from "../../src/wire/clc-diagnosis.js";
import { closed } from "../support/pair.js";
import { type TransportName, transport } from "../support/transports.js";
import { happens, within } from "../support/watchdog.js";
import { End, type Outcome } from "./processes-ends.js";

export interface Carried {
  readonly mode: string;
  readonly device: string;
  /** Name of the fallback's reason; `peer` before what the peer's Decline says. */
  readonly why: string;
}

/** `reusePort` is from Node 22.12 and 23.1. */
export type Listening = ListenOptions & { readonly reusePort?: boolean };

const ends = new Map<string, End>();
const servers: Server[] = [];
/** Of `keep`, until echoKept. */
const kept: End[] = [];
/** Of `serve` and `keep`. */
const keptOpen = new Set<Socket>();
let everServed = 0;
const accepted: End[] = [];
const awaited: ((end: End) => void)[] = [];
/** The end that is called `name`. */
export function endOf(name: string): End {
  const end = ends.get(name);
  if (end === undefined) throw new Error(`no end "${name}"`);
  return end;
}

/** The same for the last time: the name is free again. */
export function takeEnd(name: string): End {
  const end = endOf(name);
  ends.delete(name);
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

export const connecting = {
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
    const each = await Promise.all(Array.from({ length: count }, () => connecting.keep(carrier, port, 1)));
    await connecting.echoKept(bytes);
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

  /** All that was accepted, and nobody asked for, heard out. */
  async settle(): Promise<Outcome[]> {
    return Promise.all(accepted.splice(0).map((end) => end.outcome()));
  },
};

/** Closes all of them. */
export function closeConnections(): void {
  for (const server of servers) server.close();
  for (const socket of [...[...ends.values(), ...accepted].map((end) => end.socket), ...keptOpen]) socket.destroy();
  for (const worker of Object.values(cluster.workers ?? {})) worker!.disconnect();
}
