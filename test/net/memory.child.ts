/**
 * A process with the smallest arena that there is: opens connections until its memory is used up, talks on all of them, closes
 * them, and does it once more. Sends what it saw to its parent. What must come out is memory.test.ts.
 */
import type { Socket } from "node:net";
import * as smc from "../../src/index.js";
import { closed, dial, listen } from "../support/pair.js";
import { Sequence, Verifier } from "../support/sequence.js";
import { transport } from "../support/transports.js";
import { happens, until } from "../support/watchdog.js";
import { eachChunk } from "./scenario.js";

/** One fill of the arena. */
export interface Fill {
  /** Receive buffers of SMC connections in their order, bytes. */
  readonly buffers: readonly number[];
  /** Why the last ones are TCP: the client's and the server's words. */
  readonly reasons: readonly string[];
  readonly tcp: number;
  /** Free pages when it was full. */
  readonly freePages: number;
  /** Bytes that arrived as they were sent, of all connections. */
  readonly arrived: number;
  /** Receive buffers smaller than wanted, as counted. */
  readonly downgraded: number;
}
export interface MemoryReport {
  readonly pages: number;
  readonly pagesAfter: number;
  readonly fills: readonly Fill[];
}

const WANTED = 1 << 20;
/** Connections by TCP before it is enough. */
const ENOUGH = 20;
/** Fits into the smallest buffer: what is tested is who gets which. */
const BYTES = 16_000;
const carrier = transport(process.argv[2] as "smcd" | "smcd-copy");
const OPTIONS = { smc: { rmem: WANTED, wmem: WANTED } };
const [server, port] = await listen(carrier, OPTIONS);

/** A connection, whatever carries it. */
async function openOne(): Promise<{ client: Socket; accepted: Socket }> {
  const coming = happens(server, "connection");
  const client = dial(carrier, port, OPTIONS);
  const [[accepted]] = (await Promise.all([coming, happens(client, "connect")])) as unknown as [[Socket], unknown];
  return { client, accepted };
}

async function fill(): Promise<Fill> {
  const before = smc.stats().rxDowngraded;
  const pairs: { client: Socket; accepted: Socket }[] = [];
  const buffers: number[] = [];
  const reasons = new Set<string>();
  let tcp = 0;
  while (tcp < ENOUGH) {
    const pair = await openOne();
    pairs.push(pair);
    const [ours, theirs] = [pair.client.smc!, pair.accepted.smc!];
    if (ours.mode === "SMCD") buffers.push(ours.rcvbufSize!, theirs.rcvbufSize!);
    else {
      tcp++;
      reasons.add(`client ${ours.fallback?.side} ${ours.fallback?.name} ${ours.fallback?.peerDiagnosis ?? "-"}`);
      reasons.add(`server ${theirs.fallback?.side} ${theirs.fallback?.name} ${theirs.fallback?.peerDiagnosis ?? "-"}`);
    }
  }
  const freePages = smc.poolFreePages();
  let arrived = 0;
  await Promise.all(
    pairs.map(async ({ client, accepted }, index) => {
      const verifier = new Verifier(index + 1);
      eachChunk(accepted, (chunk) => verifier.push(chunk));
      client.write(new Sequence(index + 1).span(0, BYTES));
      await until(() => verifier.received === BYTES, `the bytes of connection ${index}`);
      arrived += verifier.received;
    }),
  );
  for (const socket of pairs.flatMap(({ client, accepted }) => [client, accepted])) socket.destroy();
  await Promise.all(pairs.flatMap(({ client, accepted }) => [closed(client), closed(accepted)]));
  await until(() => smc.sockets().length === 1, "the server alone to be left");
  const downgraded = smc.stats().rxDowngraded - before;
  return { buffers, reasons: [...reasons].sort(), tcp, freePages, arrived, downgraded };
}

const pages = smc.poolFreePages();
const fills = [await fill(), await fill()];
const report: MemoryReport = { pages, pagesAfter: smc.poolFreePages(), fills };
process.send!(report);
server.close();
