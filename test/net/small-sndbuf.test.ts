/** Copy mode where the private send ring is smaller than the peer's: writes of any size go through it. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as smc from "../../src/index.js";
import { connectPair } from "../support/pair.js";
import { Sequence, Verifier } from "../support/sequence.js";
import { transport } from "../support/transports.js";
import { happens } from "../support/watchdog.js";
import { receive } from "./scenario.js";
import { checkNothingLeft } from "./stage.js";

const test = suite("small send buffers");
let pagesBefore = 0;
test.before(() => {
  pagesBefore = smc.poolFreePages();
});

for (const wmem of [16_384, 65_536]) {
  for (const rmem of [16_384, 131_072, 1 << 20]) {
    test(`${wmem} bytes to send from, ${rmem} to receive in`, async () => {
      const { client, accepted, close } = await connectPair(transport("smcd-copy"), {
        server: { smc: { rmem } },
        client: { smc: { wmem } },
      });
      const sequence = new Sequence(5);
      const arriving = receive(accepted, new Verifier(5));
      let offset = 0;
      for (const size of [1, wmem - 33, wmem - 32, wmem - 31, wmem, 3 * wmem + 7, 1_000_000]) {
        const written = happens(client, "drain").catch(() => undefined);
        if (!client.write(sequence.span(offset, size))) await written;
        offset += size;
      }
      client.end();
      assert.is(await arriving, offset);
      await close();
    });
  }
}

test("no doorbell was rescued and every page came back", () => checkNothingLeft(pagesBefore));

test.run();
