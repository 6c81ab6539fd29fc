/**
 * How each socket transport listens and connects: smcd, smcd-copy, tcp, uds under one interface.
 *
 * Owns the choice of module and options, and the check that a connection is carried by what it claims. Knows nothing of
 * what is sent. A side of a baseline never loads smcnet.
 */
import { randomUUID } from "node:crypto";
import type { Server as HttpServer } from "node:http";
import * as net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { SmcOptions } from "smcnet";
import type { Transport } from "./record.js";
import type { SideSetup } from "./side.js";

/** Where a server listens: a loopback port, or the path of a unix socket. */
export type Address = { readonly port: number; readonly host: string } | { readonly path: string };

export interface SocketTransport {
  createServer(onSocket: (socket: net.Socket) => void): net.Server;
  /** The socket is not connected yet; `check` it once it is. */
  connect(address: Address, onread?: net.OnReadOpts): net.Socket;
  /** Makes an http server, not yet listening, accept this transport. */
  attach(server: HttpServer): void;
  /** Throws unless the connected socket is carried as the transport's name says. */
  check(socket: net.Socket): void;
}

export function isSocketTransport(transport: Transport): boolean {
  return transport === "smcd" || transport === "smcd-copy" || transport === "tcp" || transport === "uds";
}

/** Whether the transport's bytes travel over an SMC connection. */
export function needsSmc(transport: Transport): boolean {
  return transport === "smcd" || transport === "smcd-copy" || transport === "ring";
}

/** Whether a side is an unmodified program with the preload. */
export function isPreloaded({ transport, params, role }: Pick<SideSetup, "transport" | "params" | "role">): boolean {
  return needsSmc(transport) && params.fallback !== undefined && params.fallback !== role;
}

/** What `socket.smc` says, where there is something to say. */
const carrierOf = (socket: net.Socket) =>
  (socket as net.Socket & { smc?: { mode: string; device?: string; nocopy?: boolean } }).smc;

const plain: SocketTransport = {
  createServer: (onSocket) => net.createServer({ noDelay: true }, onSocket),
  connect: (address, onread) => net.connect({ ...address, noDelay: true, ...(onread && { onread }) }),
  attach: () => {},
  check: () => {},
};

/** With more connections than this under way, some find no room to announce themselves, and go on as TCP: that is the measurement. */
const ALL_ANNOUNCED = 512;

/** Sockets of node:net; with the preload they are carried by what the parameters promise. */
function unmodified(setup: Pick<SideSetup, "transport" | "params" | "role">): SocketTransport {
  const { fallback, connections = 1 } = setup.params;
  if (!isPreloaded(setup) || (fallback === "none" && connections > ALL_ANNOUNCED)) return plain;
  const mode = fallback === "none" ? "SMCD" : "TCP";
  return {
    ...plain,
    check(socket) {
      const carried = carrierOf(socket);
      if (carried?.mode !== mode)
        throw new Error(`${mode} was promised: socket.smc is ${JSON.stringify(carried ?? null)}`);
    },
  };
}

/** `ring` opens its ring on a nocopy smcd socket. `smc` overrides options of the connection, such as `rmem`. */
export async function loadTransport(
  setup: Pick<SideSetup, "transport" | "params" | "role">,
  smc: Partial<SmcOptions> = {},
): Promise<SocketTransport> {
  const { transport, params } = setup;
  if (!needsSmc(transport)) return plain;
  if (params.fallback !== undefined) return unmodified(setup);
  const { attach, connect, createServer } = await import("smcnet");
  const loCopy = transport === "smcd-copy";
  const device = params.contexts === "processes" ? "shm" : "lo";
  const options: Partial<SmcOptions> = { ...smc, loCopy };
  return {
    createServer: (onSocket) => createServer({ noDelay: true, smc: options }, onSocket),
    connect: (address, onread) => connect({ ...address, noDelay: true, smc: options, ...(onread && { onread }) }),
    attach: (server) => {
      attach(server, options);
    },
    check: (socket) => {
      const carried = carrierOf(socket);
      if (carried?.mode !== "SMCD" || carried.device !== device || carried.nocopy !== !loCopy)
        throw new Error(`${transport} is not carried as it claims: socket.smc is ${JSON.stringify(carried ?? null)}`);
    },
  };
}

/** Connections that may wait to be accepted: as many as a bench opens at a time. */
const BACKLOG = 4096;

/** Listen where the transport listens: a free loopback port or a fresh path. Resolves with the address. */
export function listen(transport: Transport, server: net.Server | HttpServer): Promise<Address> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    const listening = () => {
      const bound = server.address();
      if (bound === null) reject(new Error("the server was closed before it listened"));
      else resolve(typeof bound === "string" ? { path: bound } : { port: bound.port, host: "127.0.0.1" });
    };
    if (transport === "uds") server.listen(join(tmpdir(), `${randomUUID()}.sock`), listening);
    else server.listen(0, "127.0.0.1", BACKLOG, listening);
  });
}

/** A server for one connection: its address, and the socket once it has come and been checked. */
export async function acceptOne(
  setup: SideSetup,
  prepare: (socket: net.Socket) => void = () => {},
): Promise<{ address: Address; accepted: Promise<net.Socket>; server: net.Server }> {
  const way = await loadTransport(setup);
  let server!: net.Server;
  const accepted = new Promise<net.Socket>((resolve, reject) => {
    server = way.createServer((socket) => {
      try {
        way.check(socket);
        prepare(socket);
        resolve(socket);
      } catch (error) {
        reject(error);
      }
    });
  });
  accepted.catch(() => {});
  return { address: await listen(setup.transport, server), accepted, server };
}

/** A connected and checked socket. */
export async function connectOne(way: SocketTransport, address: Address, onread?: net.OnReadOpts): Promise<net.Socket> {
  const socket = way.connect(address, onread);
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", reject);
  });
  way.check(socket);
  return socket;
}
