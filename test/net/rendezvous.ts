/**
 * The conversation of the rendezvous test: each connection says who it is, and each side checks every byte it gets.
 *
 * Owns both sides of it. Knows nothing of who else listens on the port or of whose loop stands still. Used in the test's own thread, in
 * its Worker and in a foreign process.
 *
 *     client first:  client -> request(i)                       server -> answer(i)
 *     server first:  server -> GREETING    client -> request(i) server -> answer(i)
 */
import type { Socket } from "node:net";
import { dial } from "../support/pair.js";
import { Prng } from "../support/prng.js";
import { transport } from "../support/transports.js";
import { within } from "../support/watchdog.js";

export const GREETING = Buffer.from("220 the server speaks first\r\n");
const HEAD = 8;
const SMCNET = { ...transport("smcd"), smc: {} };
const PLAIN = transport("net");

function message(index: number, salt: number): Buffer {
  const random = new Prng(Math.imul(index + 1, salt));
  const bytes = Buffer.alloc(HEAD + random.below(random.oneIn(8) ? 3_000 : 60));
  random.fill(bytes);
  bytes.writeUInt32BE(index, 0);
  bytes.writeUInt32BE(bytes.length, 4);
  return bytes;
}

const request = (index: number) => message(index, 0x9e3779b1);
const answer = (index: number) => message(index, 0x85ebca77);

/** What went wrong on a connection, in words with the bytes. */
export type Fault = string;

/** What carried a connection, as its number: 0 nothing yet, 1 TCP, 2 SMC-D. */
export const CARRIED = { unknown: 0, TCP: 1, SMCD: 2 } as const;
export const carrierOf = (socket: Socket): number => CARRIED[socket.smc?.mode ?? "TCP"];

/** Collects bytes and compares them with what is due, as soon as it is there and never later. */
class Inbox {
  #got = Buffer.alloc(0);
  #take: ((bytes: Buffer) => void) | undefined;
  #length = 0;

  constructor(socket: Socket) {
    socket.on("data", (chunk: Buffer) => {
      this.#got = Buffer.concat([this.#got, chunk]);
      this.#look();
    });
  }

  #look(): void {
    if (this.#take === undefined || this.#got.length < this.#length) return;
    const take = this.#take;
    this.#take = undefined;
    take(this.#got);
  }

  /** All bytes that have come, once there are `length` or more of them. */
  atLeast(length: number): Promise<Buffer> {
    return new Promise((resolve) => {
      this.#length = length;
      this.#take = resolve;
      this.#look();
    });
  }

  /** Exactly `due`. Errors: rejects with a Fault that shows the bytes. */
  async exactly(due: Buffer): Promise<void> {
    const got = await this.atLeast(due.length);
    if (!got.equals(due))
      throw new Error(`expected ${due.subarray(0, 24).toString("hex")}, got ${got.subarray(0, 24).toString("hex")}`);
    this.#got = Buffer.alloc(0);
  }
}

/** The server's side of one connection. Returns: the index the client told. Errors: rejects with a Fault. */
export async function serve(socket: Socket, speaksFirst: boolean): Promise<number> {
  const broken = new Promise<never>((_, reject) => socket.once("error", reject));
  broken.catch(() => undefined);
  const inbox = new Inbox(socket);
  if (speaksFirst) socket.write(GREETING);
  const talk = async () => {
    const head = await inbox.atLeast(HEAD);
    const index = head.readUInt32BE(0);
    await inbox.exactly(request(index));
    socket.end(answer(index));
    return index;
  };
  return Promise.race([talk(), broken]);
}

export interface DriveTask {
  /** Ports of the client-first and of the server-first listener. */
  readonly ports: readonly [number, number];
  readonly first: number;
  readonly count: number;
  /** Connections under way at once. */
  readonly inFlight: number;
}

export interface DriveResult {
  readonly faults: readonly Fault[];
  /** CARRIED of connection first + i, [count × u8]. */
  readonly carried: Uint8Array;
}

/** Even connections are plain, odd ones are smcnet's; every second pair goes to the server that speaks first. */
async function converse(index: number, ports: DriveTask["ports"]): Promise<number> {
  const serverFirst = (index >> 1) % 2 === 1;
  const socket = dial(index % 2 === 0 ? PLAIN : SMCNET, ports[serverFirst ? 1 : 0]);
  const broken = new Promise<never>((_, reject) => socket.once("error", reject));
  broken.catch(() => undefined);
  const ended = new Promise((resolve) => socket.once("close", resolve));
  const inbox = new Inbox(socket);
  const talk = async () => {
    if (serverFirst) await inbox.exactly(GREETING);
    socket.write(request(index));
    await inbox.exactly(answer(index));
    socket.end();
    await ended;
  };
  try {
    await within(Promise.race([talk(), broken]), `the conversation of connection ${index}`);
    return carrierOf(socket);
  } finally {
    socket.destroy();
  }
}

/** Makes the connections of a task. Never rejects: what goes wrong is in the result. */
export async function drive({ ports, first, count, inFlight }: DriveTask): Promise<DriveResult> {
  const faults: Fault[] = [];
  const carried = new Uint8Array(count);
  let next = 0;
  const lane = async () => {
    for (let i = next++; i < count; i = next++) {
      try {
        carried[i] = await converse(first + i, ports);
      } catch (cause) {
        faults.push(`client of connection ${first + i}: ${(cause as Error).message}`);
      }
    }
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
  return { faults, carried };
}
