/** Every verb of the ring, in one thread, between two Workers, and between two Workers without FFI; nocopy and copy. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as smc from "../../src/index.js";
import { checkNothingLeft } from "../net/stage.js";
import type { Mode } from "./sides.js";
import { Cast, stageHere } from "./theatre.js";
import { VERBS } from "./verbs.js";
import { WAITS } from "./waits.js";

const MODES: readonly Mode[] = ["nocopy", "copy"];
const CASTS = { "two Workers": {}, "two Workers without FFI": { SMC_FFI: "off" } };

const test = suite("ring verbs");
let pagesBefore = 0;
test.before(() => {
  pagesBefore = smc.poolFreePages();
});

for (const mode of MODES) {
  for (const scenario of VERBS) {
    test(`${scenario.name} · ${mode} · one thread`, async () => {
      const { client, server } = await stageHere(scenario, mode);
      scenario.check?.(client, server, mode);
    });
  }
}

for (const [name, env] of Object.entries(CASTS)) {
  const cast = new Cast(env);
  for (const mode of MODES) {
    for (const scenario of [...VERBS, ...WAITS]) {
      test(`${scenario.name} · ${mode} · ${name}`, async () => {
        const { client, server } = await cast.play(scenario, mode);
        scenario.check?.(client, server, mode);
      });
    }
  }
  test(`${name} rescued no doorbell`, async () => {
    assert.is(await cast.doorbellRescued(), 0);
    await cast.close();
  });
}

test("every page came back", () => checkNothingLeft(pagesBefore));

test.run();
