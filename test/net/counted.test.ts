/** What is counted of buffers that are too small or full, and of calls that ask for haste. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as smc from "../../src/index.js";
import { connectPair } from "../support/pair.js";
import { type TransportName, transport } from "../support/transports.js";
import { happens } from "../support/watchdog.js";

const test = suite("counted");
const NAMES = ["txTooSmall", "txTooSmallAtPeer", "txFull", "txFullAtPeer", "rxFull", "rxTooSmall", "nodelay"] as const;
const RING = 16_384;

for (const name of ["smcd", "smcd-copy"] as TransportName[]) {
  test(`a write larger than all buffers, to a reader that waits and has a small buffer · ${name}`, async () => {
    const before = smc.stats();
    const buffer = Buffer.alloc(1_000);
    let got = 0;
    let all: () => void = () => undefined;
    const arrived = new Promise<void>((resolve) => {
      all = resolve;
    });
    const { client, accepted, close } = await connectPair(transport(name), {
      server: { smc: { rmem: RING, wmem: RING } },
      client: {
        smc: { rmem: RING, wmem: RING },
        onread: {
          buffer,
          callback(length) {
            got += length;
            if (got === 10 * RING) all();
            return true;
          },
        },
      },
    });
    client.setNoDelay(true);
    const written = happens(accepted, "drain");
    assert.not(accepted.write(Buffer.alloc(10 * RING)));
    await Promise.all([written, arrived]);
    const after = smc.stats();
    await close();
    for (const counter of NAMES) assert.ok(after[counter] > before[counter], counter);
  });
}

test.run();
