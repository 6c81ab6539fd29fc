/**
 * What a connection carries with it: what was agreed, where its pieces lie, and what of it people and tools ask for.
 *
 * Types only. Thousands of connections may be at rest: each keeps its terms and its place, the rest is made when asked for.
 */
import type { LinkGroup } from "../lgr/link-group.js";

/** What was agreed. Sizes in bytes, DMB lengths with the CDC area. */
export interface ConnectionTerms {
  readonly role: "client" | "server";
  readonly sndbufSize: number;
  readonly rcvbufSize: number;
  readonly peerBufSize: number;
  readonly gid: bigint;
  readonly token: bigint;
  readonly peerToken: bigint;
  /** Knows the device, the peer and the CLC version. */
  readonly group: LinkGroup;
}

/** Where the pieces of a connection lie: slots and entries of the data plane. */
export interface ConnectionPlace {
  readonly slot: number;
  readonly conn: number;
  readonly localDmb: number;
  readonly peerDmb: number;
  /** Private send buffer in copy mode, else -1. */
  readonly sndDmb: number;
  readonly peer: ConnectionPeer;
}

/** The stack at the other end. */
export interface ConnectionPeer {
  /** Whether it lives in another process. */
  readonly remote: boolean;
  /** Whether it is known to have ended. */
  readonly gone: boolean;
  /** Rings its bell: the data plane answered EVENT_RING. */
  ring(): void;
  /**
   * Blocks the thread until connection block `conn` has news of the kinds in `wanted`, EVENT_* bits, or the time is up.
   *
   * Returns: EVENT_* bits, wanted or not; none wanted after a wake-up that was not for this connection, or on expiry.
   */
  wait(conn: number, timeoutMs: number, wanted: number): number;
  /** We have let go of a buffer that it gave up before. */
  detached(): void;
  /** A connection to it came (+1) or went (-1). */
  hold(change: 1 | -1): void;
}

/** Facts that people and tools ask for; a copy. */
export interface ConnectionInfo extends Omit<ConnectionTerms, "group"> {
  readonly device: string;
  readonly nocopy: boolean;
  readonly version: 1 | 2;
  readonly peerGid: bigint;
  readonly linkGroup: number;
  /** The TCP connection underneath. */
  readonly clcSocket: ClcSocketInfo;
}

/** An end is undefined once the system does not know it any more. */
export interface ClcSocketInfo {
  readonly fd: number;
  readonly local: { readonly address: string; readonly port: number } | undefined;
  readonly peer: { readonly address: string; readonly port: number } | undefined;
}
