/**
 * What this thread offers in a handshake: devices, EIDs, the subnets of the connection's local address.
 *
 * Owns the one offer for each set of options and each local address: it does not change, and every connection needs it.
 */
import { hostname, networkInterfaces } from "node:os";
import type { LocalDevice, LocalOffer } from "../clc/agreement.js";
import { prefixesOf } from "../clc/prefix.js";
import { allowsVersion1, type SmcOptions } from "../config.js";
import type { Stack } from "../stack.js";

/** Only SMC-R has one to tell. */
const NO_PEER_ID = new Uint8Array(8);
/** Local addresses remembered; then all are forgotten. */
const MOST_ADDRESSES = 256;

/** Subnets by local address: interfaces cost a system call each. */
const prefixes = new Map<string, LocalOffer["prefixes"]>();

function prefixesFor(address: string): LocalOffer["prefixes"] {
  if (address === "") return undefined;
  if (!prefixes.has(address)) {
    if (prefixes.size >= MOST_ADDRESSES) prefixes.clear();
    prefixes.set(address, prefixesOf(address, networkInterfaces()));
  }
  return prefixes.get(address);
}

const offers = new WeakMap<SmcOptions, Map<string, LocalOffer>>();

/** The offer for a connection with this local address, which may be empty. */
export function localOffer(stack: Stack, options: SmcOptions, address: string): LocalOffer {
  let known = offers.get(options);
  if (known === undefined || known.size >= MOST_ADDRESSES) {
    known = new Map();
    offers.set(options, known);
  }
  const before = known.get(address);
  if (before !== undefined) return before;
  const offer = makeOffer(stack, options, address);
  known.set(address, offer);
  return offer;
}

function makeOffer(stack: Stack, options: SmcOptions, address: string): LocalOffer {
  const devices = stack.devices.map(
    (device): LocalDevice => ({
      name: device.name,
      kind: "D",
      gid: device.gid,
      gidExt: device.gidExt,
      chid: device.chid,
      v1: device.v1 && allowsVersion1(options),
      reaches: (gid, gidExt) => device.toward(gid, gidExt) !== undefined,
    }),
  );
  return {
    devices,
    ueids: options.ueids,
    version: options.clcVersion === 1 ? 1 : 2,
    peerId: NO_PEER_ID,
    prefixes: prefixesFor(address),
    hostName: hostname()
      .replace(/[^\x20-\x7e]/g, "")
      .slice(0, 32),
  };
}
