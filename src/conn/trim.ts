/**
 * Gives the ring pages of drained, quiet connections back to the system: what idle sockets cost.
 *
 * The *writer* of a ring does it, because only the writer knows that no byte is on its way: everything it published has
 * been consumed, and what it prepares next finds zero pages. A DMB is whole pages, its CDC area lies elsewhere.
 */
import {
  CDC_SIZE,
  CONN_PEER_RING,
  CONN_PEER_SIZE,
  CONN_SND,
  CONN_SND_SIZE,
  CONN_TX_PREP,
} from "../../assembly/shared/layout.js";
import type { Abi } from "../engine/abi.js";

export interface TrimHost {
  readonly abi: Abi;
  /** Gives back whole pages, `shared` ones in a memfd; false where the system offers no way. */
  discard(address: number, length: number, shared: boolean): boolean;
}

/** Remembers how far a connection had written when it was last looked at. */
export class Trim {
  readonly #host: TrimHost;
  readonly #conn: number;
  readonly #remote: boolean;
  #seen = 0;
  #trimmed = 0;
  #off = false;

  /** Takes: remote, whether the peer's ring lies in a memfd. */
  constructor(host: TrimHost, conn: number, remote = false) {
    this.#host = host;
    this.#conn = conn;
    this.#remote = remote;
  }

  /** Never again: somebody writes into the ring ahead of its cursor. */
  off(): void {
    this.#off = true;
  }

  /** A look about once a second: the second one without a byte written in between trims. Whether pages went back. */
  look(): boolean {
    if (this.#off) return false;
    const { abi } = this.#host;
    // Count and low bits of the wrap counter in one word: enough to see that something was written.
    const written = abi.connPeek(this.#conn, CONN_TX_PREP) ^ (abi.connPeek(this.#conn, CONN_TX_PREP + 4) << 16);
    if (written !== this.#seen) {
      this.#seen = written;
      return false;
    }
    if (written === this.#trimmed || abi.connDrained(this.#conn) === 0) return false;
    this.#trimmed = written;
    const ring = abi.connPeek(this.#conn, CONN_PEER_RING) - CDC_SIZE;
    const went = this.#host.discard(ring, abi.connPeek(this.#conn, CONN_PEER_SIZE) + CDC_SIZE, this.#remote);
    const snd = abi.connPeek(this.#conn, CONN_SND) - CDC_SIZE;
    const own = abi.connPeek(this.#conn, CONN_SND_SIZE) + CDC_SIZE;
    return snd === ring ? went : this.#host.discard(snd, own, false) || went;
  }
}
