/**
 * When to spin and when to sleep: the idle policy of a poll loop. Pure; time comes in as a number.
 *
 * Spin only while it pays: after traffic the loop may turn for `budgetUs`. An episode in which nothing arrived doubles the
 * number of parks before the next episode (up to MAX_SKIP); one that paid resets it. On one CPU there is no spinning.
 */

const MAX_SKIP = 1024;

export class IdlePolicy {
  /** 0: never spin. */
  readonly budgetUs: number;
  #until = 0;
  #paid = false;
  #spinning = false;
  #skip = 0;
  #parksLeft = 0;

  /** Takes: budgetUs, microseconds; cpus this process may run on. */
  constructor(budgetUs: number, cpus: number) {
    this.budgetUs = cpus > 1 ? budgetUs : 0;
  }

  /** Traffic was seen, or is expected because we just sent. Whether the loop should be turning. */
  traffic(nowUs: number, received: boolean): boolean {
    if (this.#spinning) {
      if (received) {
        this.#paid = true;
        this.#skip = 0;
      }
      this.#until = nowUs + this.budgetUs;
      return true;
    }
    if (this.budgetUs === 0 || this.#parksLeft > 0) return false;
    this.#spinning = true;
    this.#paid = false;
    this.#until = nowUs + this.budgetUs;
    return true;
  }

  /** A turn found nothing. Whether to turn once more; false ends the episode: park. */
  idle(nowUs: number): boolean {
    if (!this.#spinning) return false;
    if (nowUs < this.#until) return true;
    this.end();
    return false;
  }

  /** Ends a spinning episode, if there is one, and counts what it was worth. */
  end(): void {
    if (!this.#spinning) return;
    this.#spinning = false;
    this.#skip = this.#paid ? 0 : Math.min(Math.max(this.#skip * 2, 1), MAX_SKIP);
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
