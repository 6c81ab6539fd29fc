/** Every ring scenario, by its name. */
import type { RingScenario } from "./sides.js";
import { VERBS } from "./verbs.js";
import { DEATHS, STREAMS, WAITS } from "./waits.js";

export const SCENARIOS: ReadonlyMap<string, RingScenario> = new Map(
  [...VERBS, ...WAITS, ...STREAMS, ...DEATHS].map((scenario) => [scenario.name, scenario]),
);
