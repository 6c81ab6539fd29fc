/**
 * What a socket scenario is: two ends written once, run on every transport and in every placement.
 *
 * Owns the shape of a scenario, the equipment of an end and the sideline between the ends. Knows nothing of Workers or of uvu.
 *
 * An end asserts what must always hold, and returns what it saw. What both ends saw over `net` is the measure for the others, so it
 * holds only what `net` itself repeats from run to run. The sideline is no clock for the bytes: they may arrive before or after a word.
 */
import type { AddressInfo, Server, Socket } from "node:net";
import type { MessagePort } from "node:worker_threads";
import { closed, dial } from "../support/pair.js";
import { type Prng, prngFor } from "../support/prng.js";
import { Sequence, Verifier } from "../support/sequence.js";
import {
  checkCarrier,
  type DeviceName,
  type DialOptions,
  type ServeOptions,
  type Side,
  type Transport,
} from "../support/transports.js";
import { happens, WATCHDOG_MS, within } from "../support/watchdog.js";

/** What an end saw: plain values, compared deeply and sent between threads and processes. */
export type Seen = Record<string, unknown>;

export interface Scenario {
  readonly name: string;
  readonly serve?: ServeOptions;
  readonly dial?: DialOptions;
  server(end: ServerEnd): Promise<Seen>;
  client(end: ClientEnd): Promise<Seen>;
}

/** Words between the ends, beside the sockets under test. Each word is delivered once, in order, also if nobody waits for it yet. */
export class Sideline {
  readonly #kept: [string, unknown][] = [];
  readonly #waiting = new Map<string, (value: unknown) => void>();

  constructor(readonly port: MessagePort) {
    port.on("message", ([word, value]: [string, unknown]) => {
      const waiting = this.#waiting.get(word);
      if (waiting === undefined) this.#kept.push([word, value]);
      else {
        this.#waiting.delete(word);
        waiting(value);
      }
    });
  }

  tell(word: string, value?: unknown): void {
    this.port.postMessage([word, value]);
  }

  /** The value of the next such word. Errors: rejects after `limitMs`. */
  heard(word: string, limitMs = WATCHDOG_MS): Promise<unknown> {
    const at = this.#kept.findIndex(([kept]) => kept === word);
    if (at >= 0) return Promise.resolve(this.#kept.splice(at, 1)[0]![1]);
    const spoken = new Promise((resolve) => this.#waiting.set(word, resolve));
    return limitMs === Number.POSITIVE_INFINITY ? spoken : within(spoken, `the other end's word "${word}"`, limitMs);
  }
}

/** What carries the sockets of an end. */
export interface Carriage {
  readonly transport: Transport;
  /** What carries SMC between the two ends. */
  readonly device: DeviceName;
}

/** What both ends have: random numbers and streams that the other end can predict, and the sideline. */
class End {
  readonly sockets = new Set<Socket>();
  /** Rejects when a socket is not carried by what its transport promises. */
  readonly failed: Promise<never>;
  #fail: (cause: unknown) => void = () => undefined;

  constructor(
    protected readonly carriage: Carriage,
    protected readonly scenario: Scenario,
    protected readonly sideline: Sideline,
  ) {
    this.failed = new Promise((_, reject) => {
      this.#fail = reject;
    });
    this.failed.catch(() => undefined);
  }

  tell(word: string, value?: unknown): void {
    this.sideline.tell(word, value);
  }

  heard(word: string): Promise<unknown> {
    return this.sideline.heard(word);
  }

  /** The same numbers at both ends for the same label. */
  prng(label: string): Prng {
    return prngFor(`${this.scenario.name} ${label}`);
  }

  sequence(label: string): Sequence {
    return new Sequence(this.prng(label).seed);
  }

  verifier(label: string): Verifier {
    return new Verifier(this.prng(label).seed);
  }

  protected keep(socket: Socket, side: Side): Socket {
    const check = () => {
      try {
        checkCarrier(socket, this.carriage.transport, side, this.carriage.device);
      } catch (cause) {
        this.#fail(cause);
      }
    };
    this.sockets.add(socket);
    if (side === "server") check();
    else socket.once("connect", check);
    return socket;
  }

  /** Destroys what is still open; resolves when it is closed. */
  async clear(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await within(Promise.all([...this.sockets].map(closed)), "the sockets of an end to close");
    this.sockets.clear();
  }
}

/** The end that listens. Sockets come to `accept` in the order of their connections, unless `eachConnection` takes them. */
export class ServerEnd extends End {
  #queue: Socket[] = [];
  #next: ((socket: Socket) => void)[] = [];
  #handler: ((socket: Socket, index: number) => void) | undefined;
  #count = 0;

  constructor(
    carriage: Carriage,
    scenario: Scenario,
    sideline: Sideline,
    readonly server: Server,
  ) {
    super(carriage, scenario, sideline);
    server.on("connection", (socket) => {
      this.keep(socket, "server");
      const next = this.#next.shift();
      if (this.#handler !== undefined) this.#handler(socket, this.#count++);
      else if (next !== undefined) next(socket);
      else this.#queue.push(socket);
    });
  }

  accept(): Promise<Socket> {
    const ready = this.#queue.shift();
    if (ready !== undefined) return Promise.resolve(ready);
    return within(new Promise((resolve) => this.#next.push(resolve)), "a connection to accept");
  }

  /** Gives every connection to `handler` in its own event; `index` counts them from 0. */
  eachConnection(handler: (socket: Socket, index: number) => void): void {
    this.#handler = handler;
  }

  override async clear(): Promise<void> {
    const done = this.server.listening ? new Promise<void>((resolve) => this.server.close(() => resolve())) : undefined;
    await super.clear();
    if (done !== undefined) await within(done, "the server to close");
  }
}

/** The end that connects. */
export class ClientEnd extends End {
  constructor(
    carriage: Carriage,
    scenario: Scenario,
    sideline: Sideline,
    /** Where the other end listens. */
    readonly address: AddressInfo,
  ) {
    super(carriage, scenario, sideline);
  }

  /** A socket on its way, nothing awaited. */
  dial(options: DialOptions = {}): Socket {
    return this.keep(this.#start(options), "client");
  }

  /** As dial, for a connection the server turns away: nothing is promised about what carries it. */
  dialUnwelcome(options: DialOptions = {}): Socket {
    const socket = this.#start(options);
    this.sockets.add(socket);
    return socket;
  }

  #start(options: DialOptions): Socket {
    const { address, port } = this.address;
    return dial(this.carriage.transport, port, { host: address, ...this.scenario.dial, ...options });
  }

  /** A connected socket. */
  connect(options: DialOptions = {}): Promise<Socket> {
    const socket = this.dial(options);
    const connected = new Promise<Socket>((resolve, reject) => {
      socket.once("error", reject);
      socket.once("connect", () => {
        socket.off("error", reject);
        resolve(socket);
      });
    });
    return within(connected, "the connect event");
  }
}

/** Events of a socket in their order, `error` with what Node attaches to it. */
export interface Journal {
  readonly events: string[];
  readonly error: Seen | undefined;
  /** Resolves at `close`. */
  closed(): Promise<void>;
}

/** The fields of an error that programs look at. */
export function errorFields(error: NodeJS.ErrnoException & { port?: number; address?: string }): Seen {
  const { name, code, syscall, errno, address } = error;
  return { name, code, syscall, errno, address, message: error.message.replace(/:\d+$/, ":port") };
}

export function journal(socket: Socket): Journal {
  const events: string[] = [];
  let error: Seen | undefined;
  for (const name of ["connect", "ready", "end", "finish", "timeout"]) socket.on(name, () => events.push(name));
  socket.on("error", (cause: Error) => {
    error = errorFields(cause);
    events.push("error");
  });
  const closing = new Promise<void>((resolve) => {
    socket.on("close", (hadError: boolean) => {
      events.push(`close(${hadError})`);
      resolve();
    });
  });
  return {
    events,
    get error() {
      return error;
    },
    closed: () => within(closing, `the close event; so far: ${events}`),
  };
}

/** Everything a socket sends until its end. */
export async function readAll(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  await within(
    new Promise<void>((resolve, reject) => {
      socket.on("data", (chunk: Buffer) => chunks.push(chunk));
      socket.once("end", resolve);
      socket.once("error", reject);
    }),
    "the end of the stream",
  );
  return Buffer.concat(chunks);
}

/** Gives each chunk to `take`; what it throws becomes the socket's error, so that a wrong byte fails the scenario, not the process. */
export function eachChunk(socket: Socket, take: (chunk: Buffer) => void): void {
  socket.on("data", (chunk: Buffer) => {
    try {
      take(chunk);
    } catch (cause) {
      socket.destroy(cause as Error);
    }
  });
}

/** The socket read to its end, each byte checked. Returns: the number of bytes. */
export async function receive(socket: Socket, verifier: Verifier): Promise<number> {
  const ended = happens(socket, "end", "the end of the stream");
  eachChunk(socket, (chunk) => verifier.push(chunk));
  await ended;
  return verifier.received;
}

/** Spans of the given sizes written as fast as `drain` allows; the socket is left open. Returns: the number of bytes. */
export async function send(socket: Socket, sequence: Sequence, sizes: Iterable<number>): Promise<number> {
  let offset = 0;
  for (const size of sizes) {
    const room = socket.write(sequence.span(offset, size));
    offset += size;
    if (!room) await happens(socket, "drain");
  }
  return offset;
}
