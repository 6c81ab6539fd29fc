/**
 * The report of a process at its end: how many connections went which way, and why.
 *
 * Owns the text, and the moment: the `exit` event, or a signal that would end the process and that nobody else handles.
 * Threads ended by `terminate()` take what they counted with them.
 */
import { writeSync } from "node:fs";
import { basename } from "node:path";
import { DIAGNOSIS, diagnosisName } from "../wire/clc-diagnosis.js";
import type { CountersSnapshot, FallbackCounts } from "./counters.js";
import { totalOf } from "./totals.js";

const STDERR = 2;
const ENDING: readonly NodeJS.Signals[] = ["SIGINT", "SIGTERM", "SIGHUP"];

const counted = (count: number, what: string): string => `${count} ${what}${count === 1 ? "" : "s"}`;

function reasonLines({ reasons, total }: FallbackCounts, smc: number, side: string): string[] {
  if (smc + total === 0) return [];
  const known = [...reasons].sort((a, b) => b.count - a.count);
  const rest = total - known.reduce((sum, { count }) => sum + count, 0);
  const why = known.map(({ code, count }) => {
    const meaning = Object.values(DIAGNOSIS).find((row) => row.code === code)?.meaning;
    return `    ${String(count).padStart(7)}  ${diagnosisName(code)}${meaning === undefined ? "" : `: ${meaning}`}`;
  });
  if (rest > 0) why.push(`    ${String(rest).padStart(7)}  other reasons`);
  return [`  as ${side}: ${smc} SMC-D, ${total} TCP`, ...why];
}

/** The lines of a report. Takes: who, the name of the process; counters of its threads; silent, threads that did not say. */
export function reportText(who: string, counters: readonly CountersSnapshot[], silent: number): string {
  const total = totalOf(counters);
  const { client, server } = total.fallback;
  const smcClient = total.clientV1 + total.clientV2;
  const smcServer = total.serverV1 + total.serverV2;
  const smc = smcClient + smcServer;
  const tcp = client.total + server.total;
  const errors = total.clientHandshakeErrors + total.serverHandshakeErrors;
  const lines = [`smcnet: ${who}: ${counted(smc, "SMC-D connection")}, ${counted(tcp, "TCP connection")}`];
  lines.push(...reasonLines(client, smcClient, "client"), ...reasonLines(server, smcServer, "server"));
  if (errors > 0) lines.push(`  ${counted(errors, "connection")} lost in the handshake`);
  if (silent > 0) lines.push(`  not counted: ${counted(silent, "thread")} that did not answer`);
  return `${lines.join("\n")}\n`;
}

/** Prints the report when the process ends, once. Takes: last, which asks all threads. Returns: what takes it back. */
export function reportAtEnd(
  last: () => { readonly counters: readonly CountersSnapshot[]; readonly silent: number },
): () => void {
  const report = (): void => {
    restore();
    const who = `${basename(process.argv[1] ?? process.title)} (${process.pid})`;
    const { counters, silent } = last();
    try {
      writeSync(STDERR, reportText(who, counters, silent));
    } catch {
      // Nobody reads it any more.
    }
  };
  const signalled = (signal: NodeJS.Signals): void => {
    if (process.listenerCount(signal) > 1) return;
    report();
    process.kill(process.pid, signal);
  };
  const restore = (): void => {
    process.off("exit", report);
    for (const signal of ENDING) process.off(signal, signalled);
  };
  process.once("exit", report);
  for (const signal of ENDING) process.on(signal, signalled);
  return restore;
}
