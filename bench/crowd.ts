/**
 * crowd: what is left of the speed when there are more busy peers than CPUs?
 *
 * Method: four pairs of sides, eight threads or processes on two CPUs; each pair is that of pingpong, with messages of
 * 128 bytes, all at once and as fast as they can. requests: round trips of all pairs in the time from the first message to
 * the last; request_cpu: CPU time of both sides, spinning included, for each of them.
 * Does not show: how evenly the pairs are served; work between messages.
 */
import type { Case, Reading, Scenario, Subject } from "./harness.js";
import { meter } from "./meter.js";
import { Pair } from "./pair.js";
import { type EchoSide, type PingSide, sides } from "./pingpong.js";
import type { Transport } from "./record.js";

const MESSAGE_BYTES = 128;

function cases(quick: boolean): readonly Case[] {
  return [
    {
      params: { bytes: MESSAGE_BYTES, connections: quick ? 2 : 4, mode: "busy", cpus: 2 },
      transports: ["smcd", "tcp"],
      ...(quick ? { rounds: 3, durationMs: 50 } : { rounds: 7, durationMs: 1000 }),
    },
  ];
}

class CrowdSubject implements Subject {
  readonly #pairs: readonly Pair<EchoSide, PingSide>[];
  readonly #durationMs: number;

  constructor(transport: Transport, { params, durationMs }: Case) {
    const pair = (): Pair<EchoSide, PingSide> => new Pair("crowd", transport, params);
    this.#pairs = Array.from({ length: params.connections! }, pair);
    this.#durationMs = durationMs;
  }

  async open(): Promise<this> {
    for (const { server, client } of this.#pairs) {
      await client.call("connect", await server.call("listen", undefined));
      await server.call("ready", undefined);
    }
    return this;
  }

  async warmUp(): Promise<void> {
    await this.#pingAll();
  }

  async round(): Promise<readonly Reading[]> {
    const all = this.#pairs.flatMap(({ server, client }) => [server, client]);
    const { result, load, seconds } = await meter(all, () => this.#pingAll());
    const requests = result.reduce((total, { count }) => total + count, 0);
    const startedUs = Math.min(...result.map((pings) => pings.startedUs));
    const endedUs = Math.max(...result.map((pings) => pings.endedUs));
    const cpuUs = (load.cpuUser + load.cpuSys) * 1000 * seconds;
    return [
      { metric: "requests", value: requests / ((endedUs - startedUs) / 1e6), load },
      { metric: "request_cpu", value: cpuUs / requests, load },
    ];
  }

  async close(): Promise<void> {
    for (const pair of this.#pairs) await pair.close();
  }

  #pingAll() {
    const request = { mode: "busy", durationMs: this.#durationMs } as const;
    return Promise.all(this.#pairs.map(({ client }) => client.call("round", request)));
  }
}

export const scenario: Scenario = {
  name: "crowd",
  isolated: false,
  cases,
  open: (transport, subject) => new CrowdSubject(transport, subject).open(),
};
export { sides };
