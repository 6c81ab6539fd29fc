/** What a client tells of what it saw: names and SHA-256, so that two ways can be compared. Bodies that both sides can make. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import type { AddressInfo, Server } from "node:net";
import { Sequence } from "../../support/sequence.js";

/** Name -> SHA-256 of the bytes, or plain words. */
export type Seen = Record<string, string>;

export const sha256 = (bytes: Uint8Array | string): string => createHash("sha256").update(bytes).digest("hex");

/** The same bytes in every process. Takes: at most 1 MiB. */
export const bodyOf = (seed: number, length: number): Buffer => Buffer.from(new Sequence(seed).span(0, length));

export async function listening(server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}
