/**
 * short: how many connections a second can be opened, used for one request, and closed?
 *
 * Method: two sides; the client keeps 64 connections, or one, under way: each is opened, carries a request of 128 bytes and
 * an answer of as many, and is closed by the client; it counts when both directions have ended. The sides have met before,
 * so SMC's link group is warm. After each round, when all connections have closed, the descriptors and mappings of both
 * sides must be as many as before it: a connection that leaves one behind ends the bench.
 * The engine compiles what it runs often: a process opens its first connections at a fifth of the rate it comes to after some
 * thousands, over TCP at half of it. So each transport is warmed up by WARM_VISITS connections, in rounds.
 * A round is shorter than it takes to use up the ports of one address, which would hold back the fastest. With more connections
 * under way than were when it was warm, SMC keeps more memory for later ones: then nothing is counted.
 * Does not show: first contact; a program that has just begun; connections between many processes; a pool that keeps connections, which is faster.
 */
import { setTimeout as delay } from "node:timers/promises";
import { type Footprint, footprint, growth } from "./footprint.js";
import { type Case, type Scenario, type Subject, unmodified } from "./harness.js";
import { Pair } from "./pair.js";
import type { Transport } from "./record.js";
import { type VisitedSide, type VisitingSide, visitedSide, visitingSide } from "./short-sides.js";
import type { Sides } from "./side.js";

const REQUEST_BYTES = 128;
/** After a round: looks whether everything has been given back, and the pause between two of them, ms. */
const LOOKS = 100;
const LOOK_MS = 20;
/** From here on the rate rises no more, whatever the transport. */
const WARM_VISITS = 15_000;
/** So many connections at a time are all under way in the warm-up, too. */
const MOST_COUNTED = 128;

function cases(quick: boolean): readonly Case[] {
  const timing = quick ? { rounds: 3, durationMs: 50 } : { rounds: 9, durationMs: 500, warmUp: WARM_VISITS };
  const explicit = [64, 1].map(
    (connections): Case => ({
      params: { bytes: REQUEST_BYTES, connections, cpus: 2 },
      transports: ["smcd", "tcp", "uds"],
      ...timing,
    }),
  );
  const preloaded = (quick ? [128] : [128, 512, 1024, 2048]).flatMap((connections) =>
    unmodified({ params: { bytes: REQUEST_BYTES, connections, cpus: 2 }, ...timing }),
  );
  return [...explicit, ...preloaded];
}

class ShortSubject implements Subject {
  readonly #pair: Pair<VisitedSide, VisitingSide>;
  readonly #durationMs: number;
  readonly #warmVisits: number;
  /** Whether the warm-up has had as many connections open as there will ever be. */
  readonly #counts: boolean;
  /** What the sides held once they were warm, and connections since then. */
  #warm: Footprint | undefined;
  #visits = 0;

  constructor(transport: Transport, { params, durationMs, warmUp = 1 }: Case) {
    this.#pair = new Pair("short", transport, params);
    this.#durationMs = durationMs;
    this.#warmVisits = warmUp;
    this.#counts = params.connections! <= MOST_COUNTED;
  }

  async open(): Promise<this> {
    const { server, client } = this.#pair;
    await client.call("meet", await server.call("listen", undefined));
    return this;
  }

  async warmUp(): Promise<void> {
    for (let visits = 0; visits < this.#warmVisits; ) {
      visits += (await this.#pair.client.call("round", this.#durationMs)).count;
      await this.#settled();
    }
    if (this.#counts) this.#warm = this.#footprint();
  }

  async round() {
    const { result, load } = await this.#pair.meter(() => this.#pair.client.call("round", this.#durationMs));
    this.#visits += result.count;
    await this.#settled();
    return [{ metric: "connections", value: result.count / result.seconds, load }] as const;
  }

  close(): Promise<void> {
    return this.#pair.close();
  }

  #footprint(): Footprint {
    return footprint([this.#pair.server, this.#pair.client]);
  }

  /** Waits until the server has closed what the client has, and all is given back. Errors: it is not. */
  async #settled(): Promise<void> {
    let left: string | undefined;
    for (let look = 0; look < LOOKS; look++) {
      const open = await this.#pair.server.call("open", undefined);
      if (open > 0) left = `${open} connections are still open at the server`;
      else left = this.#warm && growth(this.#warm, this.#footprint(), this.#visits);
      if (left === undefined) return;
      await delay(LOOK_MS);
    }
    throw new Error(left);
  }
}

export const scenario: Scenario = {
  name: "short",
  isolated: false,
  cases,
  open: (transport, subject) => new ShortSubject(transport, subject).open(),
};
export const sides: Sides = { server: visitedSide, client: visitingSide };
