/**
 * Rendezvous between threads: who waits for whom, and for how long; played by several stacks in one thread over the real words.
 *
 * A nudge is a call of `look()` that the test makes when it wants to, so every order can be had. One timer of the code under test is
 * really awaited: the acceptor's.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Intent } from "../../src/rendezvous/client.js";
import type { Wildcard } from "../../src/rendezvous/host.js";
import { prngFor } from "../support/prng.js";
import { until, within } from "../support/watchdog.js";
import { at, LONG_MS, type Party, Scene, SERVICE, spy, turn, waits } from "./parties.js";

const test = suite("rendezvous in the arena");

test("nobody listens: no intent, plain at once", () => {
  const { client } = new Scene();
  assert.is(client.rendezvous.intend(SERVICE), undefined);
});

test("a listener is found at its address and port, and no longer once it has left", () => {
  const { client, server } = new Scene();
  const leave = server.rendezvous.listen(SERVICE, "none")!;
  assert.ok(client.rendezvous.intend(SERVICE));
  assert.ok(client.rendezvous.intend(at(80, "::ffff:127.0.0.1")), "the mapped form is the same address");
  assert.is(client.rendezvous.intend(at(81)), undefined);
  assert.is(client.rendezvous.intend(at(80, "127.0.0.2")), undefined);
  leave();
  assert.is(client.rendezvous.intend(SERVICE), undefined);
});

test("wildcards answer for the families they stand for", () => {
  const reach: Record<Wildcard, [string, boolean, boolean]> = {
    none: ["::", false, false],
    any4: ["0.0.0.0", true, false],
    any6: ["::", false, true],
    dual: ["::", true, true],
  };
  for (const [wildcard, [own, v4, v6]] of Object.entries(reach)) {
    const { client, server } = new Scene();
    server.rendezvous.listen(at(80, own), wildcard as Wildcard);
    const found = (address: string) => client.rendezvous.intend(at(80, address)) !== undefined;
    assert.equal([found("10.1.1.1"), found("2001:db8::1")], [v4, v6], wildcard);
  }
});

test("a listener for whom the registry has no room is found by nobody and disturbs nobody; after a leave there is room again", () => {
  const { client, server } = new Scene();
  const leaves: (() => void)[] = [];
  const found = (port: number) => client.rendezvous.intend(at(port)) !== undefined;
  for (let port = 1; ; port++) {
    leaves.push(server.rendezvous.listen(at(port), "none"));
    if (!found(port)) break;
    assert.ok(port < 10_000, "the registry is finite");
  }
  const last = leaves.length;
  leaves[last - 1]!();
  for (const port of [1, 8, last - 1]) assert.ok(found(port), `port ${port} after a leave of who never entered`);
  leaves[7]!();
  assert.not(found(8));
  server.rendezvous.listen(at(20_000), "none");
  assert.ok(found(20_000));
});

test("a claim made before accept is matched at once; its owner hears of it once, in a later turn", async () => {
  const { client, server } = new Scene();
  server.rendezvous.listen(SERVICE, "none");
  const intent = client.rendezvous.intend(SERVICE)!;
  const matched = spy<void>();
  const claim = client.rendezvous.claim(at(4000), SERVICE, intent, matched)!;
  intent.close();
  assert.is(server.rendezvous.accept(at(4000), SERVICE, LONG_MS, spy()), true);
  assert.equal(server.nudged, [client.stack]);
  client.rendezvous.look();
  assert.is(matched.calls.length, 0, "not inside look()");
  client.rendezvous.look();
  await turn();
  assert.is(matched.calls.length, 1);
  assert.not(claim.withdraw(), "too late to withdraw");
  assert.equal([client.held, server.held], [0, 0]);
});

test("no claim and no open intent: plain at once, nothing waits", () => {
  const { client, server } = new Scene();
  server.rendezvous.listen(SERVICE, "none");
  assert.is(server.rendezvous.accept(at(4000), SERVICE, LONG_MS, spy()), false);
  client.rendezvous.intend(SERVICE)!.close();
  assert.is(server.rendezvous.accept(at(4000), SERVICE, LONG_MS, spy()), false);
  assert.is(server.held, 0);
});

test("a wait of 0 ms waits for nobody", () => {
  const { client, server } = new Scene();
  server.rendezvous.listen(SERVICE, "none");
  client.rendezvous.intend(SERVICE);
  assert.is(server.rendezvous.accept(at(4000), SERVICE, 0, spy()), false);
  assert.is(server.held, 0);
});

test("an open intent is waited for; its claim ends the wait with a match, exactly once", async () => {
  const { client, server } = new Scene();
  const timers = () => process.getActiveResourcesInfo().filter((kind) => kind === "Timeout").length;
  const timersBefore = timers();
  server.rendezvous.listen(SERVICE, "none");
  const intent = client.rendezvous.intend(SERVICE)!;
  const done = spy<boolean>();
  waits(server.rendezvous.accept(at(4000), SERVICE, LONG_MS, done));
  assert.is(server.held, 1);
  server.rendezvous.look();
  await turn();
  assert.equal(done.calls, [], "nothing has changed yet");
  const matched = spy<void>();
  client.rendezvous.claim(at(4000), SERVICE, intent, matched);
  intent.close();
  assert.ok(client.nudged.includes(server.stack), "closing the intent nudges the acceptor");
  server.rendezvous.look();
  server.rendezvous.look();
  client.rendezvous.look();
  await turn();
  assert.equal([done.calls, matched.calls.length], [[true], 1]);
  assert.is(timers(), timersBefore, "no clock runs on");
  assert.equal([client.held, server.held], [0, 0]);
});

test("an intent that closes without a claim for this connection ends the wait as plain", async () => {
  const { client, server } = new Scene();
  server.rendezvous.listen(SERVICE, "none");
  const intent = client.rendezvous.intend(SERVICE)!;
  const done = spy<boolean>();
  waits(server.rendezvous.accept(at(4000), SERVICE, LONG_MS, done));
  client.rendezvous.claim(at(4001), SERVICE, intent, spy<void>());
  intent.close();
  server.rendezvous.look();
  await turn();
  assert.equal(done.calls, [false]);
  assert.is(server.held, 0);
});

test("only intents that were open at accept are waited for, each of them, whatever their order of closing", async () => {
  const { client, server } = new Scene();
  server.rendezvous.listen(SERVICE, "none");
  const first = client.rendezvous.intend(SERVICE)!;
  const second = client.rendezvous.intend(SERVICE)!;
  const done = spy<boolean>();
  waits(server.rendezvous.accept(at(4000), SERVICE, LONG_MS, done));
  const later = client.rendezvous.intend(SERVICE)!;
  second.close();
  second.close();
  server.rendezvous.look();
  await turn();
  assert.equal(done.calls, [], "the first one is still open");
  first.close();
  server.rendezvous.look();
  await turn();
  assert.equal(done.calls, [false], "the later one does not count");
  later.close();
});

test("when the time is up the acceptor looks once more and is plain", async () => {
  const { client, server } = new Scene();
  server.rendezvous.listen(SERVICE, "none");
  client.rendezvous.intend(SERVICE);
  const done = spy<boolean>();
  waits(server.rendezvous.accept(at(4000), SERVICE, 3, done));
  await until(() => done.calls.length > 0, "the acceptor's timer");
  assert.equal(done.calls, [false]);
  assert.is(server.held, 0);
});

test("a claim of which no nudge told is found when the time is up", async () => {
  const { client, server } = new Scene();
  server.rendezvous.listen(SERVICE, "none");
  const intent = client.rendezvous.intend(SERVICE)!;
  const done = spy<boolean>();
  waits(server.rendezvous.accept(at(4000), SERVICE, 3, done));
  const matched = spy<void>();
  client.rendezvous.claim(at(4000), SERVICE, intent, matched);
  await until(() => done.calls.length > 0, "the acceptor's timer");
  assert.equal(done.calls, [true]);
  client.rendezvous.look();
  await turn();
  assert.is(matched.calls.length, 1);
});

test("a cancelled wait is never told, neither by a claim nor by the clock", async () => {
  const { client, server } = new Scene();
  server.rendezvous.listen(SERVICE, "none");
  const intent = client.rendezvous.intend(SERVICE)!;
  const done = spy<boolean>();
  const cancelled = waits(server.rendezvous.accept(at(4000), SERVICE, 3, done));
  const other = spy<boolean>();
  waits(server.rendezvous.accept(at(4001), SERVICE, 5, other));
  cancelled.cancel();
  cancelled.cancel();
  assert.is(server.held, 1);
  client.rendezvous.claim(at(4000), SERVICE, intent, spy<void>());
  intent.close();
  await until(() => other.calls.length > 0, "the timer of a wait that began later and lasts longer");
  server.rendezvous.look();
  await turn();
  assert.equal(done.calls, []);
  assert.is(server.held, 0);
});

test("a wait can be ended before its time: it looks once more, and answers once", () => {
  const { client, server } = new Scene();
  server.rendezvous.listen(SERVICE, "none");
  const intent = client.rendezvous.intend(SERVICE)!;
  for (const [port, claimed] of [
    [4000, false],
    [4001, true],
  ] as const) {
    const done = spy<boolean>();
    const wait = waits(server.rendezvous.accept(at(port), SERVICE, LONG_MS, done));
    if (claimed) client.rendezvous.claim(at(port), SERVICE, intent, spy<void>());
    wait.settle();
    wait.settle();
    server.rendezvous.look();
    assert.equal(done.calls, [claimed]);
  }
  assert.is(server.held, 0);
});

test("a claim withdrawn in time is matched by nobody; its owner hears nothing", async () => {
  const { client, server } = new Scene();
  server.rendezvous.listen(SERVICE, "none");
  const matched = spy<void>();
  const intent = client.rendezvous.intend(SERVICE)!;
  const claim = client.rendezvous.claim(at(4000), SERVICE, intent, matched)!;
  assert.ok(claim.withdraw());
  assert.not(claim.withdraw(), "once");
  assert.is(server.rendezvous.accept(at(4000), SERVICE, 0, spy()), false);
  client.rendezvous.look();
  await turn();
  assert.is(matched.calls.length, 0);
  assert.is(client.held, 0);
});

test("a claim that was matched before it is withdrawn stays matched, and its owner is told", async () => {
  const { client, server } = new Scene();
  server.rendezvous.listen(SERVICE, "none");
  const matched = spy<void>();
  const intent = client.rendezvous.intend(SERVICE)!;
  const claim = client.rendezvous.claim(at(4000), SERVICE, intent, matched)!;
  assert.is(server.rendezvous.accept(at(4000), SERVICE, 0, spy()), true);
  assert.not(claim.withdraw());
  client.rendezvous.look();
  await turn();
  assert.is(matched.calls.length, 1);
});

test("claims that were matched make room for others", async () => {
  const { client, server } = new Scene();
  server.rendezvous.listen(SERVICE, "none");
  const intent = client.rendezvous.intend(SERVICE)!;
  for (let port = 1; port <= 5000; port++) {
    assert.ok(client.rendezvous.claim(at(port), SERVICE, intent, spy<void>()), `room for claim ${port}`);
    assert.ok(server.rendezvous.accept(at(port), SERVICE, 0, spy<boolean>()));
    client.rendezvous.look();
  }
  await turn();
});

test("one claim, two acceptors with the same 4-tuple: one of them matches", () => {
  const scene = new Scene();
  const { client, server } = scene;
  const third = scene.party(3);
  for (const party of [server, third]) party.rendezvous.listen(SERVICE, "none");
  client.rendezvous.claim(at(4000), SERVICE, client.rendezvous.intend(SERVICE)!, spy<void>());
  const answers = [server, third].map((party) => party.rendezvous.accept(at(4000), SERVICE, 0, spy()));
  assert.equal(answers, [true, false]);
});

test("an intent towards an address where several listen holds each of them, and lets all go", async () => {
  const scene = new Scene();
  const { client } = scene;
  const parties = [scene.server, scene.party(3), scene.party(4)];
  for (const party of parties) {
    party.rendezvous.listen(SERVICE, "none");
    party.rendezvous.listen(SERVICE, "none");
  }
  const intent = client.rendezvous.intend(SERVICE)!;
  const dones = parties.map((party) => {
    const done = spy<boolean>();
    waits(party.rendezvous.accept(at(4000), SERVICE, LONG_MS, done));
    return done;
  });
  intent.close();
  for (const party of parties) party.rendezvous.look();
  await turn();
  assert.equal(
    dones.map((done) => done.calls),
    [[false], [false], [false]],
  );
  assert.equal([...client.nudged].sort(), parties.map((party) => party.stack).sort(), "each is nudged once");
});

test("the death of a client ends the waits for its intents", async () => {
  const { rig, client, server } = new Scene();
  server.rendezvous.listen(SERVICE, "none");
  client.rendezvous.intend(SERVICE);
  const done = spy<boolean>();
  waits(server.rendezvous.accept(at(4000), SERVICE, LONG_MS, done));
  rig.abi.stackReap(client.stack, server.stack);
  server.rendezvous.look();
  await turn();
  assert.equal(done.calls, [false]);
});

test("a thousand connections in any order: each claim is matched or withdrawn, each accept answered, once", async () => {
  const random = prngFor("rendezvous orders");
  const scene = new Scene();
  const { server } = scene;
  const clients = [scene.client, scene.party(3), server];
  server.rendezvous.listen(SERVICE, "none");
  interface Attempt {
    readonly port: number;
    readonly by: Party;
    steps: (() => void)[];
    matched: number;
    withdrawn: boolean;
    answers: boolean[];
  }
  const attempts = Array.from({ length: 1000 }, (_, i): Attempt => {
    const attempt: Attempt = {
      port: 1000 + i,
      by: random.pick(clients),
      steps: [],
      matched: 0,
      withdrawn: false,
      answers: [],
    };
    const { port, by } = attempt;
    let intent: Intent | undefined;
    let claim: { withdraw(): boolean } | undefined;
    const accept = () => {
      const found = server.rendezvous.accept(at(port), SERVICE, LONG_MS, (matched) => attempt.answers.push(matched));
      if (typeof found === "boolean") attempt.answers.push(found);
    };
    const claims = [
      () => {
        claim = by.rendezvous.claim(at(port), SERVICE, intent!, () => attempt.matched++);
        assert.ok(claim, "room for a claim");
      },
      () => intent!.close(),
      ...(random.oneIn(4) ? [() => void (attempt.withdrawn = claim!.withdraw())] : []),
    ];
    claims.splice(random.below(claims.length + 1), 0, accept);
    attempt.steps = [
      () => {
        intent = by.rendezvous.intend(SERVICE);
      },
      ...claims,
    ];
    return attempt;
  });
  const open = [...attempts];
  while (open.length > 0) {
    const at = random.below(Math.min(open.length, 50));
    const attempt = open[at]!;
    attempt.steps.shift()!();
    if (attempt.steps.length === 0) open.splice(at, 1);
    if (random.oneIn(5)) for (const party of clients) party.rendezvous.look();
  }
  for (const party of clients) party.rendezvous.look();
  for (const party of clients) party.rendezvous.look();
  await within(turn(), "the callbacks");
  for (const { port, answers, matched, withdrawn } of attempts) {
    assert.is(answers.length, 1, `port ${port} is answered once`);
    assert.equal(
      [matched === 1, matched + Number(withdrawn) <= 1],
      [answers[0], true],
      `port ${port}: both ends agree`,
    );
    assert.ok(answers[0] || withdrawn, `port ${port}: a claim that stood was matched`);
  }
  assert.equal(
    clients.map((party) => party.held),
    [0, 0, 0],
  );
});

test.run();
