/**
 * What a guest can be asked: to listen and tell what it heard, to call and tell what it heard, and to die in the middle of a call.
 *
 * Owns the sockets of one process. Who asks, and what the answers mean, is the test's. The main side is guest.ts.
 */
import dgram from "node:dgram";
import { once } from "node:events";
import http from "node:http";
import net, { type AddressInfo, type Server, type Socket } from "node:net";
import { pipeline } from "node:stream/promises";
import * as smc from "../../src/index.js";
import type { NetModule, ServeOptions } from "../support/transports.js";
import { happens, until, WATCHDOG_MS } from "../support/watchdog.js";
import { leftovers } from "./peer.js";
import { readAll } from "./scenario.js";

/** Which module makes a socket or a server. */
export type Maker = "net" | "smcnet";
const MAKERS: Readonly<Record<Maker, NetModule>> = { net, smcnet: smc };

/** One side's view of a call that is over. */
export interface Call {
  /** The device, "TCP", or "net" where the socket is not smcnet's. */
  readonly carrier: string;
  /** Every byte that came, as latin1; or what went wrong. */
  readonly heard: string;
  /** What stood in the way of SMC here, if anything did. */
  readonly why?: string;
}

export interface Callee {
  readonly host: string;
  readonly port: number;
  readonly localPort?: number;
}

/** The longest that a timer can be: nobody lives to see it fire. */
const FOREVER_MS = 2 ** 31 - 1;

/** The handle of a listening server: of the same class as those of sockets. */
interface Listening {
  readonly _handle: { readonly constructor: { readonly prototype: { connect(...args: unknown[]): number } } };
}

const taken: Call[] = [];
let claimWaits = 0;
/** What came with the question that is being answered. */
let given: Server | undefined;

const carrierOf = ({ smc: told }: Socket): string => told?.device ?? told?.mode ?? "net";
const over = (socket: Socket, heard: Buffer): Call => {
  const why = socket.smc?.fallback?.detail;
  return { carrier: carrierOf(socket), heard: heard.toString("latin1"), ...(why === undefined ? {} : { why }) };
};
const faultOf = (cause: unknown): string => `fault: ${(cause as Error).message}`;

/** Says its words to each caller at once, then hears the caller out. */
function take(server: Server, says: string): void {
  server.on("connection", async (socket: Socket) => {
    const carrier = carrierOf(socket);
    try {
      socket.write(says);
      const heard = await readAll(socket);
      socket.end();
      taken.push(over(socket, heard));
    } catch (cause) {
      taken.push({ carrier, heard: faultOf(cause) });
    }
  });
}

function dial(maker: Maker, callee: Callee): Socket {
  return MAKERS[maker].connect({ ...callee, allowHalfOpen: true });
}

/** Who speaks first: an acceptor that waits for a claim is let go by a caller's first word. */
type Manner = "speaks first" | "listens first";

async function call(maker: Maker, callee: Callee, says: string, manner: Manner = "speaks first"): Promise<Call> {
  const socket = dial(maker, callee);
  try {
    const all = readAll(socket);
    if (manner === "listens first") await Promise.race([once(socket, "data"), all]);
    socket.end(says);
    const heard = await all;
    return over(socket, heard);
  } catch (cause) {
    return { carrier: carrierOf(socket), heard: faultOf(cause) };
  }
}

const verbs = {
  /** Listens, and gives to all who call the same answer. Returns: the port. */
  async listen(maker: Maker, { host, port }: Callee, says: string, options: ServeOptions = {}): Promise<number> {
    const server = MAKERS[maker].createServer({ allowHalfOpen: true, ...options });
    take(server, says);
    server.listen(port, host);
    await happens(server, "listening");
    return (server.address() as AddressInfo).port;
  },

  /** Listens on a socket of somebody else's, which came with the question. */
  adopt(maker: Maker, says: string): void {
    const server = given!;
    Object.assign(server, { allowHalfOpen: true });
    if (maker === "smcnet") smc.attach(server);
    take(server, says);
  },

  /** Listens for the plain bytes of callers and passes them on, both ways: what container engines do for published ports. */
  async forward({ host, port }: Callee, callee: Callee): Promise<void> {
    const server = net.createServer({ allowHalfOpen: true }, (socket) => {
      const onward = net.connect({ ...callee, allowHalfOpen: true });
      pipeline(socket, onward, socket).catch(() => undefined);
    });
    server.listen(port, host);
    await happens(server, "listening");
  },

  call,

  /**
   * Calls, and lets a server of http answer whatever the callee asks there: with the same bytes.
   *
   * Takes:   stopped, a process that goes on once the call is connected. Returns: the carrier.
   */
  async callAndServe(maker: Maker, callee: Callee, stopped?: number): Promise<string> {
    const socket = dial(maker, callee);
    if (stopped !== undefined) socket.once("connect", () => process.kill(stopped, "SIGCONT"));
    http.createServer((request, response) => request.pipe(response)).emit("connection", socket);
    await happens(socket, "close");
    return carrierOf(socket);
  },

  /**
   * So many at once, `says` followed by a number each, the even ones in the one manner, the odd ones in the other; local ports,
   * if any is given, count up from it.
   */
  calls(maker: Maker, { localPort, ...callee }: Callee, says: string, count: number): Promise<Call[]> {
    const from = (i: number): Callee => (localPort === undefined ? callee : { ...callee, localPort: localPort + i });
    return Promise.all(
      Array.from({ length: count }, (_, i) =>
        call(maker, from(i), `${says} ${i}`, i % 2 === 0 ? "listens first" : "speaks first"),
      ),
    );
  },

  /** The same in the turn in which it kills process `pid`. */
  killAndCalls(pid: number, maker: Maker, callee: Callee, says: string, count: number): Promise<Call[]> {
    process.kill(pid, "SIGKILL");
    return verbs.calls(maker, callee, says, count);
  },

  /** Calls, and comes to a standstill as soon as the kernel knows: connected, its intent open, nothing claimed. Ends by being killed. */
  callAndFreeze(callee: Callee): void {
    const { prototype } = (net.createServer().listen() as unknown as Listening)._handle.constructor;
    const { connect } = prototype;
    prototype.connect = function (...args) {
      connect.apply(this, args);
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 4 * WATCHDOG_MS);
      process.exit(1);
    };
    dial("smcnet", callee);
  },

  /** Calls, and kills itself when all is ready for the Proposal but the Proposal is not yet sent. */
  callAndDieBeforeProposal(callee: Callee): void {
    smc.channels.clc.subscribe(() => process.kill(process.pid, "SIGKILL"));
    dial("smcnet", callee);
  },

  /** All calls taken since the last time that it was asked, once there are `count`, in the order of their ends. */
  async taken(count: number): Promise<Call[]> {
    await until(() => taken.length >= count, `${count} calls to be over`);
    return taken.splice(0);
  },

  /** From now on no wait of an acceptor whose claimWaitMs is `claimWaitMs`, a number of no other timer, ends by its time. */
  holdClaimWaits(claimWaitMs: number): void {
    const start = globalThis.setTimeout;
    const held = (task: () => void, ms?: number): NodeJS.Timeout => {
      if (ms !== claimWaitMs) return start(task, ms);
      claimWaits++;
      return start(task, FOREVER_MS);
    };
    globalThis.setTimeout = Object.assign(held, start) as typeof setTimeout;
  },

  /** The next `count` datagrams of this process are lost. */
  loseDatagrams(count: number): void {
    const { send } = dgram.Socket.prototype;
    let lost = 0;
    Object.assign(dgram.Socket.prototype, {
      send(this: dgram.Socket, ...args: unknown[]): void {
        if (lost++ >= count) Reflect.apply(send, this, args);
      },
    });
  },

  /** Once `count` calls have made an acceptor wait for a claim. */
  async claimWaits(count: number): Promise<void> {
    await until(() => claimWaits >= count, `${count} calls to wait for a claim`);
  },

  leftovers,
};

export type Verbs = typeof verbs;
export interface Question {
  readonly id: number;
  readonly verb: keyof Verbs;
  readonly args: readonly unknown[];
}
export interface Answer {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: string;
}

process.on("message", async ({ id, verb, args }: Question, handle?: Server) => {
  given = handle;
  let answer: Answer;
  try {
    answer = { id, value: await (verbs[verb] as (...given: readonly unknown[]) => unknown)(...args) };
  } catch (cause) {
    answer = { id, error: String((cause as Error).stack) };
  }
  if (process.connected) process.send!(answer);
});
process.on("disconnect", () => process.exit());
