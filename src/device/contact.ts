/**
 * First contact: how two stacks of different processes come to share a doorbell and memory.
 *
 * The front of it: the pairs (pairs.ts), asking (ask.ts) and answering (answer.ts) of one stack. Nothing here
 * blocks: a contact has some milliseconds, and who is not met by then is left to TCP for a while. Trust is decided by
 * the peer's credentials and EIDs, before a byte of its memory is mapped.
 *
 *   stack a                                                stack b, in another process
 *   enters or makes the pair: box, bell
 *   a probe, where the address is to be proven ──────────▶ remembers its nonce
 *   connect ─── contact + bell, memfd of the box ────────▶ checks who it is; enters the pair: box, bell
 *   rung by its new bell ◀─── answer + bell, memfd ─────── rings a
 *   a first contact's socket stays as the pair's channel, any other is closed
 */
import { Answering } from "./answer.js";
import { Asking, type Met, type Stranger } from "./ask.js";
import type { ContactHost } from "./meeting.js";
import { Pairs } from "./pairs.js";
import type { Route } from "./probe.js";

export class Contacts {
  /** Whom this stack has met, or who has met it. */
  readonly pairs: Pairs;
  readonly #asking: Asking;
  readonly #answering: Answering;

  constructor(host: ContactHost) {
    this.pairs = new Pairs(host);
    this.#asking = new Asking(host, this.pairs);
    this.#answering = new Answering(host, this.pairs);
  }

  /** As Asking.shunned. */
  shunned(stranger: Stranger): string | undefined {
    return this.#asking.shunned(stranger);
  }

  /** As Asking.meet. */
  meet(stranger: Stranger, route: Route | undefined, done: Met): () => void {
    return this.#asking.meet(stranger, route, done);
  }

  /** The bell rang: an answer may have come. */
  look(): void {
    this.#asking.look();
  }

  /** As Answering.serve. */
  serve(path: string): boolean {
    return this.#answering.serve(path);
  }

  /** This stack ends. */
  close(): void {
    this.#answering.close();
    this.#asking.close();
  }
}
