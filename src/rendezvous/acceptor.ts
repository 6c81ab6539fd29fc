/**
 * The acceptor's side of the rendezvous: accepted connections are looked up among the claims of everybody that may have one.
 *
 * Owns the waits for intents that were open at accept, with their timers. The words are the data plane's.
 */
import { CONTROL_RENDEZVOUS } from "../../assembly/shared/codes.js";
import { STACK_CAPACITY } from "../../assembly/shared/layout.js";
import { type Endpoint, writeTuple } from "./address.js";
import type { Desk, Neighbour, RendezvousHost } from "./host.js";

/** A client as an acceptor sees it. */
interface Client extends Desk {
  nudge(): void;
  /** Whether its process has ended: what it announced stays as it was, and comes to nothing. */
  gone(): boolean;
}

const outsider = (neighbour: Neighbour): Client => ({
  desk: neighbour.desk,
  pair: neighbour.pair,
  nudge: () => neighbour.nudge(CONTROL_RENDEZVOUS),
  gone: () => neighbour.gone,
});

interface Waiting {
  /** The 4-tuple's key, ready to be looked up again. */
  readonly key: Uint32Array;
  /** Open intents at accept. */
  readonly intents: readonly (Client & { readonly sequence: number })[];
  readonly done: (matched: boolean) => void;
  readonly claimants: Claimants;
  readonly timer: NodeJS.Timeout;
}

/** The processes whose claims an acceptor has matched with one connection: one, unless some of them lie. */
export type Claimants = Set<Neighbour["pair"]>;

/** An acceptor's wait: `done` is called once, by whatever comes first, unless it is cancelled. */
export interface Wait {
  /** Looks once more and decides now: the peer has begun to talk. */
  settle(): void;
  cancel(): void;
}

export class RendezvousAcceptor {
  readonly #host: RendezvousHost;
  readonly #waiting = new Set<Waiting>();
  /** Clients of this process by slot, and of others by what was met. */
  readonly #inmates: (Client | undefined)[] = [];
  readonly #outsiders = new WeakMap<Neighbour, Client>();
  /** By desk: the newest intent that was waited for in vain. */
  readonly #inVain = new Map<number, number>();

  constructor(host: RendezvousHost) {
    this.#host = host;
  }

  /**
   * Looks an accepted connection up.
   *
   * Takes:   claimants, to which those are added whose claim is matched: for whom the connection turns out not to be theirs.
   * Returns: whether it is matched (else plain), or a Wait where that is not known yet: `done` is called within `waitMs`.
   */
  accept(
    client: Endpoint,
    server: Endpoint,
    waitMs: number,
    done: (matched: boolean) => void,
    claimants: Claimants = new Set(),
  ): boolean | Wait {
    writeTuple(client, server, this.#host.key);
    const everybody = this.#clients();
    if (this.#match(everybody, claimants)) return true;
    const intents = this.#intentsNow(everybody);
    if (intents.length === 0 || waitMs === 0) return this.#match(everybody, claimants);
    const settle = (): void => {
      if (this.#drop(waiting)) done(this.#matchAgain(waiting));
    };
    const expire = (): void => {
      // Who leaves an intent open holds up one connection with it, not all that follow.
      for (const { desk, sequence } of intents) if (this.#waiting.has(waiting)) this.#inVain.set(desk, sequence);
      settle();
    };
    // A loop that was blocked runs its timers first: what the client did meanwhile is looked at before giving up.
    const timer = setTimeout(() => setImmediate(expire), waitMs);
    const waiting: Waiting = { key: this.#savedKey(), intents, done, claimants, timer };
    this.#waiting.add(waiting);
    for (const { pair } of intents) pair?.stand(1);
    this.#host.hold(1);
    return { settle, cancel: () => void this.#drop(waiting) };
  }

  /** Everybody that may have announced itself to us. Asked for each connection, so those who stay are not made anew. */
  #clients(): Client[] {
    const { abi, neighbourhood } = this.#host;
    const clients: Client[] = [];
    for (let slot = 0; slot < STACK_CAPACITY; slot++)
      if (abi.stackGeneration(slot) !== 0) clients.push((this.#inmates[slot] ??= this.#inmate(slot)));
    for (const neighbour of neighbourhood?.clients() ?? []) {
      let client = this.#outsiders.get(neighbour);
      if (client === undefined) {
        client = outsider(neighbour);
        this.#outsiders.set(neighbour, client);
      }
      clients.push(client);
    }
    return clients;
  }

  #inmate(slot: number): Client {
    const nudge = (): void => this.#host.nudge(slot);
    // Whoever finds a dead stack of this process closes its intents.
    return { desk: this.#host.abi.stackDesk(slot), pair: undefined, nudge, gone: () => false };
  }

  #intentsNow(clients: readonly Client[]): Waiting["intents"] {
    const { abi, stack } = this.#host;
    const intents: (Client & { readonly sequence: number })[] = [];
    for (const client of clients) {
      const sequence = abi.intentBegun(client.desk, stack);
      if (this.#inVain.get(client.desk) === sequence || abi.intentOpen(client.desk, stack, sequence) === 0) continue;
      intents.push({ ...client, sequence });
    }
    return intents;
  }

  #savedKey(): Uint32Array {
    const { key } = this.#host;
    return Uint32Array.from({ length: key.byteLength / 4 }, (_, i) => key.getUint32(4 * i));
  }

  /** Matches the 4-tuple in the key area with the claims of all `clients`: one that lies is not in the way of the one that does not. */
  #match(clients: readonly Client[], claimants: Claimants): boolean {
    const { abi, stack } = this.#host;
    let matched = false;
    for (const client of clients) {
      if (abi.claimMatch(stack, client.desk) === 0) continue;
      matched = true;
      // It has found us by this pair.
      client.pair?.acknowledge();
      if (client.pair !== undefined) claimants.add(client.pair);
      client.nudge();
    }
    return matched;
  }

  #matchAgain({ key, intents, claimants }: Waiting): boolean {
    for (let i = 0; i < key.length; i++) this.#host.key.setUint32(4 * i, key[i]!);
    return this.#match(intents, claimants);
  }

  #drop(waiting: Waiting): boolean {
    if (!this.#waiting.delete(waiting)) return false;
    clearTimeout(waiting.timer);
    for (const { pair } of waiting.intents) pair?.stand(-1);
    this.#host.hold(-1);
    return true;
  }

  /** The rendezvous words changed, or a client has gone: waited-for intents may be closed. */
  look(): void {
    const { abi, stack } = this.#host;
    for (const waiting of this.#waiting) {
      // First whether intents are still open, then the look: a claim made before its intent closed is seen.
      const open = waiting.intents.some(
        (client) => !client.gone() && abi.intentOpen(client.desk, stack, client.sequence) !== 0,
      );
      const matched = this.#matchAgain(waiting);
      if ((matched || !open) && this.#drop(waiting)) setImmediate(waiting.done, matched);
    }
  }
}
