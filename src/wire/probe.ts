/**
 * The datagram that proves where an address leads: 16 bytes, a magic number and a nonce.
 *
 * Owns the layout. Anybody can send one: what its nonce is worth, a contact says (contact.ts).
 * Source: ARCHITECTURE.md, "Between processes".
 */
import { struct, u64be } from "./field.js";

export const PROBE_SIZE = 16;
const MAGIC = 0x534d4355_70726f62n;
const form = struct("probe", { magic: u64be, nonce: u64be });

/** Takes: nonce, not 0. Errors: SmcError EINVAL for one of more than 64 bits. */
export function encodeProbe(nonce: bigint): Uint8Array {
  const datagram = new Uint8Array(PROBE_SIZE);
  form.encode({ magic: MAGIC, nonce }, datagram);
  return datagram;
}

/** The nonce; undefined for whatever is no probe. */
export function decodeProbe(datagram: Uint8Array): bigint | undefined {
  if (datagram.length !== PROBE_SIZE) return undefined;
  const { magic, nonce } = form.decode(datagram);
  return magic === MAGIC && nonce !== 0n ? nonce : undefined;
}
