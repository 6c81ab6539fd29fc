/**
 * One-way traffic as the main thread runs it: opens the pair, runs rounds, and tells what went through in which time.
 *
 * Owns the order of the calls to the two sides. Knows nothing of how a side moves bytes, nor which metric is wanted.
 */
import type { ReceiverSide, SenderSide } from "./flow.js";
import type { Case, Reading, Subject } from "./harness.js";
import type { Load } from "./meter.js";
import { Pair } from "./pair.js";
import type { Params, Transport } from "./record.js";

/** A round: from the first write to the arrival of the last byte. */
export interface Flow {
  readonly bytes: number;
  readonly seconds: number;
  readonly load: Load;
}

export class FlowSubject implements Subject {
  readonly #pair: Pair<SenderSide, ReceiverSide>;
  readonly #durationMs: number;
  readonly #readingOf: (flow: Flow) => Reading;
  #total = 0;

  private constructor(pair: Pair<SenderSide, ReceiverSide>, durationMs: number, readingOf: (flow: Flow) => Reading) {
    this.#pair = pair;
    this.#durationMs = durationMs;
    this.#readingOf = readingOf;
  }

  static async open(
    scenario: string,
    transport: Transport,
    { params, durationMs }: Case,
    readingOf: (flow: Flow) => Reading,
  ): Promise<FlowSubject> {
    const pair = new Pair<SenderSide, ReceiverSide>(scenario, transport, params);
    await pair.client.call("connect", await pair.server.call("listen", undefined));
    await pair.server.call("ready", undefined);
    return new FlowSubject(pair, durationMs, readingOf);
  }

  /** Every byte is compared in the first half, as in a timed round only the ends of each piece in the second. */
  async warmUp(): Promise<void> {
    await this.#run(this.#durationMs / 2, true);
    await this.#run(this.#durationMs / 2, false);
  }

  async round(): Promise<readonly Reading[]> {
    return [this.#readingOf(await this.#run(this.#durationMs, false))];
  }

  close(): Promise<void> {
    return this.#pair.close();
  }

  async #run(durationMs: number, strict: boolean): Promise<Flow> {
    const { server, client } = this.#pair;
    const { result, load } = await this.#pair.meter(async () => {
      const drained = client.call("drain", strict);
      const sent = async () => {
        const { startedUs, total } = await server.call("send", durationMs);
        return { total, us: (await client.call("arrived", total)) - startedUs };
      };
      const [flow] = await Promise.all([sent(), drained]);
      return flow;
    });
    const bytes = result.total - this.#total;
    this.#total = result.total;
    return { bytes, seconds: result.us / 1e6, load };
  }
}

/** How a receiver takes the stream over `transport`: what a record says in place of the case's `receive`. */
export function receiveOf(transport: Transport): Params {
  if (transport === "ring") return { receive: "read" };
  return transport === "messageport" ? { receive: "message" } : {};
}
