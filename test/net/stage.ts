/**
 * Plays each scenario on each transport in every placement, and compares what the ends saw with what they see over node:net.
 *
 * Owns the order of those runs, and the checks that hold at the end of every file. Knows nothing of what the scenarios do, nor of
 * where ends live.
 *
 * SMC_TEST_TRANSPORTS=net,smcd narrows the transports; the reference is always run.
 */
import { MessageChannel } from "node:worker_threads";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as smc from "../../src/index.js";
import { sayLeftOut } from "../support/missing.js";
import type { Side, Transport } from "../support/transports.js";
import { TRANSPORTS } from "../support/transports.js";
import { goesByItself, until } from "../support/watchdog.js";
import { leftovers, NOTHING_LEFT } from "./peer.js";
import { PLACEMENTS, type Place, type PlacementName } from "./placement.js";
import { type EndTask, OtherEndFailed } from "./run-end.js";
import type { Scenario, Seen } from "./scenario.js";

/** Both ends of a scenario, and what they saw. */
async function play(scenario: Scenario, transport: Transport, place: Place) {
  const { port1, port2 } = new MessageChannel();
  const { device, host } = place;
  const end = (side: Side, port: EndTask["port"]) =>
    place.run({ scenario: scenario.name, transport: transport.name, side, host, device, port });
  const results = await Promise.allSettled([end("server", port1), end("client", port2)]);
  const failures = results.flatMap((result) => (result.status === "rejected" ? [result.reason as unknown] : []));
  const cause = failures.find((failure) => !(failure instanceof OtherEndFailed)) ?? failures[0];
  if (cause !== undefined) throw cause;
  const [server, client] = results.map((result) => (result as PromiseFulfilledResult<Seen>).value);
  return { server, client };
}

/** Checks that hold at the end of every file that used smcnet. `pagesBefore` is smc.poolFreePages() from its start. */
export async function checkNothingLeft(pagesBefore: number): Promise<void> {
  goesByItself("the last test");
  await until(
    () => smc.poolFreePages() === pagesBefore,
    `all pages of the arena to come back; ${pagesBefore} were free before the first test`,
  );
  assert.equal(leftovers(), NOTHING_LEFT, "left in the main thread");
}

/** Where all scenarios are played. */
const USUAL: readonly PlacementName[] = ["one thread", "server in a Worker", "client in a Worker", "two processes"];

/** One uvu suite: every scenario on every transport in every placement. */
export function stageAll(name: string, scenarios: readonly Scenario[], placements = USUAL) {
  const test = suite(name);
  const wanted = process.env["SMC_TEST_TRANSPORTS"]?.split(",");
  const places = new Map<PlacementName, Place>();
  let pagesBefore = 0;
  test.before(() => {
    pagesBefore = smc.poolFreePages();
  });
  const placed = (placement: PlacementName): Place => {
    const place = places.get(placement) ?? PLACEMENTS[placement].make();
    places.set(placement, place);
    return place;
  };
  const missing = new Map(placements.map((placement) => [placement, PLACEMENTS[placement].missing?.()]));
  // One line for a placement, not one for each of its scenarios.
  for (const [placement, reason] of missing) {
    if (reason !== undefined) sayLeftOut(`${name} · ${placement}`, reason);
  }
  for (const scenario of scenarios) {
    for (const placement of placements) {
      const run = missing.get(placement) === undefined ? test : test.skip;
      let reference: unknown;
      for (const transport of TRANSPORTS) {
        const isReference = transport === TRANSPORTS[0];
        if (!isReference && wanted !== undefined && !wanted.includes(transport.name)) continue;
        run(`${scenario.name} · ${transport.name} · ${placement}`, async () => {
          const seen = await play(scenario, transport, placed(placement));
          if (isReference) reference = seen;
          else assert.equal(seen, reference, "not what node:net shows");
        });
      }
    }
  }
  for (const placement of placements) test(`nothing is left · ${placement}`, async () => places.get(placement)?.end());
  test("no doorbell was rescued and every page came back", () => checkNothingLeft(pagesBefore));
  test.run();
}
