/**
 * The method: what a scenario is, and how its cases are run so that the figures may be compared.
 *
 * Owns the order (all transports of a case open, each warmed up, then rounds in turn: A B C A B C), the medians and the
 * records. Knows nothing of threads and processes, of what is measured, or of printing.
 */
import type { Load } from "./meter.js";
import { type BenchRecord, METRICS, type Metric, type Params, type Transport } from "./record.js";
import { median } from "./statistics.js";

/** One set of parameters, measured over each of its transports. */
export interface Case {
  readonly params: Params & { readonly cpus: number };
  readonly transports: readonly Transport[];
  /** At least 5, or 3 where the run is quick. */
  readonly rounds: number;
  /** Length of a round, ms, where a round has one. */
  readonly durationMs: number;
  /** Operations before the first round, at least; a scenario's own warm-up where it is absent. */
  readonly warmUp?: number;
}

/** A case of unmodified programs, as `fallback` of Params says: over SMC, and as TCP because one side has no preload. */
export function unmodified(subject: Omit<Case, "transports">): readonly Case[] {
  return (["none", "server", "client"] as const).map((fallback) => ({
    ...subject,
    params: { ...subject.params, fallback },
    transports: ["smcd", "tcp"],
  }));
}

/** One value of one round. `params` says what differs from the case's. */
export interface Reading {
  readonly metric: Metric;
  readonly value: number;
  readonly load: Load;
  readonly params?: Params;
}

/** A case over one transport, open and ready. */
export interface Subject {
  /** Runs the workload until it is compiled and checked; its figures do not count. */
  warmUp(): Promise<void>;
  round(): Promise<readonly Reading[]>;
  close(): Promise<void>;
}

export interface Scenario {
  readonly name: string;
  /** One process for each transport: for figures that belong to a whole process. */
  readonly isolated: boolean;
  cases(quick: boolean): readonly Case[];
  open(transport: Transport, subject: Case): Promise<Subject>;
}

interface Series {
  readonly transport: Transport;
  readonly metric: Metric;
  readonly params: Params;
  readonly samples: number[];
  readonly loads: Load[];
}

/** Collects readings; those of one transport, metric and parameters make a series and in the end one record. */
class SeriesTable {
  readonly #series = new Map<string, Series>();

  add(transport: Transport, base: Params, { metric, value, load, params }: Reading): void {
    if (!Number.isFinite(value)) throw new Error(`${transport} ${metric} = ${value}: not a measurement`);
    const all = { ...base, ...params };
    const key = JSON.stringify([transport, metric, all]);
    let series = this.#series.get(key);
    if (!series) this.#series.set(key, (series = { transport, metric, params: all, samples: [], loads: [] }));
    series.samples.push(value);
    series.loads.push(load);
  }

  records(scenario: string): BenchRecord[] {
    return [...this.#series.values()].map(({ transport, metric, params, samples, loads }) => ({
      scenario,
      transport,
      params,
      metric,
      unit: METRICS[metric].unit,
      value: median(samples),
      samples,
      cpuUser: median(loads.map((load) => load.cpuUser)),
      cpuSys: median(loads.map((load) => load.cpuSys)),
    }));
  }
}

/**
 * Measure one case over `transports`, in turn.
 *
 * Takes:   `fixed`, the parameters that belong to the run: scenarios see them with the case's, and so does each record.
 * Errors:  whatever a subject throws; all subjects are closed first.
 */
export async function runCase(
  scenario: Scenario,
  { params, ...timing }: Case,
  transports: readonly Transport[],
  fixed: Params,
): Promise<BenchRecord[]> {
  const subject: Case = { ...timing, params: { ...params, ...fixed } };
  const results = new SeriesTable();
  const open: { transport: Transport; subject: Subject }[] = [];
  try {
    for (const transport of transports) open.push({ transport, subject: await scenario.open(transport, subject) });
    for (const item of open) await item.subject.warmUp();
    for (let round = 0; round < subject.rounds; round++)
      for (const item of open)
        for (const reading of await item.subject.round()) results.add(item.transport, subject.params, reading);
  } finally {
    for (const item of open) await item.subject.close();
  }
  return results.records(scenario.name);
}
