/**
 * Arithmetic of snapshots: the sum over threads and processes, and what was counted since an earlier one.
 *
 * Owns what a snapshot has to be that came from elsewhere. Knows nobody who counts.
 */
import {
  COUNTERS,
  type CounterName,
  Counters,
  type CountersSnapshot,
  type FallbackCounts,
  HISTOGRAMS,
  type HistogramName,
  type Side,
} from "./counters.js";

const NAMES = Object.keys(COUNTERS) as CounterName[];
const BINS = Object.keys(HISTOGRAMS) as HistogramName[];
const SIDES: readonly Side[] = ["client", "server"];

/** What goes up and down: the difference of two moments says nothing. */
const LEVELS: ReadonlySet<CounterName> = new Set(["rxInUse", "txInUse"]);

/** Distinct reasons of a side in a snapshot that came from elsewhere. */
const MAX_REASONS = 1024;
const MAX_BINS = 64;

type Combine = (left: number, right: number) => number;

function combineReasons(left: FallbackCounts, right: FallbackCounts, combine: Combine): FallbackCounts {
  const counts = new Map(left.reasons.map(({ code, count }) => [code, [count, 0] as [number, number]]));
  for (const { code, count } of right.reasons) counts.set(code, [counts.get(code)?.[0] ?? 0, count]);
  const reasons = [...counts].map(([code, pair]) => ({ code, count: combine(...pair) }));
  return { total: combine(left.total, right.total), reasons: reasons.filter(({ count }) => count !== 0) };
}

function combined(
  left: CountersSnapshot,
  right: CountersSnapshot,
  combine: Combine,
  levels: Combine,
): CountersSnapshot {
  const result: Record<string, unknown> = {};
  for (const name of NAMES) result[name] = (LEVELS.has(name) ? levels : combine)(left[name], right[name]);
  for (const name of BINS) result[name] = left[name].map((count, bin) => combine(count, right[name][bin] ?? 0));
  const fallback: Partial<Record<Side, FallbackCounts>> = {};
  for (const side of SIDES) fallback[side] = combineReasons(left.fallback[side], right.fallback[side], combine);
  return { ...result, fallback } as CountersSnapshot;
}

const plus: Combine = (left, right) => left + right;

/** The sum; of none, all zero. */
export function totalOf(snapshots: Iterable<CountersSnapshot>): CountersSnapshot {
  let total = new Counters().snapshot();
  for (const snapshot of snapshots) total = combined(total, snapshot, plus, plus);
  return total;
}

/** What was counted between two snapshots of the same counters; what is in use is as it is now. */
export function countedSince(before: CountersSnapshot, now: CountersSnapshot): CountersSnapshot {
  return combined(
    now,
    before,
    (left, right) => left - right,
    (level) => level,
  );
}

const isBins = (value: unknown): boolean =>
  Array.isArray(value) && value.length <= MAX_BINS && value.every((bin) => Number.isFinite(bin));

function isFallback(value: unknown): boolean {
  const { total, reasons } = (value ?? {}) as { total?: unknown; reasons?: unknown };
  return (
    Number.isFinite(total) &&
    Array.isArray(reasons) &&
    reasons.length <= MAX_REASONS &&
    reasons.every((reason) => Number.isFinite(reason?.code) && Number.isFinite(reason?.count))
  );
}

/** What is wrong with a value that should be a snapshot, in words; undefined if it is one. */
export function snapshotFault(value: unknown): string | undefined {
  if (typeof value !== "object" || value === null) return "it is no object";
  const fields = value as Record<string, unknown>;
  for (const name of NAMES) if (!Number.isFinite(fields[name])) return `${name} is no number`;
  for (const name of BINS) if (!isBins(fields[name])) return `${name} is no list of numbers`;
  const { fallback } = fields as { fallback?: Partial<Record<Side, unknown>> };
  return SIDES.every((side) => isFallback(fallback?.[side])) ? undefined : "fallback is incomplete";
}
