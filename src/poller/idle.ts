/**
 * When to spin and when to sleep: the idle policy of a poll loop. Pure; time comes in as a number.
 *
 * Spin only while it pays. After traffic the loop may turn for a budget; an episode in which nothing arrived doubles the
 * number of parks before the next one (up to MAX_SKIP), one that paid resets it. The budget follows the gaps that are seen:
 * a peer that collects garbage or was asleep needs longer to answer than one that spins, and a park costs both sides more
 * than the gap. It grows at once, also when a park shows afterwards how long the gap was, and shrinks by and by. On one CPU
 * there is no spinning.
 */

/** Parks between two attempts, at most. */
const MAX_SKIP = 1024;

/** The same after the first time that the CPU was crowded, at least. */
const LEAST_CROWD_SKIP = 8;

/** The longest budget, as a multiple of the configured one; also the mean gap above which spinning does not pay. */
const MAX_STRETCH = 8;

/** The same for attempts, and where traffic is dense: covers what a garbage collection or a busy CPU takes from the peer. */
const MAX_STRETCH_DENSE = 32;

/** Weight of a new gap in the running mean of gaps. */
const GAP_WEIGHT = 1 / 16;

/** A budget is this many times the gap that it has to cover. */
const MARGIN = 2;

/** Hits until a budget that is no longer needed has shrunk to a third. */
const MEMORY = 2048;

export class IdlePolicy {
  /** 0: never spin. Microseconds. */
  readonly budgetUs: number;
  #budget: number;
  /** Running mean of the time between looking for traffic and seeing some. */
  #meanGap = 0;
  /** Time of the first turn since the last traffic that found nothing; 0 before there is one. */
  #idleSince = 0;
  #paid = false;
  #spinning = false;
  #skip = 0;
  #parksLeft = 0;
  /** Parks after the next time the CPU turns out to be wanted by others. */
  #crowdSkip = 0;

  /** Takes: budgetUs, microseconds; cpus this process may run on. */
  constructor(budgetUs: number, cpus: number) {
    this.budgetUs = cpus > 1 ? budgetUs : 0;
    this.#budget = this.budgetUs;
  }

  get spinning(): boolean {
    return this.#spinning;
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

  /** Something came after `gapUs` of looking for it: the spin pays. */
  #hit(gapUs: number): void {
    this.#paid = true;
    this.#skip = 0;
    if (!this.#cover(gapUs)) this.#budget += (this.budgetUs - this.#budget) / MEMORY;
  }

  /** Sees to it that a gap like this one is covered. Whether the budget had to grow. */
  #cover(gapUs: number): boolean {
    this.#meanGap += (Math.min(gapUs, this.budgetUs * MAX_STRETCH_DENSE) - this.#meanGap) * GAP_WEIGHT;
    const stretch = this.#meanGap < this.budgetUs ? MAX_STRETCH_DENSE : MAX_STRETCH;
    const longest = this.budgetUs * stretch;
    if (this.#budget > longest) this.#budget = longest;
    const wanted = Math.min(gapUs * MARGIN, longest);
    if (wanted <= this.#budget) return false;
    this.#budget = wanted;
    return true;
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
    this.#crowdSkip >>= 1;
    const paid = this.#paid && this.#meanGap < this.budgetUs * MAX_STRETCH;
    this.#skip = paid ? 0 : Math.min(Math.max(this.#skip * 2, 1), MAX_SKIP);
    this.#parksLeft = this.#skip;
    // Unpaid attempts get longer, too: a peer that sleeps needs its wake-up time before it can answer the first time.
    if (!paid) this.#budget = Math.min(this.#budget * 2, this.budgetUs * MAX_STRETCH_DENSE);
  }

  /**
   * Others want this CPU again and again: ends the episode, whatever it was worth. The parks before the next one double each
   * time, and halve with each episode that ends by itself.
   */
  crowded(): void {
    this.#spinning = false;
    this.#paid = false;
    this.#crowdSkip = Math.min(Math.max(this.#crowdSkip * 2, LEAST_CROWD_SKIP), MAX_SKIP);
    this.#parksLeft = this.#crowdSkip;
  }

  /** The loop slept and was woken. After an episode that paid, this shows how long it should have gone on. */
  woken(nowUs: number): void {
    if (this.#parksLeft > 0) this.#parksLeft--;
    if (this.#paid && this.#idleSince !== 0) this.#cover(nowUs - this.#idleSince);
    this.#paid = false;
  }
}
