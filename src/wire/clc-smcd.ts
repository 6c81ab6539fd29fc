/**
 * CLC Accept and Confirm for SMC-D, version 1 (48 bytes) and 2 (78 bytes, 114 or 130 with first contact).
 *
 * Owns the layout. Knows nothing of what may be accepted. Source: smc-protocol §2.4.
 */

import { decodeFirstContact, encodeFirstContact, type FirstContact, firstContactSize } from "./clc-first-contact.js";
import {
  answerHead,
  CLC_TRAILER_SIZE,
  type ClcHead,
  checkTrailer,
  clcTrailer,
  clcTypeNumber,
  EYECATCHER_SMCD,
  pathNumber,
} from "./clc-header.js";
import { bits, expectPart, malformed, reserved, struct, text, u8, u16be, u32be, u64be } from "./field.js";

const common = struct("CLC SMC-D answer", {
  ...answerHead,
  gid: u64be,
  token: u64be,
  dmbeIndex: u8,
  size: bits({ dmbeSize: 4, _: 4 }),
  reserved: reserved(2),
  linkId: u32be,
});
const version2 = struct("CLC SMC-D v2 answer", { chid: u16be, eid: text(32), gidExt: u64be });
/** Bytes that mean nothing, behind the common fields of version 1. */
const VERSION1_RESERVED = 12;
const LENGTH_V1 = common.size + VERSION1_RESERVED + CLC_TRAILER_SIZE;
const EXTENSION_AT = common.size + version2.size;
const LENGTH_V2_MIN = EXTENSION_AT + CLC_TRAILER_SIZE;

/** An Accept or Confirm of SMC-D. */
export interface SmcdAnswer {
  readonly type: "Accept" | "Confirm";
  readonly path: "D";
  readonly version: number;
  readonly firstContact: boolean;
  /** The sender's own device and receive buffer. */
  readonly gid: bigint;
  readonly token: bigint;
  readonly dmbeIndex: number;
  /** Compressed: 2^(14+n) bytes, CDC area included. */
  readonly dmbeSize: number;
  /** Link group id of the sender, opaque. */
  readonly linkId: number;
  /** Version 2 only. `extension` iff firstContact; `gidExt` means something for emulated ISM only. */
  readonly v2:
    | {
        readonly chid: number;
        readonly eid: string;
        readonly gidExt: bigint;
        readonly extension: FirstContact | undefined;
      }
    | undefined;
}

/** Errors: SmcError EINVAL for a value that does not fit its field. */
export function encodeSmcdAnswer(answer: SmcdAnswer): Uint8Array {
  const { v2, firstContact } = answer;
  const name = `CLC ${answer.type}`;
  expectPart(name, "v2", v2, answer.version > 1);
  if (v2) expectPart(name, "extension", v2.extension, firstContact);
  const extension = v2?.extension;
  const long = (extension?.release ?? 0) >= 1;
  const length = v2 ? LENGTH_V2_MIN + (extension ? firstContactSize(long) : 0) : LENGTH_V1;
  const out = new Uint8Array(length);
  const { version, gid, token, dmbeIndex, dmbeSize, linkId } = answer;
  const type = clcTypeNumber(answer.type);
  const flags = { version, flag: firstContact ? 1 : 0, typev1: pathNumber("D") };
  const size = { dmbeSize };
  common.encode({ eyecatcher: EYECATCHER_SMCD, type, length, flags, gid, token, dmbeIndex, size, linkId }, out);
  if (v2) version2.encode(v2, out, common.size);
  if (extension) encodeFirstContact(extension, long, out, EXTENSION_AT);
  clcTrailer.encode({ trailer: EYECATCHER_SMCD }, out, length - CLC_TRAILER_SIZE);
  return out;
}

/**
 * Takes:  message, whole; head as `checkHead` returned it.
 * Errors: SmcError EPROTO. Version 1 has an exact length; version 2 a least one, so that a later release may append.
 */
export function decodeSmcdAnswer(message: Uint8Array, head: ClcHead, type: SmcdAnswer["type"]): SmcdAnswer {
  const name = `CLC ${type}`;
  const { version, length } = head;
  if (version === 1 ? length !== LENGTH_V1 : length < LENGTH_V2_MIN)
    throw malformed(name, "length", 5, `is not ${version === 1 ? LENGTH_V1 : `${LENGTH_V2_MIN} or more`}`, length);
  const body = message.subarray(0, length - CLC_TRAILER_SIZE);
  const { flags, gid, token, dmbeIndex, size, linkId } = common.decode(body);
  const firstContact = flags.flag === 1;
  let v2: SmcdAnswer["v2"];
  if (version > 1) {
    const { chid, eid, gidExt } = version2.decode(body, common.size);
    v2 = { chid, eid, gidExt, extension: firstContact ? decodeFirstContact(body, EXTENSION_AT, false) : undefined };
  }
  checkTrailer(name, message);
  return { type, path: "D", version, firstContact, gid, token, dmbeIndex, dmbeSize: size.dmbeSize, linkId, v2 };
}
