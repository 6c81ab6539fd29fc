/**
 * How a client makes itself known before it may speak: an intent before the SYN, a claim as soon as the 4-tuple is known.
 *
 * Owns the order of the two. When connect() returns, the kernel has given the handle its own end: the claim made right then is there
 * before the acceptor looks, and nobody has to wait for anybody. A connection that fails takes it back.
 */
import type { Endpoint } from "../rendezvous/address.js";
import type { Claim, Intent } from "../rendezvous/client.js";
import type { Stack } from "../stack.js";
import { endpointsTo, type TcpHandle } from "./binding.js";

export class Announcement {
  readonly #stack: Stack;
  readonly #handle: TcpHandle;
  readonly #intent: Intent;
  readonly #server: Endpoint;
  #claim: Claim | undefined;
  #matched = false;
  #over = false;
  #engaged = true;
  /** Known since the claim. */
  localAddress: string | undefined;
  /** Set by whoever waits for the match; called at most once, in a later turn. */
  onMatch: (() => void) | undefined;

  /** Takes: server, as it was dialed. */
  constructor(stack: Stack, handle: TcpHandle, intent: Intent, server: Endpoint) {
    this.#stack = stack;
    this.#handle = handle;
    this.#intent = intent;
    this.#server = server;
    stack.engage(1);
  }

  /** From here on a handshake keeps the loop turning. */
  handOver(): void {
    if (this.#engaged) this.#stack.engage(-1);
    this.#engaged = false;
  }

  /** Claims the connection, if its own end is known by now; then the intent is closed. Whether there is a claim. */
  claim(): boolean {
    if (this.#claim !== undefined || this.#over) return this.#claim !== undefined;
    const ends = endpointsTo(this.#server, this.#handle);
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
