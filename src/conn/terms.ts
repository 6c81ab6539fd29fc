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
  readonly peerStack: number;
  /** Tells this peer from a later stack in the same slot. */
  readonly peerGeneration: number;
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
