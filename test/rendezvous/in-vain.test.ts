/**
 * Intents that nobody closes: who left one open holds up connections once, not for ever.
 *
 * Timers of the code under test are really awaited: the acceptor's, a short one.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { until } from "../support/watchdog.js";
import { at, LONG_MS, type Party, Scene, SERVICE, spy, waits } from "./parties.js";

const SHORT_MS = 5;

const test = suite("intents left open");

/** A connection is accepted that waits for `client`'s intent in vain. */
async function waitInVain(server: Party): Promise<void> {
  const done = spy<boolean>();
  waits(server.rendezvous.accept(at(4000), SERVICE, SHORT_MS, done));
  await until(() => done.calls.length > 0, "the end of the wait");
  assert.equal(done.calls, [false]);
}

test("an intent that was waited for in vain is not waited for again", async () => {
  const { client, server } = new Scene();
  server.rendezvous.listen(SERVICE, "none");
  client.rendezvous.intend(SERVICE);
  await waitInVain(server);
  for (const port of [4001, 4002]) assert.is(server.rendezvous.accept(at(port), SERVICE, LONG_MS, spy()), false);
  assert.is(server.held, 0);
});

test("its claim is found all the same, when it comes before its connection is accepted", async () => {
  const { client, server } = new Scene();
  server.rendezvous.listen(SERVICE, "none");
  const intent = client.rendezvous.intend(SERVICE)!;
  await waitInVain(server);
  client.rendezvous.claim(at(4001), SERVICE, intent, spy<void>());
  assert.is(server.rendezvous.accept(at(4001), SERVICE, LONG_MS, spy()), true);
});

test("a later intent of the same client is waited for, and so is one of another client", async () => {
  const scene = new Scene();
  const { client, server } = scene;
  const other = scene.party(3);
  server.rendezvous.listen(SERVICE, "none");
  client.rendezvous.intend(SERVICE);
  await waitInVain(server);
  other.rendezvous.intend(SERVICE);
  const first = waits(server.rendezvous.accept(at(4001), SERVICE, LONG_MS, spy()));
  client.rendezvous.intend(SERVICE);
  const second = waits(server.rendezvous.accept(at(4002), SERVICE, LONG_MS, spy()));
  for (const wait of [first, second]) wait.cancel();
  assert.is(server.held, 0);
});

test("connections that waited at the same time all go on", async () => {
  const { client, server } = new Scene();
  server.rendezvous.listen(SERVICE, "none");
  client.rendezvous.intend(SERVICE);
  const done = spy<boolean>();
  for (let port = 4000; port < 4010; port++) waits(server.rendezvous.accept(at(port), SERVICE, SHORT_MS, done));
  await until(() => done.calls.length === 10, "the ends of all waits");
  assert.ok(done.calls.every((matched) => !matched));
  assert.is(server.held, 0);
});

test.run();
