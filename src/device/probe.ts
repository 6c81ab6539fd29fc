/**
 * Probes: datagrams by which a stack finds out whether an address leads to a stack of another network namespace.
 *
 * Owns one UDP socket of the stack, for its own probes and those of others, and the nonces that have come. A nonce that was sent
 * over the network and is confirmed over the unix socket shows that the two ends are the same. What comes is anybody's: it is
 * bounded, and a nonce that nobody asks for means nothing. Nothing here fails: without a socket nothing is proven.
 */
import { randomFillSync } from "node:crypto";
import { createSocket, type Socket } from "node:dgram";
import { isIPv4 } from "node:net";
import { debug } from "../trace.js";
import { decodeProbe, encodeProbe } from "../wire/probe.js";

/** Nonces remembered; the oldest makes room for one more. */
const MOST_HEARD = 256;
/** How long, ms: longer than any contact. */
const REMEMBERED_MS = 5000;

/** How often a probe is sent at most: once, and again in equal steps while half of the time of its contact runs. */
const MOST_SENT = 4;

/** A probe on its way: what it carries, and the end of sending it again. */
export interface Probe {
  /** 0 where nothing can be sent. */
  readonly nonce: bigint;
  stop(): void;
}

/** Where a probe goes: the address that is to be proven, and the port of a stack that may be there. */
export interface Route {
  readonly address: string;
  readonly port: number;
}

function anyNonce(): bigint {
  const [nonce] = randomFillSync(new BigUint64Array(1));
  return nonce || 1n;
}

/** Addresses here are addresses already: the socket is bound, and a probe gone, when the call returns. */
function asGiven(address: string, _: unknown, found: (error: null, address: string, family: number) => void): void {
  found(null, address, isIPv4(address) ? 4 : 6);
}

function open(type: "udp4" | "udp6", address: string): Socket | undefined {
  const socket = createSocket({ type, lookup: asGiven });
  socket.on("error", (error) => debug("probes by %s: %s", type, error.message));
  // exclusive: in a cluster worker all workers would share one otherwise.
  socket.bind({ address, port: 0, exclusive: true });
  socket.unref();
  try {
    socket.address();
    return socket;
  } catch {
    socket.close();
    return undefined;
  }
}

export class Probes {
  #socket: Socket | undefined;
  #mapped = false;
  #closed = false;
  /** Nonces that have come, oldest first, each with when, ms. */
  readonly #heard = new Map<bigint, number>();

  /** Where probes of others are taken, from now on; 0 where the system grants no socket. */
  get port(): number {
    return this.#open()?.address().port ?? 0;
  }

  #open(): Socket | undefined {
    if (this.#socket !== undefined || this.#closed) return this.#socket;
    const both = open("udp6", "::");
    this.#mapped = both !== undefined;
    this.#socket = both ?? open("udp4", "0.0.0.0");
    this.#socket?.on("message", (datagram) => this.#hear(datagram));
    return this.#socket;
  }

  #hear(datagram: Uint8Array): void {
    const nonce = decodeProbe(datagram);
    if (nonce === undefined) return;
    // What came before has its place, and is the latest now.
    this.#heard.delete(nonce);
    const [oldest] = this.#heard.keys();
    if (oldest !== undefined && this.#heard.size >= MOST_HEARD) this.#heard.delete(oldest);
    this.#heard.set(nonce, performance.now());
  }

  /** Sends a probe for a contact of `contactMs`, and again until it is stopped, for it may be lost: MOST_SENT times at most. */
  send({ address, port }: Route, contactMs: number): Probe {
    if (this.#open() === undefined) return { nonce: 0n, stop: () => undefined };
    const nonce = anyNonce();
    const target = this.#mapped && isIPv4(address) ? `::ffff:${address}` : address;
    const once = (): void => {
      sent++;
      this.#socket?.send(encodeProbe(nonce), port, target, (error) => {
        if (error !== null) debug("no probe to %s: %s", address, error.message);
      });
    };
    const again = (): void => {
      if (sent >= MOST_SENT || this.#closed) clearInterval(timer);
      else once();
    };
    let sent = 0;
    once();
    // In the other half of the time the answer is to come: answer.ts.
    const timer = setInterval(again, contactMs / 2 / MOST_SENT).unref();
    return { nonce, stop: () => clearInterval(timer) };
  }

  /** Whether the probe with this nonce has come, lately. */
  heard(nonce: bigint): boolean {
    const since = this.#heard.get(nonce);
    return since !== undefined && performance.now() - since < REMEMBERED_MS;
  }

  /** This stack ends. */
  close(): void {
    this.#closed = true;
    this.#socket?.close();
    this.#socket = undefined;
  }
}
