/**
 * Captures made by hand: bytes of TCP conversations, framed so that a dissector takes them for a recording.
 *
 * Owns the pcap file format and the Ethernet, IPv4 and TCP headers around given bytes. Knows nothing of what the bytes
 * mean. One segment becomes one frame, as a write of its own does on a quiet loopback.
 */

export interface Segment {
  readonly from: "client" | "server";
  readonly bytes: Uint8Array;
}

/** Port of the server in every conversation; clients count up from CLIENT_PORT. */
export const SERVER_PORT = 4000;
export const CLIENT_PORT = 40000;

const SYN = 0x02;
const PSH = 0x08;
const ACK = 0x10;
const FIN = 0x01;
const ADDRESS = { client: "0a000001", server: "0a000002" };
const MAC = { client: "020000000001", server: "020000000002" };

/** Internet checksum of an even number of bytes. */
function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += bytes.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

interface Stamp {
  readonly ports: { readonly client: number; readonly server: number };
  readonly seq: number;
  readonly ack: number;
}

function frame(from: Segment["from"], flags: number, { ports, seq, ack }: Stamp, payload: Uint8Array): Buffer {
  const to = from === "client" ? "server" : "client";
  const tcp = Buffer.alloc(20 + payload.length);
  tcp.writeUInt16BE(ports[from], 0);
  tcp.writeUInt16BE(ports[to], 2);
  tcp.writeUInt32BE(seq, 4);
  tcp.writeUInt32BE(ack, 8);
  tcp.writeUInt16BE((5 << 12) | flags, 12);
  tcp.writeUInt16BE(0xffff, 14);
  tcp.set(payload, 20);
  const addresses = Buffer.from(ADDRESS[from] + ADDRESS[to], "hex");
  const pseudo = Buffer.concat([
    addresses,
    Buffer.of(0, 6, tcp.length >> 8, tcp.length),
    tcp,
    Buffer.alloc(tcp.length % 2),
  ]);
  tcp.writeUInt16BE(checksum(pseudo), 16);
  const ip = Buffer.alloc(20);
  ip.writeUInt16BE(0x4500, 0);
  ip.writeUInt16BE(20 + tcp.length, 2);
  ip.writeUInt16BE(0x4006, 8);
  ip.set(addresses, 12);
  ip.writeUInt16BE(checksum(ip), 10);
  return Buffer.concat([Buffer.from(`${MAC[to]}${MAC[from]}0800`, "hex"), ip, tcp]);
}

/** Frames of one conversation: three-way handshake, the segments, FIN from both. */
function framesOf(segments: readonly Segment[], clientPort: number): Buffer[] {
  const ports = { client: clientPort, server: SERVER_PORT };
  const next = { client: 1000, server: 2000 };
  const frames: Buffer[] = [];
  const add = (from: Segment["from"], flags: number, payload: Uint8Array = Buffer.alloc(0)): void => {
    const to = from === "client" ? "server" : "client";
    const ack = flags & ACK ? next[to] : 0;
    frames.push(frame(from, flags, { ports, seq: next[from], ack }, payload));
    next[from] += payload.length + (flags & (SYN | FIN) ? 1 : 0);
  };
  add("client", SYN);
  add("server", SYN | ACK);
  add("client", ACK);
  for (const { from, bytes } of segments) add(from, PSH | ACK, bytes);
  add("client", FIN | ACK);
  add("server", FIN | ACK);
  add("client", ACK);
  return frames;
}

/** A pcap file: one conversation after the other, one frame per millisecond. */
export function pcap(conversations: readonly (readonly Segment[])[]): Buffer {
  const header = Buffer.alloc(24);
  header.writeUInt32LE(0xa1b2c3d4, 0);
  header.writeUInt16LE(2, 4);
  header.writeUInt16LE(4, 6);
  header.writeUInt32LE(65535, 16);
  header.writeUInt32LE(1, 20);
  const parts: Buffer[] = [header];
  let millis = 0;
  for (const [i, segments] of conversations.entries())
    for (const bytes of framesOf(segments, CLIENT_PORT + i)) {
      const record = Buffer.alloc(16);
      record.writeUInt32LE(1_700_000_000 + Math.floor(millis / 1000), 0);
      record.writeUInt32LE((millis++ % 1000) * 1000, 4);
      record.writeUInt32LE(bytes.length, 8);
      record.writeUInt32LE(bytes.length, 12);
      parts.push(record, bytes);
    }
  return Buffer.concat(parts);
}
