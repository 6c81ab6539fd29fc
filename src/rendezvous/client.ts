/**
 * The client's side of the rendezvous: intents before a connect, claims after it.
 *
 * Owns which intents and claims of this stack stand on which desks; while one stands, its pair is held. The words are the data
 * plane's, and the deadlines the caller's.
 */
import { CONTROL_RENDEZVOUS } from "../../assembly/shared/codes.js";
import { STACK_CAPACITY } from "../../assembly/shared/layout.js";
import { type Endpoint, writeAddress, writeTuple } from "./address.js";
import type { Desk, RendezvousHost } from "./host.js";

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

/** Intents of one desk towards one acceptor. */
interface IntentLine {
  readonly acceptor: Acceptor;
  readonly open: Set<number>;
}

export class RendezvousClient {
  readonly #host: RendezvousHost;
  readonly #desk: number;
  readonly #lines = new Map<number, IntentLine>();
  readonly #claims = new Set<OpenClaim>();

  constructor(host: RendezvousHost) {
    this.#host = host;
    this.#desk = host.abi.stackDesk(host.stack);
  }

  /** Whether somebody listens there who speaks SMC, met or not: most connects end with this question. */
  knows(server: Endpoint): boolean {
    const { abi, stack, key, neighbourhood } = this.#host;
    writeAddress(server.address, key, 16);
    return abi.listenerFind(stack, server.port, 0) >= 0 || (neighbourhood?.knows(server) ?? false);
  }

  /** Announces a connection to `server`; undefined when nobody that we know listens there: plain TCP. */
  intend(server: Endpoint): Intent | undefined {
    const acceptors = this.#acceptors(server);
    if (acceptors === undefined) return undefined;
    const ends = acceptors.map((acceptor) => this.#begin(acceptor));
    let open = true;
    return {
      desks: acceptors.filter(({ desk }, i) => acceptors.findIndex((other) => other.desk === desk) === i),
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
    const name = desk * STACK_CAPACITY + number;
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

  /** The rendezvous words changed: claims may be matched. */
  look(): void {
    for (const open of this.#claims) if (this.#settle(open)) setImmediate(open.onMatch);
  }
}
