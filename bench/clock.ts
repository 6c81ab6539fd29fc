/**
 * Time as all threads and processes of the machine agree on it.
 *
 * Owns the shared clock. Each thread has its own `performance.timeOrigin`; differences between threads or processes are
 * only meaningful on the clock below.
 */

const OFFSET_US = Number(process.hrtime.bigint()) / 1000 - performance.now() * 1000;

/** Now in µs on a monotonic clock common to all threads and processes; they agree within about 1 µs. */
export function nowUs(): number {
  return OFFSET_US + performance.now() * 1000;
}
