/** Every scenario by name, so that a Worker can run an end of it. */
import type { Scenario } from "../scenario.js";
import { closing } from "./closing.js";
import { crowd } from "./crowd.js";
import { flow } from "./flow.js";
import { lifecycle } from "./lifecycle.js";
import { stream } from "./stream.js";
import { transfer } from "./transfer.js";

export const SCENARIOS: ReadonlyMap<string, Scenario> = new Map(
  [...transfer, ...closing, ...flow, ...lifecycle, ...crowd, ...stream].map((scenario) => [scenario.name, scenario]),
);
