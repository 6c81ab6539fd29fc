/**
 * The first contact extension of an Accept or Confirm in version 2: who the peer is, and what release 1 negotiates.
 *
 * Owns its two forms: 36 bytes at release 0 of SMC-D, 52 bytes otherwise. Source: smc-protocol §2.4.
 */
import { bits, reserved, struct, text, u8, u16be } from "./field.js";

/** Operating systems by number; smcnet speaks the kernel's dialect and says so. */
export const OS_LINUX = 2;
/** Feature mask bit 0: two-entry emulated ISM devices are understood. */
export const FEATURE_EMULATED_ISM = 0x0001;

const identity = struct("CLC first contact extension", {
  flags: bits({ direct: 1, _: 7 }),
  origin: bits({ os: 4, release: 4 }),
  reserved: reserved(2),
  hostName: text(32),
});
const negotiated = struct("CLC first contact extension, release 1", {
  maxConns: u8,
  maxLinks: u8,
  featureMask: u16be,
  vendor: reserved(4),
  reserved: reserved(8),
});

export interface FirstContact {
  /** SMC-R: no gateway between the peers. */
  readonly direct: boolean;
  readonly os: number;
  readonly release: number;
  /** Empty if not all ASCII. */
  readonly hostName: string;
  /** SMC-R only, else 0; these three are 0 in the short form. */
  readonly maxConns: number;
  readonly maxLinks: number;
  readonly featureMask: number;
}

/** Bytes of the extension: `long` for SMC-R always, for SMC-D from release 1 on. */
export const firstContactSize = (long: boolean): number => identity.size + (long ? negotiated.size : 0);

/** Errors: SmcError EINVAL for a value that does not fit. */
export function encodeFirstContact(value: FirstContact, long: boolean, into: Uint8Array, at: number): void {
  const { os, release, hostName } = value;
  identity.encode({ flags: { direct: value.direct ? 1 : 0 }, origin: { os, release }, hostName }, into, at);
  if (long) negotiated.encode(value, into, at + identity.size);
}

/** `alwaysLong` for SMC-R; SMC-D tells its form by the release. Errors: SmcError EPROTO if `body` ends before it does. */
export function decodeFirstContact(body: Uint8Array, at: number, alwaysLong: boolean): FirstContact {
  const { flags, origin, hostName } = identity.decode(body, at);
  const long = alwaysLong || origin.release >= 1;
  const rest = long ? negotiated.decode(body, at + identity.size) : { maxConns: 0, maxLinks: 0, featureMask: 0 };
  const ascii = [...hostName].every((char) => char.charCodeAt(0) < 0x80);
  return { direct: flags.direct === 1, ...origin, hostName: ascii ? hostName : "", ...rest };
}
