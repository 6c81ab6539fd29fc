/**
 * What all CLC messages share: eyecatchers, types, path values, the 8-byte header and the trailer.
 *
 * Owns the checks that hold for every message. Knows no body. Source: smc-protocol §2.1, §2.6.
 */
import { bits, malformed, struct, u8, u16be, u32be } from "./field.js";

/** "SMCR" and "SMCD" in EBCDIC. A sender picks by message and path; a receiver takes either, at the head and at the tail. */
export const EYECATCHER_SMCR = 0xe2d4c3d9;
export const EYECATCHER_SMCD = 0xe2d4c3c4;

/** Message types in wire order: type n is entry n - 1. */
export const CLC_TYPES = ["Proposal", "Accept", "Confirm", "Decline"] as const;
export type ClcType = (typeof CLC_TYPES)[number];
export const clcTypeNumber = (type: ClcType): number => CLC_TYPES.indexOf(type) + 1;

/** Path values in wire order: R over RDMA, D direct, N none, B both. */
export const PATHS = ["R", "D", "N", "B"] as const;
export type Path = (typeof PATHS)[number];
export const pathNumber = (path: Path): number => PATHS.indexOf(path);
export const includesD = (path: Path): boolean => path === "D" || path === "B";
export const includesR = (path: Path): boolean => path === "R" || path === "B";

/** Bytes of the header and of the trailer. */
export const CLC_HEADER_SIZE = 8;
export const CLC_TRAILER_SIZE = 4;

/** Largest message accepted, bytes: the largest Proposal the kernel can build, §2.2. */
export const CLC_MAX_LENGTH = 652;

/** Shortest body that each type can have, whole message in bytes. */
export const CLC_MIN_LENGTH: Readonly<Record<ClcType, number>> = { Proposal: 52, Accept: 48, Confirm: 48, Decline: 28 };

const start = { eyecatcher: u32be, type: u8, length: u16be };

/** Fields of the header of a Proposal: byte 7 carries both path types. */
export const proposalHead = { ...start, flags: bits({ version: 4, typev2: 2, typev1: 2 }) };

/** The other three: bit 3 is first contact in Accept and Confirm, out of sync in a Decline. */
export const answerHead = { ...start, flags: bits({ version: 4, flag: 1, _: 1, typev1: 2 }) };
export const answerHeader = struct("CLC header", answerHead);

/** What the header of any message tells. */
export interface ClcHead {
  readonly type: ClcType;
  /** Under version 1 rules, or the one path of an answer. */
  readonly path: Path;
  /** 1, or 2 and above: both are read under version 2 rules. */
  readonly version: number;
  /** Whole message, bytes. */
  readonly length: number;
}

const isEyecatcher = (word: number): boolean => word === EYECATCHER_SMCR || word === EYECATCHER_SMCD;

/**
 * Check the header of a complete message.
 *
 * Takes:  bytes, the whole message and nothing else.
 * Errors: SmcError EPROTO naming the field.
 */
export function checkHead(bytes: Uint8Array): ClcHead {
  const { eyecatcher, type, length, flags } = answerHeader.decode(bytes);
  if (!isEyecatcher(eyecatcher)) throw malformed("CLC header", "eyecatcher", 0, "is not SMCR or SMCD", eyecatcher);
  const name = CLC_TYPES[type - 1];
  if (name === undefined) throw malformed("CLC header", "type", 4, "is not 1 to 4", type);
  const message = `CLC ${name}`;
  if (length !== bytes.length) throw malformed(message, "length", 5, `is not ${bytes.length}`, length);
  if (length < CLC_MIN_LENGTH[name]) throw malformed(message, "length", 5, "is too short", length);
  if (flags.version < 1) throw malformed(message, "version", 7, "is 0", flags.version);
  return { type: name, path: PATHS[flags.typev1], version: flags.version, length };
}

/** The trailer: the eyecatcher again. */
export const clcTrailer = struct("CLC trailer", { trailer: u32be });

/** Check the trailer. A Decline's trailer is not checked, §2.5. Errors: SmcError EPROTO. */
export function checkTrailer(message: string, bytes: Uint8Array): void {
  const at = bytes.length - CLC_TRAILER_SIZE;
  const { trailer } = clcTrailer.decode(bytes, at);
  if (!isEyecatcher(trailer)) throw malformed(message, "trailer", at, "is not SMCR or SMCD", trailer);
}
