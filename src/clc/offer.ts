/**
 * From a local offer to a Proposal: what a client puts on the table.
 *
 * Owns the rules of offering. Source: smc-protocol §2.7 (client), §2.2. SMC-R is not offered here.
 */
import { DIAGNOSIS } from "../wire/clc-diagnosis.js";
import { FEATURE_EMULATED_ISM } from "../wire/clc-first-contact.js";
import type { Path } from "../wire/clc-header.js";
import { isEmulated, toEntries } from "../wire/clc-ism.js";
import type { Proposal, ProposalV2 } from "../wire/clc-proposal.js";
import { type LocalDevice, type LocalOffer, RELEASE } from "./agreement.js";

/** A Proposal, or the diagnosis of the Decline to send in its place. */
export type Offering =
  | { readonly proposal: Proposal; readonly diagnosis?: undefined }
  | { readonly proposal?: undefined; readonly diagnosis: number };

/** The device offered under version 1 rules. */
export const v1Device = (offer: LocalOffer): LocalDevice | undefined => offer.devices.find((device) => device.v1);

/** A native device in the SMC-D area is matched there by its CHID and not listed again; an emulated one never is. */
const areaChid = (device: LocalDevice | undefined): number => (device && !isEmulated(device.chid) ? device.chid : 0);

/** Devices for the version 2 list: each CHID once. */
function listed(devices: readonly LocalDevice[], taken: number): LocalDevice[] {
  return devices.filter(
    (device, i) => device.chid !== taken && devices.findIndex(({ chid }) => chid === device.chid) === i,
  );
}

/**
 * What to send first.
 *
 * Returns: the Proposal; or NOSMCDEV if there is no device to offer, CNFERR if all there is needs the prefixes of the
 *          local address and they are unknown.
 */
export function buildOffer(offer: LocalOffer): Offering {
  const native = v1Device(offer);
  const v1 = offer.prefixes ? native : undefined;
  const chid = offer.version === 2 ? areaChid(v1) : 0;
  const entries = offer.version === 2 ? toEntries(listed(offer.devices, chid)) : [];
  const typev2: Path = offer.version === 2 && (entries.length > 0 || chid !== 0) ? "D" : "N";
  const typev1: Path = v1 ? "D" : "N";
  if (typev1 === "N" && typev2 === "N")
    return { diagnosis: (native && !offer.prefixes ? DIAGNOSIS.CNFERR : DIAGNOSIS.NOSMCDEV).code };
  const v2: ProposalV2 = {
    release: RELEASE,
    seidValid: false,
    rocev2Gid: new Uint8Array(16),
    maxConns: 0,
    maxLinks: 0,
    featureMask: FEATURE_EMULATED_ISM,
    ueids: offer.ueids,
    smcd: { systemEid: "", entries },
  };
  return {
    proposal: {
      type: "Proposal",
      version: offer.version,
      typev1,
      typev2,
      peerId: new Uint8Array(8),
      gid: new Uint8Array(16),
      mac: new Uint8Array(6),
      smcd: { gid: v1?.gid ?? 0n, chid },
      prefixes: v1 && offer.prefixes,
      v2: typev2 === "N" ? undefined : v2,
    },
  };
}
