/**
 * Long streams over the ring between two Workers: 200 MB by each pair of verbs, nocopy and copy; every byte is checked where it stands.
 *
 * SMC_TEST_RING_MIB sets the length.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as smc from "../../src/index.js";
import { checkNothingLeft } from "../net/stage.js";
import { Cast } from "./theatre.js";
import { STREAMS } from "./waits.js";

const test = suite("ring streams");
let pagesBefore = 0;
let cast: Cast;
test.before(() => {
  pagesBefore = smc.poolFreePages();
  cast = new Cast();
});

for (const mode of ["nocopy", "copy"] as const) {
  for (const scenario of STREAMS) {
    test(`${scenario.name} · ${mode}`, async () => {
      const { client, server } = await cast.play(scenario, mode);
      scenario.check?.(client, server, mode);
    });
  }
}

test("no doorbell was rescued and every page came back", async () => {
  assert.is(await cast.doorbellRescued(), 0);
  await cast.close();
  await checkNothingLeft(pagesBefore);
});

test.run();
