/**
 * What the rendezvous needs of the stack it works for, and of stacks in other processes.
 *
 * Owns no behaviour. A desk is where a client's intents and claims stand, in the arena or in a box that lies over it.
 */
import type { Abi } from "../engine/abi.js";
import type { Endpoint } from "./address.js";

/** Which addresses a listener answers for, beyond its own. */
export type Wildcard = "none" | "any4" | "any6" | "dual";

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
  /** Whether somebody listens there, met or not. A no is believed for a moment. */
  knows(server: Endpoint): boolean;
  /** Stacks that listen there and were met. */
  listeners(server: Endpoint): readonly Neighbour[];
  /**
   * Meets those that listen there and were not.
   *
   * Returns: undefined when there is nobody to meet; else `done` is called once, soon, unless the returned function is.
   */
  approach(server: Endpoint, done: () => void): (() => void) | undefined;
  /** Why somebody that listens there could not be met a moment ago, in words; undefined where nobody was in vain. */
  unmet(server: Endpoint): string | undefined;
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

/** Where it is, in the arena or in a box, and the pair of that box; undefined for a stack of this process. */
export interface Desk {
  readonly desk: number;
  readonly pair: Neighbour["pair"] | undefined;
}
