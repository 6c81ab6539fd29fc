/**
 * What a server can take of a Proposal, in its order of preference.
 *
 * Owns the order and the conditions. Tries nothing itself: a step is tried by the driver, and the next one if that fails.
 * Source: smc-protocol §2.7 (server), with SEID disabled. SMC-R offers are passed over.
 */
import { DIAGNOSIS } from "../wire/clc-diagnosis.js";
import { includesD, includesR } from "../wire/clc-header.js";
import { type IsmDevice, toDevices } from "../wire/clc-ism.js";
import type { Proposal } from "../wire/clc-proposal.js";
import { type LocalDevice, type LocalOffer, type OfferedPeer, RELEASE } from "./agreement.js";
import { prefixesMatch } from "./prefix.js";

/** A pairing worth trying, or the reason why one kind of path is out. */
export type Step =
  | { readonly device: LocalDevice; readonly peer: OfferedPeer; readonly diagnosis?: undefined }
  | { readonly device?: undefined; readonly diagnosis: number };

/** Native device first, then the list in the client's order. */
function offeredDevices(proposal: Proposal): IsmDevice[] {
  const { smcd, v2 } = proposal;
  const native = smcd && smcd.chid !== 0 ? [{ gid: smcd.gid, gidExt: 0n, chid: smcd.chid }] : [];
  return [...native, ...toDevices(v2?.smcd?.entries ?? [])];
}

function stepsV2(proposal: Proposal, local: LocalOffer): Step[] {
  const { v2 } = proposal;
  if (!v2 || !includesD(proposal.typev2)) return [];
  if (local.version === 1) return [{ diagnosis: DIAGNOSIS.NOISM2SUPP.code }];
  const eid = v2.ueids.find((ueid) => local.ueids.includes(ueid));
  if (eid === undefined) return [{ diagnosis: DIAGNOSIS.NOUEID.code }];
  const release = Math.min(v2.release, RELEASE);
  const steps: Step[] = [];
  for (const { gid, gidExt, chid } of offeredDevices(proposal)) {
    const device = local.devices.find((own) => own.chid === chid && own.reaches(gid, gidExt));
    if (device) steps.push({ device, peer: { version: 2, release, gid, gidExt, chid, eid } });
  }
  return steps.length > 0 ? steps : [{ diagnosis: DIAGNOSIS.NOSMCD2DEV.code }];
}

function stepsV1(proposal: Proposal, local: LocalOffer): Step[] {
  const { smcd, prefixes } = proposal;
  if (!includesD(proposal.typev1) || !smcd || !prefixes) return [];
  if (!local.prefixes || !prefixesMatch(prefixes, local.prefixes)) return [{ diagnosis: DIAGNOSIS.DIFFPREFIX.code }];
  const device = local.devices.find((own) => own.v1 && own.reaches(smcd.gid, undefined));
  if (!device) return [{ diagnosis: DIAGNOSIS.NOSMCDDEV.code }];
  const peer: OfferedPeer = {
    version: 1,
    release: 0,
    gid: smcd.gid,
    gidExt: undefined,
    chid: undefined,
    eid: "",
  };
  return [{ device, peer }];
}

/**
 * All steps in order, SMC-Dv2 before SMC-Dv1. Never empty: what cannot work comes as its diagnosis, and the first
 * diagnosis met on the way is the one to report if no step succeeds.
 */
export function selectionSteps(proposal: Proposal, local: LocalOffer): readonly Step[] {
  if (local.devices.length === 0) return [{ diagnosis: DIAGNOSIS.NOSMCDEV.code }];
  const steps = [...stepsV2(proposal, local), ...stepsV1(proposal, local)];
  if (steps.length > 0) return steps;
  const onlyR = includesR(proposal.typev1) || includesR(proposal.typev2);
  return [{ diagnosis: (onlyR ? DIAGNOSIS.NOSMCRDEV : DIAGNOSIS.NOSMCDDEV).code }];
}
