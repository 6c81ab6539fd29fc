/**
 * Rendezvous between threads of one process: no CLC byte before a match.
 *
 * A client that sees a living listener publishes an intent, connects, claims its 4-tuple and closes the intent. The
 * acceptor looks its 4-tuple up: found → matched; no claim and no open intent → plain at once; else it waits for the
 * intents that were open at accept, at most `claimWaitMs`, and looks once more. The client sends its Proposal only after
 * the match, and withdraws after `matchTimeoutMs`. Owns timers and callbacks; the words are the data plane's.
 */
import { CONTROL_RENDEZVOUS, LISTENER_ANY4, LISTENER_ANY6, LISTENER_EXACT } from "../../assembly/shared/codes.js";
import { STACK_CAPACITY } from "../../assembly/shared/layout.js";
import type { Abi } from "../engine/abi.js";
import { type Endpoint, writeAddress, writeTuple } from "./address.js";

/** A stack of another process that was met: as a client it has a desk, as an acceptor a number. */
export interface Neighbour {
  /** Slot in its process. */
  readonly slot: number;
  /** Arena address of the desk on which it announces itself to us. */
  readonly desk: number;
  /**
   * Its process: our desk for the acceptors there. While something stands on a desk, ours or one of theirs, it is held. Whoever
   * lies there is left: `fail`.
   */
  readonly pair: {
    readonly desk: number;
    stand(change: 1 | -1): void;
    acknowledge(): void;
    fail(reason: string): void;
  };
  readonly gone: boolean;
  nudge(bits: number): void;
}

/** Stacks of other processes; absent where there is no way to them. */
export interface Neighbourhood {
  /** Enters a listener for other processes to see; the function that takes it out again. */
  listen(server: Endpoint, wildcard: Wildcard): () => void;
  /** Stacks that listen there and were met. */
  listeners(server: Endpoint): readonly Neighbour[];
  /**
   * Meets those that listen there and were not.
   *
   * Returns: undefined when there is nobody to meet; else `done` is called once, soon, unless the returned function is.
   */
  approach(server: Endpoint, done: () => void): (() => void) | undefined;
  /** Every stack that was met. */
  clients(): Iterable<Neighbour>;
}

export interface RendezvousHost {
  readonly abi: Abi;
  readonly stack: number;
  /** The address-key argument of this stack, 40 bytes. */
  readonly key: DataView;
  readonly neighbourhood: Neighbourhood | undefined;
  /** Tells stack `slot` of this process that rendezvous words changed. */
  nudge(slot: number): void;
  /** Something waits (+1) or no longer (-1): the poll loop has to look. */
  hold(change: 1 | -1): void;
}

/** A desk of ours, of this process or in the box of a pair. */
interface Desk {
  readonly desk: number;
  readonly pair: Neighbour["pair"] | undefined;
}

/** A client's announcement, open from before its SYN until it has claimed or given up. */
export interface Intent {
  /** The desks it stands on, where its claim belongs too. */
  readonly desks: readonly Desk[];
  close(): void;
}

/** A client's claim, until it is matched or withdrawn. */
export interface Claim {
  /** Looks now whether it is matched; once it has said so, `onMatch` is not called any more. */
  settle(): boolean;
  /** Takes the claim back. False when it is matched: `onMatch` has been or will be called. */
  withdraw(): boolean;
}

interface OpenClaim {
  /** The same claim on each desk, where it still stands. */
  places: (Desk & { readonly index: number })[];
  readonly onMatch: () => void;
}

/** An acceptor as a client addresses it. */
interface Acceptor extends Desk {
  readonly number: number;
  nudge(): void;
}

/** A client as an acceptor sees it. */
interface Client extends Desk {
  nudge(): void;
  /** Whether its process has ended: what it announced stays as it was, and comes to nothing. */
  gone(): boolean;
}

interface WaitingAcceptor {
  /** The 4-tuple's key, ready to be looked up again. */
  readonly key: Uint32Array;
  /** Open intents at accept. */
  readonly intents: readonly (Client & { readonly sequence: number })[];
  readonly done: (matched: boolean) => void;
  readonly claimants: Claimants;
  readonly timer: NodeJS.Timeout;
}

/** An acceptor's wait: `done` is called once, by whatever comes first, unless it is cancelled. */
export interface Wait {
  /** Looks once more and decides now: the peer has begun to talk. */
  settle(): void;
  cancel(): void;
}

/** The processes whose claims an acceptor has matched with one connection: one, unless some of them lie. */
export type Claimants = Set<Neighbour["pair"]>;

/** Which addresses a listener answers for, beyond its own. */
export type Wildcard = "none" | "any4" | "any6" | "dual";

const WILDCARD_BITS: Record<Wildcard, number> = {
  none: LISTENER_EXACT,
  any4: LISTENER_ANY4,
  any6: LISTENER_ANY6,
  dual: LISTENER_ANY4 | LISTENER_ANY6,
};

/** Intents of one desk towards one acceptor. */
interface IntentLine {
  readonly acceptor: Acceptor;
  readonly open: Set<number>;
}

export class ArenaRendezvous {
  readonly #host: RendezvousHost;
  readonly #desk: number;
  readonly #lines = new Map<string, IntentLine>();
  readonly #claims = new Set<OpenClaim>();
  readonly #waiting = new Set<WaitingAcceptor>();
  /** By desk: the newest intent that was waited for in vain. */
  readonly #inVain = new Map<number, number>();

  constructor(host: RendezvousHost) {
    this.#host = host;
    this.#desk = host.abi.stackDesk(host.stack);
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

  /** Makes ready for intend(): meets who listens there in other processes. As Neighbourhood.approach. */
  approach(server: Endpoint, done: () => void): (() => void) | undefined {
    return this.#host.neighbourhood?.approach(server, done);
  }

  /** Announces a connection to `server`; undefined when nobody that we know listens there: plain TCP. */
  intend(server: Endpoint): Intent | undefined {
    const acceptors = this.#acceptors(server);
    if (acceptors === undefined) return undefined;
    const ends = acceptors.map((acceptor) => this.#begin(acceptor));
    let open = true;
    return {
      desks: [...new Map(acceptors.map(({ desk, pair }) => [desk, { desk, pair }])).values()],
      close: () => {
        if (!open) return;
        open = false;
        for (const end of ends) end();
      },
    };
  }

  #acceptors(server: Endpoint): Acceptor[] | undefined {
    const { abi, stack, key, neighbourhood } = this.#host;
    writeAddress(server.address, key, 16);
    let acceptors: Acceptor[] | undefined;
    for (let found = abi.listenerFind(stack, server.port, 0); found >= 0; ) {
      const slot = found & 0xff;
      acceptors ??= [];
      if (!acceptors.some(({ number }) => number === slot))
        acceptors.push({ desk: this.#desk, pair: undefined, number: slot, nudge: () => this.#host.nudge(slot) });
      found = abi.listenerFind(stack, server.port, (found >> 8) + 1);
    }
    for (const neighbour of neighbourhood?.listeners(server) ?? []) {
      const nudge = (): void => neighbour.nudge(CONTROL_RENDEZVOUS);
      acceptors ??= [];
      const { pair, slot: number } = neighbour;
      acceptors.push({ desk: pair.desk, pair, number, nudge });
    }
    return acceptors;
  }

  /** Opens an intent; the function that closes it. They end in any order; the word says how far all are closed. */
  #begin(acceptor: Acceptor): () => void {
    const { abi } = this.#host;
    const { desk, pair, number } = acceptor;
    pair?.stand(1);
    const sequence = abi.intentBegin(desk, number);
    const name = `${desk}/${number}`;
    const line = this.#lines.get(name) ?? { acceptor, open: new Set() };
    this.#lines.set(name, line);
    line.open.add(sequence);
    return () => {
      line.open.delete(sequence);
      const oldest: number | undefined = line.open.values().next().value;
      abi.intentClosed(desk, number, oldest === undefined ? abi.intentBegun(desk, number) : oldest - 1);
      acceptor.nudge();
      pair?.stand(-1);
    };
  }

  /** Claims an established connection where `intent` stood; undefined when there is no room. `onMatch` runs in a later turn. */
  claim(client: Endpoint, server: Endpoint, intent: Intent, onMatch: () => void): Claim | undefined {
    const { abi, stack, key } = this.#host;
    writeTuple(client, server, key);
    const places = intent.desks
      .map(({ desk, pair }) => ({ desk, pair, index: abi.claimMake(stack, desk) }))
      .filter(({ index }) => index >= 0);
    if (places.length === 0) return undefined;
    for (const { pair } of places) pair?.stand(1);
    const open: OpenClaim = { places, onMatch };
    this.#claims.add(open);
    this.#host.hold(1);
    return {
      settle: () => this.#claims.has(open) && this.#settle(open),
      withdraw: () => {
        if (!this.#claims.has(open)) return false;
        // On a desk where an acceptor was faster it stays.
        open.places = open.places.filter(({ desk, pair, index }) => {
          if (abi.claimWithdraw(desk, index) === 0) return true;
          pair?.stand(-1);
          return false;
        });
        if (open.places.length > 0) return false;
        this.#forget(open);
        return true;
      },
    };
  }

  /** Whether an acceptor has matched the claim; then it is over. */
  #settle(open: OpenClaim): boolean {
    const { abi } = this.#host;
    if (open.places.every(({ desk, index }) => abi.claimMatched(desk, index) === 0)) return false;
    for (const { desk, pair, index } of open.places) {
      if (abi.claimWithdraw(desk, index) === 0) abi.claimFree(desk, index);
      pair?.stand(-1);
    }
    this.#forget(open);
    return true;
  }

  #forget(open: OpenClaim): void {
    if (this.#claims.delete(open)) this.#host.hold(-1);
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
    const waiting: WaitingAcceptor = { key: this.#savedKey(), intents, done, claimants, timer };
    this.#waiting.add(waiting);
    for (const { pair } of intents) pair?.stand(1);
    this.#host.hold(1);
    return { settle, cancel: () => void this.#drop(waiting) };
  }

  /** Everybody that may have announced itself to us. */
  #clients(): Client[] {
    const { abi, neighbourhood } = this.#host;
    const clients: Client[] = [];
    for (let slot = 0; slot < STACK_CAPACITY; slot++) {
      if (abi.stackGeneration(slot) !== 0)
        clients.push({
          desk: abi.stackDesk(slot),
          pair: undefined,
          nudge: () => this.#host.nudge(slot),
          // Whoever finds a dead stack of this process closes its intents.
          gone: () => false,
        });
    }
    for (const neighbour of neighbourhood?.clients() ?? [])
      clients.push({
        desk: neighbour.desk,
        pair: neighbour.pair,
        nudge: () => neighbour.nudge(CONTROL_RENDEZVOUS),
        gone: () => neighbour.gone,
      });
    return clients;
  }

  #intentsNow(clients: readonly Client[]): WaitingAcceptor["intents"] {
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

  #matchAgain({ key, intents, claimants }: WaitingAcceptor): boolean {
    for (let i = 0; i < key.length; i++) this.#host.key.setUint32(4 * i, key[i]!);
    return this.#match(intents, claimants);
  }

  #drop(waiting: WaitingAcceptor): boolean {
    if (!this.#waiting.delete(waiting)) return false;
    clearTimeout(waiting.timer);
    for (const { pair } of waiting.intents) pair?.stand(-1);
    this.#host.hold(-1);
    return true;
  }

  /** The rendezvous words changed, or a client has gone: claims may be matched, waited-for intents closed. */
  look(): void {
    const { abi, stack } = this.#host;
    for (const open of this.#claims) if (this.#settle(open)) setImmediate(open.onMatch);
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
