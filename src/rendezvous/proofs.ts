/**
 * What was found out about addresses: which lead to which stack of another network namespace, and which do not.
 *
 * Two networks may use the same addresses, so an address alone names nobody. Owns how long either answer is believed. Knows
 * nothing of how it was found out.
 */

/** How long an address is believed to lead to a stack, ms: networks are rebuilt while stacks live. */
const PROVEN_MS = 60_000;
/** How long one that did not is not tried again, ms. */
const DISPROVEN_MS = 1000;
/** Answers remembered; then all are forgotten. */
const MOST_KNOWN = 1024;

interface Finding {
  readonly leads: boolean;
  /** Monotonic, ms. */
  readonly until: number;
}

export class Proofs {
  readonly #findings = new Map<string, Finding>();

  /** Takes: stack, any name that no other stack ever has. */
  enter(stack: string, address: string, leads: boolean): void {
    const key = `${stack}@${address}`;
    if (this.#findings.size >= MOST_KNOWN && !this.#findings.has(key)) this.#findings.clear();
    this.#findings.set(key, { leads, until: performance.now() + (leads ? PROVEN_MS : DISPROVEN_MS) });
  }

  /** Whether `address` leads to `stack`; undefined where that is not known, or not any more. */
  find(stack: string, address: string): boolean | undefined {
    const found = this.#findings.get(`${stack}@${address}`);
    return found !== undefined && performance.now() < found.until ? found.leads : undefined;
  }
}
