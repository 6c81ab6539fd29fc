/**
 * What a handshake starts from and what it ends in: the local offer, the two endpoints, the agreement.
 *
 * Owns types only. Says which device and whose buffers, never how they are reached: that is the driver's part.
 * SMC-R adds its own kind of device and endpoint beside these.
 */
import type { PrefixArea } from "../wire/clc-proposal.js";

/** A local SMC-D device as the handshake sees it. */
export interface LocalDevice {
  readonly name: string;
  readonly kind: "D";
  readonly gid: bigint;
  /** Upper half of the GID of an emulated device, else 0n. */
  readonly gidExt: bigint;
  readonly chid: number;
  /** May be offered and chosen under version 1 rules, where a CHID and `gidExt` are not carried. */
  readonly v1: boolean;
  /** `gidExt` is undefined where the message does not carry it. */
  reaches(gid: bigint, gidExt: bigint | undefined): boolean;
}

/** One side of a handshake before it begins; the same shape serves client and server. */
export interface LocalOffer {
  /** In order of preference. */
  readonly devices: readonly LocalDevice[];
  /** User EIDs, at most 8 of at most 32 characters; version 2 needs one in common. */
  readonly ueids: readonly string[];
  /** Highest version spoken. */
  readonly version: 1 | 2;
  /** 8 bytes, sent in Declines that concern no SMC-D link group. */
  readonly peerId: Uint8Array;
  /** Subnets of the connection's local address; undefined if they could not be found out (no version 1 then). */
  readonly prefixes: PrefixArea | undefined;
  /** Told to the peer at first contact, cut to 32 ASCII characters. */
  readonly hostName: string;
}

/** This side's receive buffer, as the driver registered it. */
export interface LocalEndpoint {
  readonly token: bigint;
  /** Compressed: the DMB has 2^(14+n) bytes, CDC area included. */
  readonly dmbeSize: number;
  readonly linkId: number;
  /** True if this connection created its link group. */
  readonly firstContact: boolean;
}

/** The peer as far as a Proposal describes it. */
export interface OfferedPeer {
  readonly version: 1 | 2;
  /** Minor level of version 2; 0 in version 1. */
  readonly release: number;
  readonly gid: bigint;
  /** Undefined in version 1: not carried. */
  readonly gidExt: bigint | undefined;
  /** Undefined in version 1: not carried. */
  readonly chid: number | undefined;
  /** The EID both sides know; empty in version 1. */
  readonly eid: string;
}

/** The peer with its receive buffer: everything needed to attach. */
export interface PeerEndpoint extends Omit<OfferedPeer, "release"> {
  /** Undefined to a client without first contact: it is the link group's. */
  readonly release: number | undefined;
  readonly token: bigint;
  /** Compressed, as in LocalEndpoint. */
  readonly dmbeSize: number;
  readonly linkId: number;
  readonly firstContact: boolean;
  /** Told at first contact in version 2 only. */
  readonly hostName: string | undefined;
  readonly os: number | undefined;
}

/** The outcome of a handshake that succeeded. */
export interface Agreement {
  readonly role: "client" | "server";
  readonly path: "D";
  readonly device: LocalDevice;
  readonly local: LocalEndpoint;
  readonly peer: PeerEndpoint;
  /** Features both sides have; undefined without first contact in version 2: they are the link group's. */
  readonly featureMask: number | undefined;
}

/** Newest release of version 2 spoken here, and the features that go with it. */
export const RELEASE = 1;
