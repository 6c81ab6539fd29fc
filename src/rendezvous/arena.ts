/**
 * Rendezvous between threads of one process: no CLC byte before a match.
 *
 * A client that sees a living listener publishes an intent, connects, claims its 4-tuple and closes the intent. The
 * acceptor looks its 4-tuple up: found → matched; no claim and no open intent → plain at once; else it waits for the
 * intents that were open at accept, at most `claimWaitMs`, and looks once more. The client sends its Proposal only after
 * the match, and withdraws after `matchTimeoutMs`. Owns timers and callbacks; the words are the data plane's.
 */
import { LISTENER_ANY4, LISTENER_ANY6, LISTENER_EXACT } from "../../assembly/shared/codes.js";
import { STACK_CAPACITY } from "../../assembly/shared/layout.js";
import type { Abi } from "../engine/abi.js";
import { type Endpoint, writeAddress, writeTuple } from "./address.js";

export interface RendezvousHost {
  readonly abi: Abi;
  readonly stack: number;
  /** The address-key argument of this stack, 40 bytes. */
  readonly key: DataView;
  /** Tells stack `slot` that rendezvous words changed. */
  nudge(slot: number): void;
  /** Something waits (+1) or no longer (-1): the poll loop has to look. */
  hold(change: 1 | -1): void;
}

/** A client's announcement, open from before its SYN until it has claimed or given up. */
export interface Intent {
  close(): void;
}

/** A client's claim, until it is matched or withdrawn. */
export interface Claim {
  /** Takes the claim back. False when it is matched: `onMatch` has been or will be called. */
  withdraw(): boolean;
}

interface OpenClaim {
  readonly index: number;
  readonly onMatch: () => void;
}

interface WaitingAcceptor {
  /** The 4-tuple's key, ready to be looked up again. */
  readonly key: Uint32Array;
  /** Open intents at accept: client stack and sequence. */
  readonly intents: { readonly stack: number; readonly sequence: number }[];
  readonly done: (matched: boolean) => void;
  readonly timer: NodeJS.Timeout;
}

/** An acceptor's wait: `done` is called once, by whatever comes first, unless it is cancelled. */
export interface Wait {
  /** Looks once more and decides now: the peer has begun to talk. */
  settle(): void;
  cancel(): void;
}

/** Which addresses a listener answers for, beyond its own. */
export type Wildcard = "none" | "any4" | "any6" | "dual";

const WILDCARD_BITS: Record<Wildcard, number> = {
  none: LISTENER_EXACT,
  any4: LISTENER_ANY4,
  any6: LISTENER_ANY6,
  dual: LISTENER_ANY4 | LISTENER_ANY6,
};

export class ArenaRendezvous {
  readonly #host: RendezvousHost;
  readonly #openIntents = new Map<number, Set<number>>();
  readonly #claims = new Set<OpenClaim>();
  readonly #waiting = new Set<WaitingAcceptor>();

  constructor(host: RendezvousHost) {
    this.#host = host;
  }

  /** Enters a listener; the function that takes it out again, or undefined when the registry is full. */
  listen(server: Endpoint, wildcard: Wildcard): (() => void) | undefined {
    const { abi, stack, key } = this.#host;
    writeAddress(server.address, key, 16);
    const index = abi.listenerEnter(stack, server.port, WILDCARD_BITS[wildcard]);
    return index < 0 ? undefined : () => abi.listenerLeave(stack, index);
  }

  /** Announces a connection to `server`; undefined when nobody in this process listens there: plain TCP. */
  intend(server: Endpoint): Intent | undefined {
    const { abi, stack, key } = this.#host;
    writeAddress(server.address, key, 16);
    let acceptors: Map<number, number> | undefined;
    for (let found = abi.listenerFind(stack, server.port, 0); found >= 0; ) {
      const acceptor = found & 0xff;
      acceptors ??= new Map();
      if (!acceptors.has(acceptor)) acceptors.set(acceptor, this.#begin(acceptor));
      found = abi.listenerFind(stack, server.port, (found >> 8) + 1);
    }
    if (acceptors === undefined) return undefined;
    let open = true;
    return {
      close: () => {
        if (!open) return;
        open = false;
        for (const [acceptor, sequence] of acceptors) this.#end(acceptor, sequence);
      },
    };
  }

  #begin(acceptor: number): number {
    const sequence = this.#host.abi.intentBegin(this.#host.stack, acceptor);
    const open = this.#openIntents.get(acceptor);
    if (open === undefined) this.#openIntents.set(acceptor, new Set([sequence]));
    else open.add(sequence);
    return sequence;
  }

  /** Intents end in any order; the word says how far all are closed. */
  #end(acceptor: number, sequence: number): void {
    const open = this.#openIntents.get(acceptor);
    if (open === undefined) return;
    open.delete(sequence);
    const oldest: number | undefined = open.values().next().value;
    const closed = oldest === undefined ? this.#host.abi.intentBegun(this.#host.stack, acceptor) : oldest - 1;
    this.#host.abi.intentClosed(this.#host.stack, acceptor, closed);
    this.#host.nudge(acceptor);
  }

  /** Claims an established connection; undefined when there is no room: plain TCP. `onMatch` runs in a later turn. */
  claim(client: Endpoint, server: Endpoint, onMatch: () => void): Claim | undefined {
    const { abi, stack, key } = this.#host;
    writeTuple(client, server, key);
    const index = abi.claimMake(stack);
    if (index < 0) return undefined;
    const open: OpenClaim = { index, onMatch };
    this.#claims.add(open);
    this.#host.hold(1);
    return {
      withdraw: () => {
        if (!this.#claims.has(open)) return false;
        if (abi.claimWithdraw(stack, index) === 0) return false;
        this.#forget(open);
        return true;
      },
    };
  }

  #forget(open: OpenClaim): void {
    if (this.#claims.delete(open)) this.#host.hold(-1);
  }

  /**
   * Looks an accepted connection up.
   *
   * Returns: whether it is matched (else plain), or a Wait where that is not known yet: `done` is called within `waitMs`.
   */
  accept(client: Endpoint, server: Endpoint, waitMs: number, done: (matched: boolean) => void): boolean | Wait {
    writeTuple(client, server, this.#host.key);
    const everybody = this.#liveStacks();
    if (this.#match(everybody)) return true;
    const intents = this.#intentsNow(everybody);
    if (intents.length === 0 || waitMs === 0) return this.#match(everybody);
    const settle = (): void => {
      if (this.#drop(waiting)) done(this.#matchAgain(waiting));
    };
    // A loop that was blocked runs its timers first: what the client did meanwhile is looked at before giving up.
    const timer = setTimeout(() => setImmediate(settle), waitMs);
    const waiting: WaitingAcceptor = { key: this.#savedKey(), intents, done, timer };
    this.#waiting.add(waiting);
    this.#host.hold(1);
    return { settle, cancel: () => void this.#drop(waiting) };
  }

  #liveStacks(): number[] {
    const live: number[] = [];
    for (let slot = 0; slot < STACK_CAPACITY; slot++) if (this.#host.abi.stackGeneration(slot) !== 0) live.push(slot);
    return live;
  }

  #intentsNow(clients: readonly number[]): WaitingAcceptor["intents"] {
    const { abi, stack } = this.#host;
    const intents: WaitingAcceptor["intents"] = [];
    for (const client of clients) {
      const sequence = abi.intentBegun(client, stack);
      if (abi.intentOpen(client, stack, sequence) !== 0) intents.push({ stack: client, sequence });
    }
    return intents;
  }

  #savedKey(): Uint32Array {
    const { key } = this.#host;
    return Uint32Array.from({ length: key.byteLength / 4 }, (_, i) => key.getUint32(4 * i));
  }

  /** Matches the 4-tuple in the key area with a claim of one of `clients`. */
  #match(clients: readonly number[]): boolean {
    const { abi, stack } = this.#host;
    for (const client of clients) {
      if (abi.claimMatch(stack, client) === 0) continue;
      this.#host.nudge(client);
      return true;
    }
    return false;
  }

  #matchAgain({ key, intents }: WaitingAcceptor): boolean {
    for (let i = 0; i < key.length; i++) this.#host.key.setUint32(4 * i, key[i]!);
    return this.#match(intents.map((intent) => intent.stack));
  }

  #drop(waiting: WaitingAcceptor): boolean {
    if (!this.#waiting.delete(waiting)) return false;
    clearTimeout(waiting.timer);
    this.#host.hold(-1);
    return true;
  }

  /** The rendezvous words changed: claims may be matched, waited-for intents closed. */
  look(): void {
    const { abi, stack } = this.#host;
    for (const open of this.#claims) {
      if (abi.claimMatched(stack, open.index) === 0) continue;
      abi.claimFree(stack, open.index);
      this.#forget(open);
      setImmediate(open.onMatch);
    }
    for (const waiting of this.#waiting) {
      // First whether intents are still open, then the look: a claim made before its intent closed is seen.
      const open = waiting.intents.some((intent) => abi.intentOpen(intent.stack, stack, intent.sequence) !== 0);
      const matched = this.#matchAgain(waiting);
      if ((matched || !open) && this.#drop(waiting)) setImmediate(waiting.done, matched);
    }
  }
}
