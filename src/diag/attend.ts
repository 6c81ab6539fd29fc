/**
 * This thread can be asked: what the preload starts beside its patches.
 *
 * Owns who does what: the main thread has the endpoint and asks its Workers, a Worker answers.
 */
import { isMainThread } from "node:worker_threads";
import type { SmcOptions } from "../config.js";
import { openEndpoint } from "./endpoint.js";
import { reportAtEnd } from "./farewell.js";
import { joinThreads, Threads } from "./threads.js";

/** Set by `smcnet run --verbose`: a process says at its end how many connections went which way. */
const REPORT_VARIABLE = "SMC_REPORT";

/** Whether a report was asked for. */
export const isReporting = (): boolean => process.env[REPORT_VARIABLE] === "1";

/** Returns: what takes it back. */
export function attend(options: SmcOptions): () => void {
  const report = isReporting();
  if (!isMainThread) return joinThreads(report);
  const threads = new Threads();
  const closeEndpoint = openEndpoint({ options, ask: (question) => threads.ask(question) });
  const closeReport = report ? reportAtEnd(() => threads.lastCounters()) : undefined;
  return () => {
    closeReport?.();
    closeEndpoint?.();
    threads.close();
  };
}
