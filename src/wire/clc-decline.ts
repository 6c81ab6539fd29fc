/**
 * CLC Decline: 28 bytes in version 1, 44 in version 2.
 *
 * Owns the layout. The meaning of a diagnosis is in clc-diagnosis.ts. Source: smc-protocol §2.5.
 */
import { answerHead, checkHead, clcTypeNumber, EYECATCHER_SMCR } from "./clc-header.js";
import { bits, bytes, malformed, reserved, struct, u32be } from "./field.js";

const common = {
  ...answerHead,
  peerId: bytes(8),
  diagnosis: u32be,
  origin: bits({ os: 4, _: 4 }),
  reserved: reserved(3),
};
const version1 = struct("CLC Decline", { ...common, trailer: u32be });
/** The four further diagnosis words are left zero and not read, as in Linux. */
const version2 = struct("CLC Decline", { ...common, extra: reserved(16), trailer: u32be });

export interface Decline {
  readonly type: "Decline";
  readonly version: number;
  /** The peers disagree whether the link group exists: the receiver terminates it. */
  readonly outOfSync: boolean;
  /** 8 bytes, zero for SMC-D or if unknown. */
  readonly peerId: Uint8Array;
  readonly diagnosis: number;
  /** Operating system of the sender, version 2 only, else 0. */
  readonly os: number;
}

/** Errors: SmcError EINVAL for a value that does not fit its field. */
export function encodeDecline(decline: Decline): Uint8Array {
  const form = decline.version === 1 ? version1 : version2;
  const out = new Uint8Array(form.size);
  form.encode(
    {
      ...decline,
      eyecatcher: EYECATCHER_SMCR,
      type: clcTypeNumber("Decline"),
      length: form.size,
      flags: { version: decline.version, flag: decline.outOfSync ? 1 : 0, typev1: 0 },
      origin: { os: decline.version === 1 ? 0 : decline.os },
      trailer: EYECATCHER_SMCR,
    },
    out,
  );
  return out;
}

/** Takes the whole message; the trailer is not checked. Errors: SmcError EPROTO. */
export function decodeDecline(message: Uint8Array): Decline {
  const { version, length } = checkHead(message);
  const form = version === 1 ? version1 : version2;
  if (length !== form.size) throw malformed("CLC Decline", "length", 5, `is not ${form.size}`, length);
  const { flags, peerId, diagnosis, origin } = form.decode(message);
  if (flags.typev1 > 1) throw malformed("CLC Decline", "typev1", 7, "is not 0 or 1", flags.typev1);
  return {
    type: "Decline",
    version,
    outOfSync: flags.flag === 1,
    peerId,
    diagnosis,
    os: version === 1 ? 0 : origin.os,
  };
}
