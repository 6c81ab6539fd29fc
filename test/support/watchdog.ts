/**
 * Waiting for events: each wait names what it waits for and fails by name when it hangs, instead of hanging the run.
 *
 * Owns the one time limit of the tests. It bounds a hang and measures nothing: no test may depend on its length.
 */
import { type EventEmitter, once } from "node:events";

/** How long anything may take before it counts as hanging, milliseconds. */
export const WATCHDOG_MS = Number(process.env["SMC_TEST_WATCHDOG_MS"] ?? 30_000);

/** The result of `promise`. Errors: rejects with `what` if it is not settled after `limitMs`. The process stays alive meanwhile. */
export function within<T>(promise: Promise<T>, what: string, limitMs = WATCHDOG_MS): Promise<T> {
  const hung = new Error(`still waiting after ${limitMs} ms: ${what}`);
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(hung), limitMs);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/** Arguments of the next event `name`. Errors: rejects on an `error` event before it and when it hangs. */
export function happens(emitter: EventEmitter, name: string, what = `event "${name}"`): Promise<unknown[]> {
  return within(once(emitter, name) as Promise<unknown[]>, what);
}

/** Resolves once `holds()` is true, asked once per loop turn. Errors: rejects when it hangs. */
export async function until(holds: () => boolean, what: string, limitMs = WATCHDOG_MS): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`still waiting after ${limitMs} ms: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Fails a process that something keeps alive though it has nothing more to do. The timer itself keeps nothing alive. */
export function goesByItself(after: string): void {
  const stays = () => {
    process.stderr.write(`still alive ${WATCHDOG_MS} ms after ${after}\n`);
    process.exit(1);
  };
  setTimeout(stays, WATCHDOG_MS).unref();
}
