/**
 * Records as a text table: a row for each transport, a column for each metric, each beside its ratio to tcp.
 *
 * Owns layout only: JSON lines are the results, this is their picture.
 */
import { BASELINE, type BenchRecord, METRICS, type Metric, type Params } from "./record.js";
import { spread } from "./statistics.js";

type Row = ReadonlyMap<Metric, BenchRecord>;

function words(params: Params): string {
  return Object.entries(params)
    .map(([name, value]) => `${name}=${value}`)
    .join(" ");
}

/** What all the records have in common, and for each what is its own. */
function split(records: readonly BenchRecord[]): { common: Params; own(record: BenchRecord): Params } {
  const isCommon = ([name, value]: [string, unknown]) =>
    records.every((record) => Object.entries(record.params).some(([other, its]) => other === name && its === value));
  return {
    common: Object.fromEntries(Object.entries(records[0]?.params ?? {}).filter(isCommon)),
    own: (record) => Object.fromEntries(Object.entries(record.params).filter((entry) => !isCommon(entry))),
  };
}

/** How many times better than `baseline`: above 1 is better, whichever way the metric counts. */
export function ratio(record: BenchRecord, baseline: BenchRecord | undefined): number {
  if (!baseline) return Number.NaN;
  return METRICS[record.metric].better === "more" ? record.value / baseline.value : baseline.value / record.value;
}

function significant(value: number): string {
  return Number.isFinite(value) ? (value >= 100 ? value.toFixed(0) : value.toPrecision(3)) : "-";
}

function grid(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) =>
    row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!))).join("  "),
  );
}

/** The table of one case's records, as lines. "x tcp" says how many times better than tcp; "±" is half the range. */
export function caseTable(records: readonly BenchRecord[]): readonly string[] {
  if (records.length === 0) return [];
  const { common, own } = split(records);
  const metrics = [...new Set(records.map((record) => record.metric))];
  const rows = new Map<string, Map<Metric, BenchRecord>>();
  for (const record of records) {
    const label = `${record.transport} ${words(own(record))}`.trimEnd();
    const row = rows.get(label) ?? new Map<Metric, BenchRecord>();
    rows.set(label, row.set(record.metric, record));
  }
  const heads = metrics.flatMap((metric) => [`${metric} ${METRICS[metric].unit}`, "±", `x ${BASELINE}`]);
  const body = [...rows].map(([label, row]) => [label, ...cells(row, metrics, rows), ...load(row)]);
  const title = `${records[0]!.scenario}  ${words(common)}`;
  return [title, ...grid([["transport", ...heads, "cpu user", "sys ms/s"], ...body])];
}

function cells(row: Row, metrics: readonly Metric[], rows: ReadonlyMap<string, Row>): string[] {
  return metrics.flatMap((metric) => {
    const record = row.get(metric);
    if (!record) return ["", "", ""];
    const scatter = `${(spread(record.samples) * 100).toFixed(0)}%`;
    const value = record.value.toFixed(METRICS[metric].digits);
    return [value, scatter, significant(ratio(record, baselineOf(record, rows)))];
  });
}

/** The baseline with the same parameters, else the one that has the metric at all. */
function baselineOf(record: BenchRecord, rows: ReadonlyMap<string, Row>): BenchRecord | undefined {
  const candidates = [...rows.values()]
    .map((row) => row.get(record.metric))
    .filter((other) => other?.transport === BASELINE);
  return candidates.find((other) => other && words(other.params) === words(record.params)) ?? candidates[0];
}

function load(row: Row): string[] {
  const [first] = row.values();
  return [first!.cpuUser.toFixed(0), first!.cpuSys.toFixed(0)];
}
