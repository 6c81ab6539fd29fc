/**
 * How a client makes itself known before it may speak: an intent before the SYN, a claim as soon as the 4-tuple is known.
 *
 * Owns the order of the two. On one host the kernel has finished the TCP handshake when connect() returns: the claim made right then
 * is there before the acceptor looks, and nobody has to wait for anybody. Otherwise it is made when the connection is complete.
 */
import type { Claim, Intent } from "../rendezvous/client.js";
import type { Stack } from "../stack.js";
import { endpointsOf, type TcpHandle } from "./binding.js";

export class Announcement {
  readonly #stack: Stack;
  readonly #handle: TcpHandle;
  readonly #intent: Intent;
  #claim: Claim | undefined;
  #matched = false;
  #over = false;
  #engaged = true;
  /** Known since the claim. */
  localAddress: string | undefined;
  /** Set by whoever waits for the match; called at most once, in a later turn. */
  onMatch: (() => void) | undefined;

  constructor(stack: Stack, handle: TcpHandle, intent: Intent) {
    this.#stack = stack;
    this.#handle = handle;
    this.#intent = intent;
    stack.engage(1);
  }

  /** From here on a handshake keeps the loop turning. */
  handOver(): void {
    if (this.#engaged) this.#stack.engage(-1);
    this.#engaged = false;
  }

  /** Claims the connection if both its ends are known by now; then the intent is closed. Whether there is a claim. */
  claim(): boolean {
    if (this.#claim !== undefined || this.#over) return this.#claim !== undefined;
    const ends = endpointsOf(this.#handle);
    if (ends === undefined) return false;
    this.localAddress = ends.local.address;
    this.#claim = this.#stack.rendezvous.claim(ends.local, ends.peer, this.#intent, () => {
      this.#matched = true;
      this.onMatch?.();
    });
    this.#intent.close();
    return this.#claim !== undefined;
  }

  /** Whether an acceptor has matched it by now. */
  settled(): boolean {
    this.#matched ||= this.#claim?.settle() ?? false;
    return this.#matched;
  }

  /** Takes everything back; false when it is matched: the acceptor waits for a Proposal. */
  withdraw(): boolean {
    this.#over = true;
    this.#intent.close();
    this.handOver();
    return !this.#matched && (this.#claim?.withdraw() ?? true);
  }
}
