/**
 * The transports a socket test runs on: which module makes each side, with which options, and what must carry the bytes.
 *
 * Owns that table. Knows nothing of what is tested. `net` comes first: it is the reference that the others are measured against.
 */
import net from "node:net";
import * as smc from "../../src/index.js";

type SmcOption = Partial<smc.SmcOptions>;
/** Options of node:net and the one smcnet adds. */
export type DialOptions = Partial<net.TcpNetConnectOpts> & { readonly smc?: SmcOption };
export type ServeOptions = net.ServerOpts & { readonly smc?: SmcOption };

/** The part of node:net's shape that the tests use. */
export interface NetModule {
  connect(options: net.TcpNetConnectOpts & { smc?: SmcOption }): net.Socket;
  createServer(options: ServeOptions): net.Server;
}

const smcnet: NetModule = smc;
const plain: NetModule = net;

export interface Transport {
  readonly name: TransportName;
  readonly server: NetModule;
  readonly client: NetModule;
  /** Options of the side that is smcnet. */
  readonly smc: SmcOption;
  /** What `socket.smc.mode` says on a side that is smcnet. */
  readonly mode: "SMCD" | "TCP";
  /** What `socket.smc.nocopy` says there; undefined over TCP. */
  readonly nocopy?: boolean;
}

export type TransportName = "net" | "smcd" | "smcd-copy" | "fallback: plain server" | "fallback: plain client";

/** A busy machine must not make a test of SMC a test of TCP: the ends wait longer for each other than they do by default. */
const PATIENCE = { claimWaitMs: 1_000, matchTimeoutMs: 1_000, clcTimeoutMs: 2_000 };
const nocopy = { ...PATIENCE, loCopy: false };
const copy = { ...PATIENCE, loCopy: true };

/** Reference first. */
export const TRANSPORTS: readonly Transport[] = [
  { name: "net", server: plain, client: plain, smc: {}, mode: "TCP" },
  { name: "smcd", server: smcnet, client: smcnet, smc: nocopy, mode: "SMCD", nocopy: true },
  { name: "smcd-copy", server: smcnet, client: smcnet, smc: copy, mode: "SMCD", nocopy: false },
  { name: "fallback: plain server", server: plain, client: smcnet, smc: nocopy, mode: "TCP" },
  { name: "fallback: plain client", server: smcnet, client: plain, smc: nocopy, mode: "TCP" },
];

export function transport(name: TransportName): Transport {
  return TRANSPORTS.find((item) => item.name === name)!;
}

/** Which device carries SMC: between threads of a process, or between processes. */
export type DeviceName = "lo" | "shm";

/** Errors: throws if the socket of `side` is not carried by what the transport promises, SMC by that device. */
export function checkCarrier(
  socket: net.Socket,
  { name, mode, nocopy, ...sides }: Transport,
  side: Side,
  device: DeviceName = "lo",
): void {
  if (sides[side] === plain) return;
  const told = socket.smc;
  if (told === undefined) throw new Error(`${name}: the ${side}'s socket has no .smc`);
  if (told.mode !== mode)
    throw new Error(`${name}: the ${side}'s socket is carried by ${told.mode}: ${JSON.stringify(told)}`);
  if (mode === "SMCD" && told.device !== device)
    throw new Error(`${name}: the ${side}'s socket is carried by device ${told.device}, not ${device}`);
  if (nocopy !== undefined && told.nocopy !== nocopy)
    throw new Error(`${name}: the ${side}'s socket has nocopy = ${told.nocopy}`);
}

export type Side = "server" | "client";
