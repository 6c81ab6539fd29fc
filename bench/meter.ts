/**
 * CPU time of whatever processes the sides of a bench run in, and how much of it a piece of work took.
 *
 * Owns the sum over processes: one for all sides where they are threads, one for each where they are not. Knows nothing of
 * how a process is asked.
 */
import { setTimeout as delay } from "node:timers/promises";
import { nowUs } from "./clock.js";

/** CPU time of all processes while something was measured, ms per second of wall time: 1000 is one CPU, busy. */
export interface Load {
  readonly cpuUser: number;
  readonly cpuSys: number;
}

/** User and system time, µs, as `process.cpuUsage` gives them. */
export type CpuTime = NodeJS.CpuUsage;

/** A process in which sides run. Its whole CPU time counts, whoever spends it. */
export interface Metered {
  readonly pid: number;
  /** Since the process began. */
  cpuTime(): Promise<CpuTime>;
  /** Spent during the next `ms` in which nothing is asked of the process. */
  cpuTimeAtRest(ms: number): Promise<CpuTime>;
}

/** CPU time of this process over `ms` of waiting. */
export async function restHere(ms: number): Promise<CpuTime> {
  const before = process.cpuUsage();
  await delay(ms);
  return process.cpuUsage(before);
}

function distinct(metered: readonly Metered[]): readonly Metered[] {
  return [...new Map(metered.map((item) => [item.pid, item])).values()];
}

function sum(times: readonly CpuTime[]): CpuTime {
  const add = (total: CpuTime, { user, system }: CpuTime) => ({
    user: total.user + user,
    system: total.system + system,
  });
  return times.reduce(add, { user: 0, system: 0 });
}

function loadOf({ user, system }: CpuTime, seconds: number): Load {
  return { cpuUser: user / 1000 / seconds, cpuSys: system / 1000 / seconds };
}

/** What a piece of work gave, the load while it ran, and its wall time. */
export interface Metering<T> {
  readonly result: T;
  readonly load: Load;
  readonly seconds: number;
}

/** Runs `work` and tells the load of it in the processes of `metered`, each counted once. */
export async function meter<T>(metered: readonly Metered[], work: () => Promise<T>): Promise<Metering<T>> {
  const processes = distinct(metered);
  const used = async () => sum(await Promise.all(processes.map((process) => process.cpuTime())));
  const before = await used();
  const startedUs = nowUs();
  const result = await work();
  const seconds = (nowUs() - startedUs) / 1e6;
  const after = await used();
  return {
    result,
    load: loadOf({ user: after.user - before.user, system: after.system - before.system }, seconds),
    seconds,
  };
}

/** The load of doing nothing for `ms`. */
export async function meterRest(metered: readonly Metered[], ms: number): Promise<Load> {
  const times = await Promise.all(distinct(metered).map((process) => process.cpuTimeAtRest(ms)));
  return loadOf(sum(times), ms / 1000);
}
