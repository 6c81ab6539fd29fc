/**
 * The words of a result: transports, metrics with their units, parameters, and the record that is one JSON line.
 *
 * Owns the stable names. Readers of `--json` depend on them: add names, never change one.
 */

/**
 * Ways to carry bytes between two threads or processes. `floor` bounces one word and carries nothing: it is what the
 * machine allows.
 */
export const TRANSPORTS = ["floor", "ring", "smcd", "smcd-copy", "tcp", "uds", "messageport"] as const;
export type Transport = (typeof TRANSPORTS)[number];

/** What there is between threads only: it needs memory of JavaScript's that both see. */
export const THREADS_ONLY: readonly Transport[] = ["floor", "messageport"];

/** Where the two sides of a bench run: two Workers of one process, or two processes. */
export const CONTEXTS = ["threads", "processes"] as const;
export type Contexts = (typeof CONTEXTS)[number];

/** The transport that every ratio refers to. */
export const BASELINE: Transport = "tcp";

/** Metric -> unit, decimals printed, and whether more or less of it is better. */
export const METRICS = {
  rtt_p50: { unit: "us", digits: 2, better: "less" },
  rtt_p99: { unit: "us", digits: 2, better: "less" },
  rtt_p999: { unit: "us", digits: 2, better: "less" },
  throughput: { unit: "GB/s", digits: 2, better: "more" },
  rate: { unit: "messages/s", digits: 0, better: "more" },
  requests: { unit: "requests/s", digits: 0, better: "more" },
  connections: { unit: "connections/s", digits: 0, better: "more" },
  request_cpu: { unit: "us/request", digits: 2, better: "less" },
  cpu: { unit: "ms/s", digits: 3, better: "less" },
  rss: { unit: "bytes/connection", digits: 0, better: "less" },
} as const;
export type Metric = keyof typeof METRICS;

export interface Params {
  /** Payload of one message, write or response, bytes. */
  readonly bytes?: number;
  /** Connections open at a time; in `short` under way at a time; in `crowd` pairs of sides, each with one. */
  readonly connections?: number;
  /**
   * busy: the next message follows at once, loops may spin; parked: the same with spinning off, each loop sleeps until its
   * message wakes it; rested: parked, and both sides have slept 110 ms before each message.
   */
  readonly mode?: "busy" | "parked" | "rested";
  /** How the receiver takes the stream; ring and messageport have one way each. */
  readonly receive?: "data" | "onread" | "read" | "message";
  /**
   * Given where both sides are unmodified programs on node:net: those that are not named are started as by `smcnet run`, so the
   * connection is SMC's with "none", and else goes on as TCP.
   */
  readonly fallback?: "none" | "server" | "client";
  /** CPUs the sides may run on, all together. */
  readonly cpus?: number;
  readonly contexts?: Contexts;
  readonly ffi?: "on" | "off";
}

/** One result: the median of `samples`, one sample a round. */
export interface BenchRecord {
  readonly scenario: string;
  readonly transport: Transport;
  readonly params: Params;
  readonly metric: Metric;
  readonly unit: string;
  readonly value: number;
  readonly samples: readonly number[];
  /** CPU time of all processes in which sides run, ms per second of the rounds' wall time; median over the rounds. */
  readonly cpuUser: number;
  readonly cpuSys: number;
}
