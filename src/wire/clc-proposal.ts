/**
 * CLC Proposal: what a client offers, in version 1 and 2.
 *
 * Owns the pieces, their offsets to each other and the receiver's checks. Knows nothing of which offer is sensible.
 * Source: smc-protocol §2.2. Pieces in wire order:
 *
 *   0      40        80 (40 in the RFC form)
 *   | base | SMC-D area | prefix area, IPv6 prefixes | v2 extension, EIDs | SMC-D v2 extension, entries | trailer |
 */
import {
  CLC_TRAILER_SIZE,
  checkHead,
  checkTrailer,
  clcTrailer,
  clcTypeNumber,
  EYECATCHER_SMCR,
  includesD,
  PATHS,
  type Path,
  pathNumber,
  proposalHead,
} from "./clc-header.js";
import { ISM_ENTRIES_MAX, type IsmEntry } from "./clc-ism.js";
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
  u16be,
  u32be,
  u64be,
} from "./field.js";

/** Most user EIDs and most IPv6 prefixes in one Proposal. */
export const UEIDS_MAX = 8;
export const IPV6_PREFIXES_MAX = 8;

const MESSAGE = "CLC Proposal";
const base = struct(MESSAGE, {
  ...proposalHead,
  peerId: bytes(8),
  gid: bytes(16),
  mac: bytes(6),
  ipareaOffset: u16be,
});
const smcdArea = struct(`${MESSAGE} SMC-D area`, {
  gid: u64be,
  chid: u16be,
  v2ExtOffset: u16be,
  oui: reserved(3),
  vendor: reserved(5),
  reserved: reserved(20),
});
const prefixArea = struct(`${MESSAGE} prefix area`, {
  ipv4Network: u32be,
  ipv4Length: u8,
  reserved: reserved(2),
  ipv6Count: u8,
});
const ipv6Prefix = struct(`${MESSAGE} IPv6 prefix`, { prefix: bytes(16), length: u8 });
const v2Extension = struct(`${MESSAGE} v2 extension`, {
  eidCount: u8,
  entryCount: u8,
  reserved0: reserved(1),
  flags: bits({ release: 4, _: 3, seidValid: 1 }),
  reserved1: reserved(2),
  smcdV2ExtOffset: u16be,
  rocev2Gid: bytes(16),
  maxConns: u8,
  maxLinks: u8,
  featureMask: u16be,
  reserved2: reserved(12),
});
const userEid = struct(`${MESSAGE} EID`, { eid: text(32) });
const smcdV2Extension = struct(`${MESSAGE} SMC-D v2 extension`, { systemEid: text(32), reserved: reserved(16) });
const ismEntry = struct(`${MESSAGE} ISM entry`, { gid: u64be, chid: u16be });

/** Offsets inside the message are counted from these bytes. */
const IPAREA_ORIGIN = base.size;
const V2_EXT_ORIGIN = base.size + smcdArea.offsets.oui;
const SMCD_V2_EXT_ORIGIN = v2Extension.offsets.rocev2Gid;

export interface Ipv6Prefix {
  readonly prefix: Uint8Array;
  /** Significant bits. */
  readonly length: number;
}

/** Subnets of the client's outgoing address: IPv6 if `ipv6` has entries, else the masked IPv4 network. */
export interface PrefixArea {
  readonly ipv4Network: number;
  /** Significant bits. */
  readonly ipv4Length: number;
  readonly ipv6: readonly Ipv6Prefix[];
}

export interface ProposalV2 {
  readonly release: number;
  readonly seidValid: boolean;
  /** 16 bytes; zero without SMC-Rv2. */
  readonly rocev2Gid: Uint8Array;
  /** SMC-R v2.1 only, else 0. */
  readonly maxConns: number;
  readonly maxLinks: number;
  /** Bit 0: emulated ISM devices understood. */
  readonly featureMask: number;
  readonly ueids: readonly string[];
  /** Present iff typev2 includes D; the empty systemEid means none. */
  readonly smcd: { readonly systemEid: string; readonly entries: readonly IsmEntry[] } | undefined;
}

export interface Proposal {
  readonly type: "Proposal";
  readonly version: number;
  readonly typev1: Path;
  /** "N" in version 1, whose header has no such bits. */
  readonly typev2: Path;
  /** SMC-R under v1 rules only, else zero: 8, 16 and 6 bytes. */
  readonly peerId: Uint8Array;
  readonly gid: Uint8Array;
  readonly mac: Uint8Array;
  /** The SMC-D area: always in version 2, in version 1 unless the message has the RFC's short form. */
  readonly smcd: { readonly gid: bigint; readonly chid: number } | undefined;
  /** Present iff version 1 or typev1 is not N. */
  readonly prefixes: PrefixArea | undefined;
  /** Present iff version 2 and typev2 is not N. */
  readonly v2: ProposalV2 | undefined;
}

/** Where each piece begins; undefined where the message has none. */
interface Layout {
  readonly smcd: number | undefined;
  readonly prefixes: number | undefined;
  readonly v2: number | undefined;
  readonly smcdV2: number | undefined;
  readonly length: number;
}

/** What decode requires of the parts, required before encoding. */
function checkParts({ version, typev1, typev2, smcd, prefixes, v2 }: Proposal): void {
  if (version === 1 && typev1 === "N") throw contradiction(MESSAGE, "typev1", "is N in version 1");
  if (version > 1 || includesD(typev1)) expectPart(MESSAGE, "smcd", smcd, true);
  expectPart(MESSAGE, "prefixes", prefixes, version === 1 || typev1 !== "N");
  expectPart(MESSAGE, "v2", v2, version > 1 && typev2 !== "N");
  if (v2) expectPart(MESSAGE, "v2.smcd", v2.smcd, includesD(typev2));
  const tooMany = (list: readonly unknown[] | undefined, limit: number) => list !== undefined && list.length > limit;
  if (tooMany(prefixes?.ipv6, IPV6_PREFIXES_MAX)) throw contradiction(MESSAGE, "prefixes", "has more than 8 entries");
  if (tooMany(v2?.ueids, UEIDS_MAX)) throw contradiction(MESSAGE, "ueids", "has more than 8 entries");
  if (tooMany(v2?.smcd?.entries, ISM_ENTRIES_MAX)) throw contradiction(MESSAGE, "entries", "has more than 8 entries");
}

function layOut(proposal: Proposal): Layout {
  let at = base.size;
  const place = (present: boolean, size: number): number | undefined => {
    const start = at;
    if (present) at += size;
    return present ? start : undefined;
  };
  const { smcd, prefixes, v2 } = proposal;
  return {
    smcd: place(smcd !== undefined, smcdArea.size),
    prefixes: place(prefixes !== undefined, prefixArea.size + ipv6Prefix.size * (prefixes?.ipv6.length ?? 0)),
    v2: place(v2 !== undefined, v2Extension.size + userEid.size * (v2?.ueids.length ?? 0)),
    smcdV2: place(v2?.smcd !== undefined, smcdV2Extension.size + ismEntry.size * (v2?.smcd?.entries.length ?? 0)),
    length: at + CLC_TRAILER_SIZE,
  };
}

/** Bytes of a Proposal. Errors: SmcError EINVAL for a value that does not fit its field. */
export function encodeProposal(proposal: Proposal): Uint8Array {
  checkParts(proposal);
  const { smcd, prefixes, v2 } = proposal;
  const at = layOut(proposal);
  const out = new Uint8Array(at.length);
  const ipareaOffset = at.prefixes === undefined ? 0 : at.prefixes - IPAREA_ORIGIN;
  base.encode(
    {
      ...proposal,
      ipareaOffset,
      eyecatcher: EYECATCHER_SMCR,
      type: clcTypeNumber("Proposal"),
      length: at.length,
      flags: {
        version: proposal.version,
        typev2: proposal.version === 1 ? 0 : pathNumber(proposal.typev2),
        typev1: pathNumber(proposal.typev1),
      },
    },
    out,
  );
  if (smcd && at.smcd !== undefined)
    smcdArea.encode({ ...smcd, v2ExtOffset: at.v2 === undefined ? 0 : at.v2 - V2_EXT_ORIGIN }, out, at.smcd);
  if (prefixes && at.prefixes !== undefined) {
    prefixArea.encode({ ...prefixes, ipv6Count: prefixes.ipv6.length }, out, at.prefixes);
    ipv6Prefix.encodeList(prefixes.ipv6, out, at.prefixes + prefixArea.size);
  }
  if (v2 && at.v2 !== undefined) {
    v2Extension.encode(
      {
        ...v2,
        eidCount: v2.ueids.length,
        entryCount: v2.smcd?.entries.length ?? 0,
        flags: { release: v2.release, seidValid: v2.seidValid ? 1 : 0 },
        smcdV2ExtOffset: at.smcdV2 === undefined ? 0 : at.smcdV2 - at.v2 - SMCD_V2_EXT_ORIGIN,
      },
      out,
      at.v2,
    );
    userEid.encodeList(
      v2.ueids.map((eid) => ({ eid })),
      out,
      at.v2 + v2Extension.size,
    );
  }
  if (v2?.smcd && at.smcdV2 !== undefined) {
    smcdV2Extension.encode(v2.smcd, out, at.smcdV2);
    ismEntry.encodeList(v2.smcd.entries, out, at.smcdV2 + smcdV2Extension.size);
  }
  clcTrailer.encode({ trailer: EYECATCHER_SMCR }, out, at.length - CLC_TRAILER_SIZE);
  return out;
}

function atMost(value: number, limit: number, field: string, byte: number): number {
  if (value > limit) throw malformed(MESSAGE, field, byte, `is more than ${limit}`, value);
  return value;
}

function decodePrefixes(body: Uint8Array, at: number): PrefixArea {
  const { ipv4Network, ipv4Length, ipv6Count } = prefixArea.decode(body, at);
  const count = atMost(ipv6Count, IPV6_PREFIXES_MAX, "ipv6Count", at + prefixArea.offsets.ipv6Count);
  return { ipv4Network, ipv4Length, ipv6: ipv6Prefix.decodeList(body, at + prefixArea.size, count) };
}

function decodeV2(body: Uint8Array, at: number, typev2: Path): ProposalV2 {
  const { eidCount, entryCount, flags, smcdV2ExtOffset, ...rest } = v2Extension.decode(body, at);
  atMost(eidCount, UEIDS_MAX, "eidCount", at + v2Extension.offsets.eidCount);
  atMost(entryCount, ISM_ENTRIES_MAX, "entryCount", at + v2Extension.offsets.entryCount);
  const ueids = userEid.decodeList(body, at + v2Extension.size, eidCount).map(({ eid }) => eid);
  let smcd: ProposalV2["smcd"];
  if (includesD(typev2)) {
    const field = at + v2Extension.offsets.smcdV2ExtOffset;
    if (smcdV2ExtOffset === 0) throw malformed(MESSAGE, "smcdV2ExtOffset", field, "is 0", 0);
    const smcdAt = at + SMCD_V2_EXT_ORIGIN + smcdV2ExtOffset;
    const { systemEid } = smcdV2Extension.decode(body, smcdAt);
    smcd = { systemEid, entries: ismEntry.decodeList(body, smcdAt + smcdV2Extension.size, entryCount) };
  }
  return { ...rest, release: flags.release, seidValid: flags.seidValid === 1, ueids, smcd };
}

/** The Proposal decoded last: a client says the same on each connection, byte for byte. */
let last: { readonly message: Uint8Array; readonly proposal: Proposal } | undefined;

/**
 * Value of a Proposal.
 *
 * Takes:  bytes, the whole message.
 * Errors: SmcError EPROTO for a header, an offset, a count, a length or a trailer that the receiver's checks refuse.
 * Source: §2.2 "length arithmetic" and "other receiver checks".
 */
export function decodeProposal(message: Uint8Array): Proposal {
  if (last !== undefined && Buffer.compare(message, last.message) === 0) return last.proposal;
  last = { message: message.slice(), proposal: decodeAnew(message) };
  return last.proposal;
}

function decodeAnew(message: Uint8Array): Proposal {
  const { version } = checkHead(message);
  // Pieces end where the trailer begins.
  const body = message.subarray(0, message.length - CLC_TRAILER_SIZE);
  const { flags, peerId, gid, mac, ipareaOffset } = base.decode(body);
  const typev1 = PATHS[flags.typev1];
  const typev2 = version === 1 ? "N" : PATHS[flags.typev2];
  if (version === 1 && typev1 === "N") throw malformed(MESSAGE, "typev1", 7, "is N in version 1", typev1);
  atMost(ipareaOffset, smcdArea.size, "ipareaOffset", base.offsets.ipareaOffset);
  if (includesD(typev1) && ipareaOffset !== smcdArea.size)
    throw malformed(
      MESSAGE,
      "ipareaOffset",
      base.offsets.ipareaOffset,
      "is not 40 although D is offered",
      ipareaOffset,
    );

  const area = version > 1 || ipareaOffset === smcdArea.size ? smcdArea.decode(body, base.size) : undefined;
  const prefixes = version === 1 || typev1 !== "N" ? decodePrefixes(body, IPAREA_ORIGIN + ipareaOffset) : undefined;
  let v2: ProposalV2 | undefined;
  if (version > 1 && typev2 !== "N") {
    const field = base.size + smcdArea.offsets.v2ExtOffset;
    if (!area?.v2ExtOffset) throw malformed(MESSAGE, "v2ExtOffset", field, "is 0", 0);
    v2 = decodeV2(body, V2_EXT_ORIGIN + area.v2ExtOffset, typev2);
  }
  const smcd = area && { gid: area.gid, chid: area.chid };
  const proposal: Proposal = { type: "Proposal", version, typev1, typev2, peerId, gid, mac, smcd, prefixes, v2 };
  // The one length that is not derivable from our layout: a version 1 area offset between 0 and 40.
  const gap = version === 1 && smcd === undefined ? ipareaOffset : 0;
  const required = layOut(proposal).length + gap;
  if (message.length !== required) throw malformed(MESSAGE, "length", 5, `is not ${required}`, message.length);
  checkTrailer(MESSAGE, message);
  return proposal;
}
