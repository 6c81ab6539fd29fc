/** Ends and aborts in one turn of the loop: each side sees what it would see over TCP. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as smc from "../../src/index.js";
import { connectPair } from "../support/pair.js";
import { TRANSPORTS } from "../support/transports.js";
import { happens, until } from "../support/watchdog.js";
import { journal } from "./scenario.js";
import { checkNothingLeft } from "./stage.js";

const test = suite("ends and aborts at once");
let pagesBefore = 0;
test.before(() => {
  pagesBefore = smc.poolFreePages();
});

for (const carrier of TRANSPORTS) {
  test(`an end is read though an abort came behind it · ${carrier.name}`, async () => {
    const { client, accepted, close } = await connectPair(carrier, {
      server: { pauseOnConnect: true, allowHalfOpen: true },
      client: { allowHalfOpen: true },
    });
    const seen = journal(client);
    let text = "";
    client.on("data", (chunk: Buffer) => {
      text += chunk;
    });
    await new Promise((resolve) => client.write("never read", resolve));
    accepted.end("bye");
    // In one turn of the loop: the peer looks after both.
    accepted.once("finish", () => accepted.destroy());
    await happens(accepted, "close");
    await until(() => seen.events.length > 0, "what the client sees");
    assert.equal([text, seen.events[0]], ["bye", "end"]);
    await close();
  });

  test(`a reset that no read has told of is told by the next write · ${carrier.name}`, async () => {
    const { client, accepted, close } = await connectPair(carrier, { server: { pauseOnConnect: true } });
    const seen = journal(accepted);
    client.resetAndDestroy();
    await happens(client, "close");
    await until(() => (accepted.smc?.state ?? "Closed") !== "Active", "the reset to come");
    accepted.write("into the void");
    await seen.closed();
    assert.equal(
      [seen.events, seen.error?.["code"], seen.error?.["syscall"]],
      [["error", "close(true)"], "ECONNRESET", "write"],
    );
    await close();
  });

  test(`who lets go once its end is told does not hear of the abort · ${carrier.name}`, async () => {
    const { client, accepted, close } = await connectPair(carrier, { server: { pauseOnConnect: true } });
    const seen = journal(client);
    await new Promise((resolve) => client.write("never read", resolve));
    client.destroySoon();
    accepted.destroy();
    await seen.closed();
    assert.equal(seen.events, ["finish", "close(false)"]);
    await close();
  });
}

test("no doorbell was rescued and every page came back", () => checkNothingLeft(pagesBefore));

test.run();
