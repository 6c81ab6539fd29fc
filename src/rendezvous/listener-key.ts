/**
 * Names under which a listener is entered and looked up: addresses that mean the same to two processes have one name.
 *
 * Owns the naming. Loopback addresses mean something within one network namespace only and carry its number; any other
 * address is taken by value, whoever has it: two listeners with one address in two networks are not told apart by name.
 *
 *   <address>_<port>              a.b.c.d or IPv6, as the 32 digits of its 16 bytes
 *   ns<namespace>-<address>_<port>   a loopback address
 *   ns<namespace>-any4_<port>     every loopback address of IPv4; any6: of IPv6
 */
import { type Endpoint, writeAddress } from "./address.js";
import type { Wildcard } from "./host.js";

/** What a name looks like. */
export const LISTENER_KEY = /^(?:[0-9a-f]{32}|ns\d{1,20}-(?:[0-9a-f]{32}|any4|any6))_\d{1,5}$/;

const V4_PREFIX = `${"0".repeat(20)}ffff`;
const V4_LOOPBACK = `${V4_PREFIX}7f`;
const V4_LOCALHOST = `${V4_LOOPBACK}000001`;
const V4_ANY = `${V4_PREFIX}00000000`;
const V6_LOCALHOST = "1".padStart(32, "0");
const V6_ANY = "0".repeat(32);

const bytes = Buffer.alloc(16);
const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

function digits(address: string): string {
  writeAddress(address, view, 0);
  return bytes.toString("hex");
}

const isLoopback = (address: string): boolean => address.startsWith(V4_LOOPBACK) || address === V6_LOCALHOST;

/**
 * The names a listener is entered under.
 *
 * Takes:   namespace, number of its network namespace; local, the addresses of its interfaces.
 */
export function keysToEnter(
  { address, port }: Endpoint,
  wildcard: Wildcard,
  namespace: number,
  local: readonly string[],
): string[] {
  if (wildcard === "none") {
    const exact = digits(address);
    return [`${isLoopback(exact) ? `ns${namespace}-` : ""}${exact}_${port}`];
  }
  const v4 = wildcard !== "any6";
  const v6 = wildcard !== "any4";
  const keys = new Set<string>();
  if (v4) keys.add(`ns${namespace}-any4_${port}`);
  if (v6) keys.add(`ns${namespace}-any6_${port}`);
  for (const one of local.map(digits)) {
    if (!isLoopback(one) && (one.startsWith(V4_PREFIX) ? v4 : v6)) keys.add(`${one}_${port}`);
  }
  return [...keys];
}

/** Whether a listener is to be found from this network namespace only. */
export const isLocal = ({ address }: Endpoint, wildcard: Wildcard): boolean =>
  wildcard === "none" && isLoopback(digits(address));

/** The names under which a client finds who listens at an address. To no address is to localhost, as in the kernel. */
export function keysToFind({ address, port }: Endpoint, namespace: number): string[] {
  const given = digits(address);
  const exact = given === V4_ANY ? V4_LOCALHOST : given === V6_ANY ? V6_LOCALHOST : given;
  if (!isLoopback(exact)) return [`${exact}_${port}`];
  const any = exact === V6_LOCALHOST ? "any6" : "any4";
  return [`ns${namespace}-${exact}_${port}`, `ns${namespace}-${any}_${port}`];
}
