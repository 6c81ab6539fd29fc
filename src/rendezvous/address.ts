/**
 * IP addresses as 16 bytes: IPv4 as ::ffff:a.b.c.d. What keys of the rendezvous are made of.
 */
/** One end of a TCP connection. */
export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

const DOT = 0x2e;
const ZERO = 0x30;

/** Four numbers with dots between them. Once or more a connection: makes no garbage. */
function writeIPv4(text: string, view: DataView, offset: number): void {
  let value = 0;
  let part = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === DOT) {
      value = (value << 8) | part;
      part = 0;
    } else part = part * 10 + code - ZERO;
  }
  view.setUint32(offset, (value << 8) | part);
}

/** Writes `text`, a valid IP address without brackets; a zone id is ignored. */
export function writeAddress(text: string, view: DataView, offset: number): void {
  for (let i = 0; i < 16; i += 4) view.setUint32(offset + i, 0);
  if (!text.includes(":")) {
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
