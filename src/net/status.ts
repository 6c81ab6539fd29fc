/**
 * `socket.smc`: what carries a socket, and why.
 */

import { Socket } from "node:net";
import type { FallbackReason } from "../clc/fallback.js";
import { Connection } from "../conn/connection.js";

/** Sizes in bytes; ids in hex as the tools print them. All but `mode` and `fallback` are there where SMC carries the socket. */
export interface SmcStatus {
  readonly mode: "SMCD" | "TCP";
  readonly device?: string;
  readonly nocopy?: boolean;
  /** CLC version of the handshake. */
  readonly version?: 1 | 2;
  readonly role?: "client" | "server";
  /** Name of the close machine's state, now. */
  readonly state?: string;
  readonly sndbufSize?: number;
  readonly rcvbufSize?: number;
  readonly peerBufSize?: number;
  readonly gid?: string;
  readonly peerGid?: string;
  readonly token?: string;
  readonly peerToken?: string;
  readonly linkGroup?: string;
  /** Why the socket is carried by TCP. */
  readonly fallback?: FallbackReason;
}

const hex = (value: bigint | number, digits: number): string => value.toString(16).padStart(digits, "0");

export function smcdStatus({ terms, nocopy, state }: Connection): SmcStatus {
  const { group } = terms;
  return {
    mode: "SMCD",
    device: group.device,
    nocopy,
    version: group.version,
    role: terms.role,
    state,
    sndbufSize: terms.sndbufSize,
    rcvbufSize: terms.rcvbufSize,
    peerBufSize: terms.peerBufSize,
    gid: hex(terms.gid, 16),
    peerGid: hex(group.peerGid, 16),
    token: hex(terms.token, 16),
    peerToken: hex(terms.peerToken, 16),
    linkGroup: hex(group.id, 8),
  };
}

/** The connection that carries a socket, or why TCP does. */
export type Carrier = Connection | FallbackReason;

const CARRIER = Symbol("smcnet.carrier");

const statusOf = (carrier: Carrier): SmcStatus =>
  carrier instanceof Connection ? smcdStatus(carrier) : { mode: "TCP", fallback: carrier };

/** One accessor for all sockets: one of each socket's own would give it a shape of its own as well. */
const STATUS = {
  configurable: true,
  enumerable: false,
  get(this: { [CARRIER]: Carrier }): SmcStatus {
    return statusOf(this[CARRIER]);
  },
};

/** A class of sockets that have room for their status, so that nothing is added to one. */
export class StatusSocket extends Socket {
  #carrier: Carrier | undefined;

  /** Whether `socket` is one of them: then it shows this. */
  static show(socket: object, carrier: Carrier): boolean {
    if (!(#carrier in socket)) return false;
    socket.#carrier = carrier;
    return true;
  }

  static {
    Object.defineProperty(StatusSocket.prototype, "smc", {
      configurable: true,
      get(this: StatusSocket): SmcStatus | undefined {
        return #carrier in this && this.#carrier !== undefined ? statusOf(this.#carrier) : undefined;
      },
    });
  }
}

/** The status of a socket that carries none: TCP, for the reason given; undefined for what is no TCP socket. */
export function defaultStatus(
  socket: object,
  TCP: new (type: number) => object,
  reason: FallbackReason,
): SmcStatus | undefined {
  const { _handle: handle, _parent: below } = socket as {
    _handle?: { _parent?: unknown } | null;
    _parent?: { smc?: SmcStatus };
  };
  // What TLS wraps has the status, if it is a socket.
  if (below?.smc !== undefined) return below.smc;
  const carries = handle instanceof TCP || handle?._parent instanceof TCP;
  return carries ? { mode: "TCP", fallback: reason } : undefined;
}

/**
 * Shows a status on a socket, made anew whenever somebody asks: an idle socket does not carry it around. The properties
 * are not enumerable: the socket prints and clones as before.
 */
export function showStatus(socket: object, carrier: Carrier): void {
  if (StatusSocket.show(socket, carrier)) return;
  if (Object.hasOwn(socket, CARRIER)) {
    (socket as { [CARRIER]: Carrier })[CARRIER] = carrier;
    return;
  }
  Object.defineProperty(socket, CARRIER, { value: carrier, configurable: true, writable: true, enumerable: false });
  Object.defineProperty(socket, "smc", STATUS);
}

/** A socket that is about to be used again: what carried it before is over. */
export function forgetStatus(socket: object): void {
  if (!Object.hasOwn(socket, CARRIER)) return;
  Reflect.deleteProperty(socket, CARRIER);
  Reflect.deleteProperty(socket, "smc");
}
