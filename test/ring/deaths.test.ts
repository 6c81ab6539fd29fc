/** A ring whose peer's thread is killed while this one sleeps in `wait`: it is woken, reads what was sent, and learns how it ended. */
import { suite } from "uvu";
import * as smc from "../../src/index.js";
import { checkNothingLeft } from "../net/stage.js";
import { Cast } from "./theatre.js";
import { DEATHS } from "./waits.js";

const CASTS = { "two Workers": {}, "two Workers without FFI": { SMC_FFI: "off" } };

const test = suite("ring deaths");
let pagesBefore = 0;
test.before(() => {
  pagesBefore = smc.poolFreePages();
});

for (const [name, env] of Object.entries(CASTS)) {
  const cast = new Cast(env);
  for (const mode of ["nocopy", "copy"] as const) {
    for (const scenario of DEATHS) {
      test(`${scenario.name} · ${mode} · ${name}`, async () => {
        scenario.check?.(await cast.playToDeath(scenario, mode), {}, mode);
      });
    }
  }
}

test("no doorbell was rescued and every page came back", () => checkNothingLeft(pagesBefore));

test.run();
