/**
 * smcnet: the shape of `node:net`, carried through shared memory where the peer can.
 *
 * Sockets are stock net.Sockets, servers stock net.Servers; a connection whose peer does not speak SMC is exactly a TCP
 * connection. Every socket has `smc`: what carries it, and why. The `smc` option of sockets and servers overrides SMC_*.
 */
import { channel } from "node:diagnostics_channel";
import * as net from "node:net";
import { OPTIONS, overrideOptions, type SmcOptions } from "./config.js";
import type { CountersSnapshot } from "./diag/counters.js";
import { Counters } from "./diag/counters.js";
import type { DeviceRecord, SocketRecord } from "./diag/records.js";
import { deviceRecords, socketRecords } from "./diag/snapshot.js";
import { threadContext } from "./net/context.js";
import { HookedSocket } from "./net/hook.js";
import { hookServer, isHooked } from "./net/server.js";
import type { SmcStatus } from "./net/status.js";
import type { PolicyHook } from "./policy.js";

export { BlockList, isIP, isIPv4, isIPv6, SocketAddress } from "node:net";
export { ERROR_CODES, SmcError } from "./errors.js";
export { channels } from "./trace.js";
export type { DeviceRecord, SmcOptions, SmcStatus };

/** What smcnet adds to the options of sockets and servers. */
export interface WithSmcOptions {
  readonly smc?: Partial<SmcOptions>;
}

declare module "node:net" {
  interface Socket {
    /** What carries the socket, and why. Absent on sockets that smcnet did not make. */
    readonly smc?: SmcStatus;
  }
}

function merged(overrides: Partial<SmcOptions> | undefined): SmcOptions {
  const { options } = threadContext();
  return overrides === undefined ? options : overrideOptions(options, overrides);
}

/** A net.Socket that negotiates SMC when it connects. */
export class Socket extends HookedSocket {
  constructor(options?: net.SocketConstructorOpts & WithSmcOptions) {
    super(options, merged(options?.smc));
  }
}

/** A net.Server that accepts SMC. */
export class Server extends net.Server {
  constructor(
    options?: (net.ServerOpts & WithSmcOptions) | ((socket: net.Socket) => void),
    listener?: (socket: net.Socket) => void,
  ) {
    if (typeof options === "function") super(options);
    else super(options, listener);
    hookServer(this, merged(typeof options === "object" ? options.smc : undefined));
  }
}

export { Socket as Stream };

type ConnectOptions = net.NetConnectOpts & WithSmcOptions;
type ConnectArguments =
  | [options: ConnectOptions, connected?: () => void]
  | [port: number, connected?: () => void]
  | [port: number, host: string, connected?: () => void]
  | [path: string, connected?: () => void];

const clientSocket = channel("net.client.socket");
const normalizeArgs = (
  net as unknown as { _normalizeArgs(args: unknown[]): [ConnectOptions & { timeout?: number }, unknown] }
)._normalizeArgs;

/** As net.connect. */
export function connect(...args: ConnectArguments): net.Socket {
  const normalized = normalizeArgs(args);
  const [options] = normalized;
  const socket = new Socket(options as net.SocketConstructorOpts);
  if (clientSocket.hasSubscribers) clientSocket.publish({ socket });
  if (options.timeout) socket.setTimeout(options.timeout);
  return (socket.connect as (args: unknown) => net.Socket)(normalized);
}

export { connect as createConnection };

/** As net.createServer. */
export function createServer(
  options?: (net.ServerOpts & WithSmcOptions) | ((socket: net.Socket) => void),
  listener?: (socket: net.Socket) => void,
): net.Server {
  return new Server(options, listener);
}

/** Makes an existing net.Server (of http, say) accept SMC: before or after it listens. */
export function attach<S extends net.Server>(server: S, options?: Partial<SmcOptions>): S {
  hookServer(server, merged(options));
  return server;
}

/** From Node 24.21 on: an address that is taken before it is known what for. Undefined before. */
export const { BoundSocket } = net as unknown as { readonly BoundSocket?: unknown };
export const { getDefaultAutoSelectFamily, setDefaultAutoSelectFamily } = net;
export const { getDefaultAutoSelectFamilyAttemptTimeout, setDefaultAutoSelectFamilyAttemptTimeout } = net;

/** The counters of this thread, as plain data. */
export function stats(): CountersSnapshot {
  return (threadContext().stackIfAny?.counters ?? new Counters()).snapshot();
}

/** The sockets of this thread that smcnet knows, as plain data. */
export function sockets(): SocketRecord[] {
  const { stackIfAny } = threadContext();
  return stackIfAny === undefined ? [] : socketRecords(stackIfAny, isHooked);
}

/** Free pages of the process's arena, in blocks of 16 KiB; 0 without an arena. */
export function poolFreePages(): number {
  return threadContext().stack?.abi.arenaFreeBlocks() ?? 0;
}

/** The devices of this thread in order of preference, those that are absent with their reason. */
export function devices(): DeviceRecord[] {
  const ready = threadContext().ready();
  if ("reason" in ready)
    return [
      { name: "lo", reason: ready.reason },
      { name: "shm", reason: ready.reason },
    ];
  return deviceRecords(ready.stack);
}

/** The options in force in this thread. */
export function options(): SmcOptions {
  return threadContext().options;
}

/**
 * Has the program's own say on which connections may use SMC, after SMC_ONLY, SMC_EXCEPT and `smcnet policy`.
 *
 * Takes: hook, asked for each connection of this thread before anything is tried; undefined for none. It must not throw.
 */
export function setPolicy(hook: PolicyHook | undefined): void {
  threadContext().policy.hook = hook;
}

export type { PolicyHook, Target } from "./policy.js";
export { OPTIONS as optionTable };

// The arena has to exist before the first Worker does, so that it can inherit it.
threadContext();
