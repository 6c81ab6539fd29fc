/**
 * The counters of one stack: what they are called, what they count, and the object that counts.
 *
 * Owns the table and the numbers. Knows nobody who counts or reads, imports nothing. One object per stack and
 * technology, one thread writes it; another thread gets a snapshot, never the object.
 * Source: smc-protocol §11.1 (what is counted when), §11.5 (keys of the JSON form, bins of the histograms).
 */

interface CounterRow {
  readonly unit: "calls" | "connections" | "times" | "buffers" | "bytes" | "turns" | "us" | "messages";
  readonly about: string;
  /** Key in the JSON form, for the counters that the kernel has as well. */
  readonly smcd?: string;
}

const row = (unit: CounterRow["unit"], about: string, smcd?: string): CounterRow =>
  smcd === undefined ? { unit, about } : { unit, about, smcd };

/** Counter -> what it counts; the order is that of the JSON form. "In use" goes down again, all others only grow. */
export const COUNTERS = {
  txTooSmallAtPeer: row("calls", "one write larger than the peer's ring", "SMC_INT_TX_BUF_SIZE_SM_PEER_CNT"),
  txTooSmall: row("calls", "one write larger than the sndbuf", "SMC_INT_TX_BUF_SIZE_SM_CNT"),
  txFullAtPeer: row("times", "data was ready and the peer's ring had no space", "SMC_INT_TX_BUF_FULL_PEER_CNT"),
  txFull: row("times", "a writer found no space in the sndbuf", "SMC_INT_TX_BUF_FULL_CNT"),
  txReused: row(
    "buffers",
    "for readers of the keys; none lies ready, each is taken from the arena",
    "SMC_INT_TX_BUF_REUSE_CNT",
  ),
  txAllocated: row("buffers", "sndbufs newly allocated or attached", "SMC_INT_TX_BUF_ALLOC_CNT"),
  txDowngraded: row("buffers", "sndbufs smaller than wanted", "SMC_INT_TX_BUF_DGRADE_CNT"),
  rxTooSmallAtPeer: row("calls", "for readers of the keys; a receiver cannot tell", "SMC_INT_RX_BUF_SIZE_SM_PEER_CNT"),
  rxTooSmall: row(
    "calls",
    "one read into a buffer of the application's that took less than there was",
    "SMC_INT_RX_BUF_SIZE_SM_CNT",
  ),
  rxFullAtPeer: row("times", "for readers of the keys; a receiver cannot tell", "SMC_INT_RX_BUF_FULL_PEER_CNT"),
  rxFull: row("times", "a read found the ring full", "SMC_INT_RX_BUF_FULL_CNT"),
  rxReused: row(
    "buffers",
    "for readers of the keys; none lies ready, each is taken from the arena",
    "SMC_INT_RX_BUF_REUSE_CNT",
  ),
  rxAllocated: row("buffers", "RMBs newly registered", "SMC_INT_RX_BUF_ALLOC_CNT"),
  rxDowngraded: row("buffers", "RMBs smaller than wanted", "SMC_INT_RX_BUF_DGRADE_CNT"),
  clientV1: row("connections", "made as client with CLC version 1", "SMC_CLNT_V1_SUCC_CNT"),
  clientV2: row("connections", "made as client with CLC version 2", "SMC_CLNT_V2_SUCC_CNT"),
  serverV1: row("connections", "made as server with CLC version 1", "SMC_SRV_V1_SUCC_CNT"),
  serverV2: row("connections", "made as server with CLC version 2", "SMC_SRV_V2_SUCC_CNT"),
  sendpage: row("calls", "sendpage; for readers of the keys, Node has no such call", "SMC_SENDPAGE_CNT"),
  urgentData: row("calls", "urgent data; for readers of the keys, Node has no such call", "SMC_URG_DATA_CNT"),
  splice: row("calls", "splice; for readers of the keys, Node has no such call", "SMC_SPLICE_CNT"),
  cork: row("calls", "TCP_CORK; for readers of the keys, cork() of a stream does not reach its handle", "SMC_CORK_CNT"),
  nodelay: row("calls", "setNoDelay(true) on sockets over SMC", "SMC_NDLY_CNT"),
  rxBytes: row("bytes", "received by successful reads", "SMC_RX_BYTES"),
  txBytes: row("bytes", "accepted by successful writes", "SMC_TX_BYTES"),
  rxRequests: row("calls", "reads, successful or not", "SMC_RX_CNT"),
  txRequests: row("calls", "writes, successful or not", "SMC_TX_CNT"),
  rxInUse: row("bytes", "of RMBs now held by connections", "SMC_RX_RMB_USAGE"),
  txInUse: row("bytes", "of sndbufs now held by connections", "SMC_TX_RMB_USAGE"),
  clientHandshakeErrors: row("connections", "lost in the handshake as client: neither SMC nor TCP"),
  serverHandshakeErrors: row("connections", "lost in the handshake as server: neither SMC nor TCP"),
  doorbellRung: row("times", "a sleeping peer was woken"),
  doorbellRescued: row("times", "the slow re-check found work that no doorbell had told of; must stay 0"),
  busyPollTurns: row("turns", "of the loop spent looking for work"),
  busyPollHits: row("turns", "of those that found some"),
  busyPollUs: row("us", "spent spinning"),
  parks: row("times", "the loop armed its doorbell and went to sleep"),
  consUpdates: row("messages", "sent for nothing but the consumer cursor"),
  aborts: row("connections", "ended by an abort of ours"),
} as const satisfies Record<string, CounterRow>;

export type CounterName = keyof typeof COUNTERS;

/** Histogram -> what falls into its bins; the order is that of the JSON form. */
export const HISTOGRAMS = {
  txBuffers: row("buffers", "sndbufs by size when handed out", "SMC_INT_TX_BUF"),
  rxBuffers: row("buffers", "RMBs by size when handed out", "SMC_INT_RX_BUF"),
  txSizes: row("calls", "successful writes by size", "SMC_USR_TX_BUF"),
  rxSizes: row("calls", "successful reads by size", "SMC_USR_RX_BUF"),
} as const satisfies Record<string, CounterRow>;

export type HistogramName = keyof typeof HISTOGRAMS;

/** Bins of a histogram: up to so many bytes each, the last one for all that is larger. As in the JSON keys. */
export const BIN_NAMES = ["8K", "16K", "32K", "64K", "128K", "256K", "512K", "1024K", "G_1024K"] as const;
const BINS = BIN_NAMES.length;

/**
 * The bin of a size: bit length of (bytes − 1) / 8192, at most the last one.
 *
 * Takes: bytes, an integer ≥ 0. Returns: 0..8.
 */
export function sizeBin(bytes: number): number {
  if (bytes <= 8192) return 0;
  if (bytes > 1_048_576) return BINS - 1;
  return 32 - Math.clz32((bytes - 1) >>> 13);
}

export type Side = "client" | "server";

/** Fallbacks of one side: all of them, and by reason as far as there was room. */
export interface FallbackCounts {
  readonly total: number;
  readonly reasons: readonly { readonly code: number; readonly count: number }[];
}

/** Plain data: what one stack had counted at one moment. */
export type CountersSnapshot = { readonly [K in CounterName]: number } & {
  readonly [K in HistogramName]: readonly number[];
} & { readonly fallback: { readonly [S in Side]: FallbackCounts } };

/** Distinct reasons kept per side. Source: smc-protocol §2.10. */
const MAX_REASONS = 36;

class Fallbacks {
  private total = 0;
  private readonly reasons = new Map<number, number>();

  add(code: number): void {
    this.total++;
    const count = this.reasons.get(code);
    if (count !== undefined || this.reasons.size < MAX_REASONS) this.reasons.set(code, (count ?? 0) + 1);
  }

  snapshot(): FallbackCounts {
    return { total: this.total, reasons: [...this.reasons].map(([code, count]) => ({ code, count })) };
  }
}

/**
 * What counts. Where it is hot, count by hand: `counters.doorbellRung++` is one increment of a field.
 * Every row of COUNTERS is a field of the same name, in the same order.
 */
export class Counters implements Record<CounterName, number> {
  txTooSmallAtPeer = 0;
  txTooSmall = 0;
  txFullAtPeer = 0;
  txFull = 0;
  txReused = 0;
  txAllocated = 0;
  txDowngraded = 0;
  rxTooSmallAtPeer = 0;
  rxTooSmall = 0;
  rxFullAtPeer = 0;
  rxFull = 0;
  rxReused = 0;
  rxAllocated = 0;
  rxDowngraded = 0;
  clientV1 = 0;
  clientV2 = 0;
  serverV1 = 0;
  serverV2 = 0;
  sendpage = 0;
  urgentData = 0;
  splice = 0;
  cork = 0;
  nodelay = 0;
  rxBytes = 0;
  txBytes = 0;
  rxRequests = 0;
  txRequests = 0;
  rxInUse = 0;
  txInUse = 0;
  clientHandshakeErrors = 0;
  serverHandshakeErrors = 0;
  doorbellRung = 0;
  doorbellRescued = 0;
  busyPollTurns = 0;
  busyPollHits = 0;
  busyPollUs = 0;
  parks = 0;
  consUpdates = 0;
  aborts = 0;

  readonly txBuffers = new Float64Array(BINS);
  readonly rxBuffers = new Float64Array(BINS);
  readonly txSizes = new Float64Array(BINS);
  readonly rxSizes = new Float64Array(BINS);

  private readonly fallbacks: Record<Side, Fallbacks> = { client: new Fallbacks(), server: new Fallbacks() };

  /** One write that accepted `bytes`. A write that accepted none is `txRequests++`. */
  wrote(bytes: number): void {
    this.txRequests++;
    this.txBytes += bytes;
    this.txSizes[sizeBin(bytes)]++;
  }

  /** One read that returned `bytes`. A read that returned none is `rxRequests++`. */
  read(bytes: number): void {
    this.rxRequests++;
    this.rxBytes += bytes;
    this.rxSizes[sizeBin(bytes)]++;
  }

  /** A connection goes on as TCP. Of the reasons of a side the first 36 distinct ones are told apart, the total counts all. */
  fellBack(side: Side, code: number): void {
    this.fallbacks[side].add(code);
  }

  /** Everything as plain data; later counting does not change it. */
  snapshot(): CountersSnapshot {
    const result: Record<string, unknown> = {};
    for (const name of Object.keys(COUNTERS) as CounterName[]) result[name] = this[name];
    for (const name of Object.keys(HISTOGRAMS) as HistogramName[]) result[name] = [...this[name]];
    result["fallback"] = { client: this.fallbacks.client.snapshot(), server: this.fallbacks.server.snapshot() };
    return result as CountersSnapshot;
  }
}

/** The form that scripts written for `smcd stats json` read: one object SMCD with flat keys. */
export function toSmcdJson(counts: CountersSnapshot): { SMCD: Record<string, number> } {
  const flat: Record<string, number> = {};
  for (const [name, { smcd }] of Object.entries(HISTOGRAMS) as [HistogramName, { smcd: string }][])
    BIN_NAMES.forEach((bin, at) => {
      flat[`${smcd}_${bin}`] = counts[name][at];
    });
  for (const [name, { smcd }] of Object.entries(COUNTERS) as [CounterName, CounterRow][])
    if (smcd !== undefined) flat[smcd] = counts[name];
  return { SMCD: flat };
}
