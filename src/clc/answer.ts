/**
 * Accept and Confirm of SMC-D as the handshake uses them: made from a local endpoint, read as a peer endpoint.
 *
 * Owns the translation between wire values and endpoints. Decides nothing.
 */
import { FEATURE_EMULATED_ISM, OS_LINUX } from "../wire/clc-first-contact.js";
import { isEmulated } from "../wire/clc-ism.js";
import type { SmcdAnswer } from "../wire/clc-smcd.js";
import type { LocalDevice, LocalEndpoint, PeerEndpoint } from "./agreement.js";
import { spoken } from "./handshake.js";

/** Features of release 1 that this side has. */
export const FEATURES = FEATURE_EMULATED_ISM;

/** What both messages of one handshake have in common on our side. */
export interface Terms {
  readonly version: 1 | 2;
  /** Used at first contact. */
  readonly release: number;
  readonly eid: string;
  readonly hostName: string;
  readonly featureMask: number;
}

/** A host name as the extension can carry it: Linux allows 64 characters, the field has 32. */
const hostNameField = (name: string): string => name.replace(/[^ -~]/g, "?").slice(0, 32);

/** Our Accept or Confirm. Source: smc-protocol §2.4. */
export function toAnswer(
  type: SmcdAnswer["type"],
  device: LocalDevice,
  { token, dmbeSize, linkId, firstContact }: LocalEndpoint,
  { version, release, eid, hostName, featureMask }: Terms,
): SmcdAnswer {
  const { gid, chid } = device;
  const extension = firstContact
    ? { direct: false, os: OS_LINUX, release, hostName: hostNameField(hostName), maxConns: 0, maxLinks: 0, featureMask }
    : undefined;
  const gidExt = isEmulated(chid) ? device.gidExt : 0n;
  return {
    type,
    path: "D",
    version,
    firstContact,
    gid,
    token,
    dmbeIndex: 0,
    dmbeSize,
    linkId,
    v2: version === 2 ? { chid, eid, gidExt, extension } : undefined,
  };
}

/** The peer's endpoint in its Accept or Confirm. */
export function toPeer(answer: SmcdAnswer): PeerEndpoint {
  const { gid, token, dmbeSize, linkId, firstContact, v2 } = answer;
  const version = spoken(answer.version);
  return {
    version,
    release: version === 1 ? 0 : v2?.extension?.release,
    gid,
    gidExt: v2?.gidExt,
    chid: v2?.chid,
    eid: v2?.eid ?? "",
    token,
    dmbeSize,
    linkId,
    firstContact,
    hostName: v2?.extension?.hostName,
    os: v2?.extension?.os,
  };
}
