/**
 * CLC Accept and Confirm for SMC-R, version 1 (68 bytes) and 2 (108 bytes and more).
 *
 * Owns the layout. Knows nothing of queue pairs or of what may be accepted. Source: smc-protocol §2.3.
 */

import { decodeFirstContact, encodeFirstContact, type FirstContact, firstContactSize } from "./clc-first-contact.js";
import {
  answerHead,
  CLC_TRAILER_SIZE,
  type ClcHead,
  checkTrailer,
  clcTrailer,
  clcTypeNumber,
  EYECATCHER_SMCR,
  pathNumber,
} from "./clc-header.js";
import {
  bits,
  bytes,
  contradiction,
  expectPart,
  malformed,
  reserved,
  struct,
  text,
  u8,
  u24be,
  u32be,
  u64be,
} from "./field.js";

const common = struct("CLC SMC-R answer", {
  ...answerHead,
  peerId: bytes(8),
  gid: bytes(16),
  mac: bytes(6),
  qpNumber: u24be,
  rkey: u32be,
  rmbeIndex: u8,
  alertToken: u32be,
  sizes: bits({ rmbeSize: 4, mtu: 4 }),
  reserved0: reserved(1),
  address: u64be,
  reserved1: reserved(1),
  psn: u24be,
});
const version2 = struct("CLC SMC-R v2 answer", { eid: text(32), reserved: reserved(8) });
const gidCount = struct("CLC Confirm GID list", { count: u8, reserved: reserved(3) });
const gidEntry = struct("CLC Confirm GID list", { gid: bytes(16) });

const LENGTH_V1 = common.size + CLC_TRAILER_SIZE;
const EXTENSION_AT = common.size + version2.size;
const LENGTH_V2_MIN = EXTENSION_AT + CLC_TRAILER_SIZE;
const GID_LIST_AT = EXTENSION_AT + firstContactSize(true);

/** An Accept or Confirm of SMC-R. */
export interface SmcrAnswer {
  readonly type: "Accept" | "Confirm";
  readonly path: "R";
  readonly version: number;
  readonly firstContact: boolean;
  readonly peerId: Uint8Array;
  readonly gid: Uint8Array;
  readonly mac: Uint8Array;
  readonly qpNumber: number;
  readonly rkey: number;
  /** 1-based. */
  readonly rmbeIndex: number;
  readonly alertToken: number;
  /** Compressed: 2^(14+n) bytes. */
  readonly rmbeSize: number;
  /** 1 to 5 for 256 to 4096 bytes. */
  readonly mtu: number;
  readonly address: bigint;
  readonly psn: number;
  /** Version 2 only. `extension` iff firstContact; `gids` in a Confirm with first contact, else empty. */
  readonly v2:
    | { readonly eid: string; readonly extension: FirstContact | undefined; readonly gids: readonly Uint8Array[] }
    | undefined;
}

const hasGidList = (type: SmcrAnswer["type"], firstContact: boolean): boolean => type === "Confirm" && firstContact;

/** Errors: SmcError EINVAL for a value that does not fit its field. */
export function encodeSmcrAnswer(answer: SmcrAnswer): Uint8Array {
  const { type, v2, firstContact } = answer;
  const name = `CLC ${type}`;
  expectPart(name, "v2", v2, answer.version > 1);
  if (v2) expectPart(name, "extension", v2.extension, firstContact);
  const extension = v2?.extension;
  const gids = v2 && hasGidList(type, firstContact) ? v2.gids : undefined;
  if (v2?.gids.length && !gids) throw contradiction(name, "gids", "has no place in this message");
  let length = v2 ? LENGTH_V2_MIN : LENGTH_V1;
  if (extension) length += firstContactSize(true);
  if (gids) length += gidCount.size + gidEntry.size * gids.length;
  const out = new Uint8Array(length);
  common.encode(
    {
      ...answer,
      eyecatcher: EYECATCHER_SMCR,
      type: clcTypeNumber(type),
      length,
      flags: { version: answer.version, flag: firstContact ? 1 : 0, typev1: pathNumber("R") },
      sizes: { rmbeSize: answer.rmbeSize, mtu: answer.mtu },
    },
    out,
  );
  if (v2) version2.encode(v2, out, common.size);
  if (extension) encodeFirstContact(extension, true, out, EXTENSION_AT);
  if (gids) {
    gidCount.encode({ count: gids.length }, out, GID_LIST_AT);
    gidEntry.encodeList(
      gids.map((gid) => ({ gid })),
      out,
      GID_LIST_AT + gidCount.size,
    );
  }
  clcTrailer.encode({ trailer: EYECATCHER_SMCR }, out, length - CLC_TRAILER_SIZE);
  return out;
}

function decodeV2(body: Uint8Array, type: SmcrAnswer["type"], firstContact: boolean): SmcrAnswer["v2"] {
  const { eid } = version2.decode(body, common.size);
  const extension = firstContact ? decodeFirstContact(body, EXTENSION_AT, true) : undefined;
  if (!hasGidList(type, firstContact)) return { eid, extension, gids: [] };
  const { count } = gidCount.decode(body, GID_LIST_AT);
  const gids = gidEntry.decodeList(body, GID_LIST_AT + gidCount.size, count).map(({ gid }) => gid);
  return { eid, extension, gids };
}

/**
 * Takes:  message, whole; head as `checkHead` returned it.
 * Errors: SmcError EPROTO. Version 1 has an exact length; version 2 a least one, so that a later release may append.
 */
export function decodeSmcrAnswer(message: Uint8Array, head: ClcHead, type: SmcrAnswer["type"]): SmcrAnswer {
  const name = `CLC ${type}`;
  const { version, length } = head;
  if (version === 1 ? length !== LENGTH_V1 : length < LENGTH_V2_MIN)
    throw malformed(name, "length", 5, `is not ${version === 1 ? LENGTH_V1 : `${LENGTH_V2_MIN} or more`}`, length);
  const body = message.subarray(0, length - CLC_TRAILER_SIZE);
  const { flags, sizes, peerId, gid, mac, qpNumber, rkey, rmbeIndex, alertToken, address, psn } = common.decode(body);
  const firstContact = flags.flag === 1;
  const v2 = version > 1 ? decodeV2(body, type, firstContact) : undefined;
  checkTrailer(name, message);
  const buffer = { qpNumber, rkey, rmbeIndex, alertToken, ...sizes, address, psn };
  return { type, path: "R", version, firstContact, peerId, gid, mac, ...buffer, v2 };
}
