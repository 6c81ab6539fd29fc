/**
 * IP addresses as 16 bytes: IPv4 as ::ffff:a.b.c.d. What keys of the rendezvous are made of.
 */
import { isIPv4 } from "node:net";

/** One end of a TCP connection. */
export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

function writeIPv4(text: string, view: DataView, offset: number): void {
  const parts = text.split(".");
  for (let i = 0; i < 4; i++) view.setUint8(offset + i, Number(parts[i]));
}

/** Writes `text`, a valid IP address without brackets; a zone id is ignored. */
export function writeAddress(text: string, view: DataView, offset: number): void {
  for (let i = 0; i < 16; i++) view.setUint8(offset + i, 0);
  if (isIPv4(text)) {
    view.setUint16(offset + 10, 0xffff);
    writeIPv4(text, view, offset + 12);
    return;
  }
  const bare = text.split("%")[0]!;
  const dotted = bare.includes(".") ? bare.slice(bare.lastIndexOf(":") + 1) : undefined;
  const hex =
    dotted === undefined ? bare : bare.slice(0, bare.length - dotted.length - (bare.endsWith(`::${dotted}`) ? 0 : 1));
  const [head = "", tail] = hex.split("::");
  const groups = (part: string): number[] =>
    part === "" ? [] : part.split(":").map((group) => Number.parseInt(group, 16));
  const end = offset + (dotted === undefined ? 16 : 12);
  groups(head).forEach((group, i) => {
    view.setUint16(offset + 2 * i, group);
  });
  const last = tail === undefined ? [] : groups(tail);
  last.forEach((group, i) => {
    view.setUint16(end - 2 * (last.length - i), group);
  });
  if (dotted !== undefined) writeIPv4(dotted, view, offset + 12);
}

/** Writes the 4-tuple of a connection: client and server address, client and server port; 40 bytes with padding. */
export function writeTuple(client: Endpoint, server: Endpoint, view: DataView): void {
  writeAddress(client.address, view, 0);
  writeAddress(server.address, view, 16);
  view.setUint16(32, client.port);
  view.setUint16(34, server.port);
  view.setUint32(36, 0);
}
