/**
 * Rendezvous by words in the arena, between threads of one process and of two: no CLC byte before a match.
 *
 * A client that sees a living listener publishes an intent, connects, claims its 4-tuple and closes the intent. The
 * acceptor looks its 4-tuple up: found → matched; no claim and no open intent → plain at once; else it waits for the
 * intents that were open at accept, at most `claimWaitMs`, and looks once more. The client sends its Proposal only after
 * the match, and withdraws after `matchTimeoutMs`. Owns the entering of listeners, and puts both sides together.
 */
import { LISTENER_ANY4, LISTENER_ANY6, LISTENER_EXACT } from "../../assembly/shared/codes.js";
import { type Claimants, RendezvousAcceptor, type Wait } from "./acceptor.js";
import { type Endpoint, writeAddress } from "./address.js";
import { type Claim, type Intent, RendezvousClient } from "./client.js";
import type { RendezvousHost, Wildcard } from "./host.js";

const WILDCARD_BITS: Record<Wildcard, number> = {
  none: LISTENER_EXACT,
  any4: LISTENER_ANY4,
  any6: LISTENER_ANY6,
  dual: LISTENER_ANY4 | LISTENER_ANY6,
};

export class ArenaRendezvous {
  readonly #host: RendezvousHost;
  readonly #client: RendezvousClient;
  readonly #acceptor: RendezvousAcceptor;

  constructor(host: RendezvousHost) {
    this.#host = host;
    this.#client = new RendezvousClient(host);
    this.#acceptor = new RendezvousAcceptor(host);
  }

  /** Enters a listener; the function that takes it out again. */
  listen(server: Endpoint, wildcard: Wildcard): () => void {
    const { abi, stack, key, neighbourhood } = this.#host;
    writeAddress(server.address, key, 16);
    const index = abi.listenerEnter(stack, server.port, WILDCARD_BITS[wildcard]);
    const leave = neighbourhood?.listen(server, wildcard);
    return () => {
      leave?.();
      if (index >= 0) abi.listenerLeave(stack, index);
    };
  }

  /** As RendezvousClient.knows. */
  knows(server: Endpoint): boolean {
    return this.#client.knows(server);
  }

  /** Makes ready for intend(): meets who listens there in other processes. As Neighbourhood.approach. */
  approach(server: Endpoint, done: () => void): (() => void) | undefined {
    return this.#host.neighbourhood?.approach(server, done);
  }

  /** As Neighbourhood.unmet. */
  unmet(server: Endpoint): string | undefined {
    return this.#host.neighbourhood?.unmet(server);
  }

  /** As RendezvousClient.intend. */
  intend(server: Endpoint): Intent | undefined {
    return this.#client.intend(server);
  }

  /** As RendezvousClient.claim. */
  claim(client: Endpoint, server: Endpoint, intent: Intent, onMatch: () => void): Claim | undefined {
    return this.#client.claim(client, server, intent, onMatch);
  }

  /** As RendezvousAcceptor.accept. */
  accept(
    client: Endpoint,
    server: Endpoint,
    waitMs: number,
    done: (matched: boolean) => void,
    claimants?: Claimants,
  ): boolean | Wait {
    return this.#acceptor.accept(client, server, waitMs, done, claimants);
  }

  /** The rendezvous words changed, or a client has gone. */
  look(): void {
    this.#client.look();
    this.#acceptor.look();
  }
}
