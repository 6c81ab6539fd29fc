/**
 * Subnets of an address: what version 1 compares to tell whether two ends are on one network.
 *
 * Owns finding the prefixes of a local address among the interfaces and comparing two prefix areas.
 * Reads no system state itself. Source: smc-protocol §2.2 (prefix area), §2.7.
 */
import { isIPv4 } from "node:net";
import type { NetworkInterfaceInfo } from "node:os";
import { IPV6_PREFIXES_MAX, type Ipv6Prefix, type PrefixArea } from "../wire/clc-proposal.js";

/** What os.networkInterfaces() returns. */
export type Interfaces = Readonly<Record<string, readonly NetworkInterfaceInfo[] | undefined>>;

const V4_MAPPED = "::ffff:";

function ipv4Number(address: string): number {
  return address.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
}

/** 16 bytes of an IPv6 address in text, scope id allowed. */
export function ipv6Bytes(address: string): Uint8Array {
  const words = (part: string): number[] =>
    part === ""
      ? []
      : part.split(":").flatMap((word) => {
          if (!word.includes(".")) return [Number.parseInt(word, 16)];
          const number = ipv4Number(word);
          return [Math.floor(number / 65536), number % 65536];
        });
  const [left, right] = address.split("%")[0].split("::");
  const head = words(left);
  const tail = right === undefined ? [] : words(right);
  const all = [...head, ...new Array<number>(8 - head.length - tail.length).fill(0), ...tail];
  return Uint8Array.from(all.flatMap((word) => [word >> 8, word & 0xff]));
}

/** Significant bits of a netmask given as bytes. */
function prefixLength(mask: Uint8Array): number {
  const bits = Array.from(mask, (byte) => byte.toString(2).padStart(8, "0")).join("");
  const end = bits.indexOf("0");
  return end === -1 ? bits.length : end;
}

function masked(bytes: Uint8Array, length: number): Uint8Array {
  return bytes.map((byte, i) => byte & (0xff00 >> Math.min(8, Math.max(0, length - 8 * i))));
}

const isLinkLocal = (bytes: Uint8Array): boolean => bytes[0] === 0xfe && (bytes[1] & 0xc0) === 0x80;

/**
 * The prefix area of a connection's local address.
 *
 * Returns: undefined if no interface has the address, or only link-local IPv6 ones: version 1 cannot be offered then.
 */
export function prefixesOf(localAddress: string, interfaces: Interfaces): PrefixArea | undefined {
  const mapped = localAddress.toLowerCase().startsWith(V4_MAPPED) ? localAddress.slice(V4_MAPPED.length) : localAddress;
  const wanted = mapped.split("%")[0];
  const own = Object.values(interfaces).find((entries) => entries?.some((entry) => entry.address === wanted));
  if (!own) return undefined;
  if (isIPv4(wanted)) {
    const mask = own.find((entry) => entry.address === wanted)?.netmask ?? "";
    const length = prefixLength(Uint8Array.from(mask.split("."), Number));
    const network = ipv4Number(wanted);
    return { ipv4Network: length === 0 ? 0 : (network & (-1 << (32 - length))) >>> 0, ipv4Length: length, ipv6: [] };
  }
  const ipv6: Ipv6Prefix[] = [];
  for (const { family, address, netmask } of own) {
    if (family !== "IPv6" || ipv6.length === IPV6_PREFIXES_MAX) continue;
    const bytes = ipv6Bytes(address);
    if (isLinkLocal(bytes)) continue;
    const length = prefixLength(ipv6Bytes(netmask));
    ipv6.push({ prefix: masked(bytes, length), length });
  }
  return ipv6.length === 0 ? undefined : { ipv4Network: 0, ipv4Length: 0, ipv6 };
}

const samePrefix = (a: Ipv6Prefix, b: Ipv6Prefix): boolean =>
  a.length === b.length && a.prefix.every((byte, i) => byte === b.prefix[i]);

/** True if both are on one network: the same IPv4 network and length, or one IPv6 prefix in common. */
export function prefixesMatch(offered: PrefixArea, local: PrefixArea): boolean {
  if (offered.ipv6.length > 0) return offered.ipv6.some((a) => local.ipv6.some((b) => samePrefix(a, b)));
  return (
    local.ipv6.length === 0 && offered.ipv4Network === local.ipv4Network && offered.ipv4Length === local.ipv4Length
  );
}
