/**
 * When to spin and when to sleep: the idle policy of a poll loop. Pure; time comes in as a number.
 *
 * Spin only while it pays. After traffic the loop may turn for a budget; an episode in which nothing arrived doubles the
 * number of parks before the next one (up to MAX_SKIP), one that paid resets it. The budget follows what is seen: rare
 * attempts are longer, because a peer that sleeps needs its wake-up time before it can answer the first time; when answers
 * come quickly it shrinks to the configured one again. On one CPU there is no spinning.
 */

/** Parks between two attempts, at most. */
const MAX_SKIP = 1024;

/** The longest budget, as a multiple of the configured one: several wake-ups of a virtual machine. */
const MAX_STRETCH = 8;

/** A budget is this many times the delay after which traffic usually comes. */
const MARGIN = 4;

export class IdlePolicy {
  /** 0: never spin. Microseconds. */
  readonly budgetUs: number;
  #budget: number;
  /** Time of the first turn since the last traffic that found nothing; 0 before there is one. */
  #idleSince = 0;
  #paid = false;
  #spinning = false;
  #skip = 0;
  #parksLeft = 0;

  /** Takes: budgetUs, microseconds; cpus this process may run on. */
  constructor(budgetUs: number, cpus: number) {
    this.budgetUs = cpus > 1 ? budgetUs : 0;
    this.#budget = this.budgetUs;
  }

  /** Traffic was seen, or is expected because we just sent. Whether the loop should be turning. */
  traffic(nowUs: number, received: boolean): boolean {
    if (this.#spinning) {
      if (received) this.#hit(this.#idleSince === 0 ? 0 : nowUs - this.#idleSince);
      this.#idleSince = 0;
      return true;
    }
    if (this.budgetUs === 0 || this.#parksLeft > 0) return false;
    this.#spinning = true;
    this.#paid = false;
    this.#idleSince = 0;
    return true;
  }

  /** Something came after `delayUs` of looking for it: the spin pays, and shows how long to spin. */
  #hit(delayUs: number): void {
    this.#paid = true;
    this.#skip = 0;
    const wanted = Math.min(Math.max(delayUs * MARGIN, this.budgetUs), this.budgetUs * MAX_STRETCH);
    // Longer at once, shorter by and by.
    this.#budget = wanted > this.#budget ? wanted : this.#budget + (wanted - this.#budget) / 16;
  }

  /** A turn found nothing. Whether to turn once more; false ends the episode: park. */
  idle(nowUs: number): boolean {
    if (!this.#spinning) return false;
    // Counted from the first look: what the application did with the last traffic is not waiting.
    if (this.#idleSince === 0) this.#idleSince = nowUs;
    if (nowUs - this.#idleSince < this.#budget) return true;
    this.end();
    return false;
  }

  /** Ends a spinning episode, if there is one, and counts what it was worth. */
  end(): void {
    if (!this.#spinning) return;
    this.#spinning = false;
    if (this.#paid) {
      this.#skip = 0;
    } else {
      this.#skip = Math.min(Math.max(this.#skip * 2, 1), MAX_SKIP);
      this.#budget = Math.min(this.#budget * 2, this.budgetUs * MAX_STRETCH);
    }
    this.#parksLeft = this.#skip;
  }

  /** The loop slept and was woken. */
  woken(): void {
    if (this.#parksLeft > 0) this.#parksLeft--;
  }

  get spinning(): boolean {
    return this.#spinning;
  }
}
