/**
 * Time and CPU time as all threads of the process agree on them.
 *
 * Owns the shared clock and the meter. Each thread has its own `performance.timeOrigin`; differences between threads are
 * only meaningful on the clock below.
 */

const OFFSET_US = Number(process.hrtime.bigint()) / 1000 - performance.now() * 1000;

/** Now in µs on a monotonic clock common to all threads; they agree within about 1 µs. */
export function nowUs(): number {
  return OFFSET_US + performance.now() * 1000;
}

/** CPU time of the whole process while something was measured, ms per second of wall time: 1000 is one CPU, busy. */
export interface Load {
  readonly cpuUser: number;
  readonly cpuSys: number;
}

/** Starts measuring; the function returned gives the load since then. */
export function startMeter(): () => Load {
  const startedUs = nowUs();
  const before = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(before);
    const seconds = (nowUs() - startedUs) / 1e6;
    return { cpuUser: user / 1000 / seconds, cpuSys: system / 1000 / seconds };
  };
}
