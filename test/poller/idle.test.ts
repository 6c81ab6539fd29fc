/** The idle policy: when a loop spins, when it sleeps, and how it backs off. Time is a number here; no clock runs. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { IdlePolicy } from "../../src/poller/idle.js";
import { prngFor } from "../support/prng.js";

const BUDGET_US = 50;
const MOST_SKIPPED = 1024;

/** Wakes the loop until traffic makes it spin again; how many wake-ups it slept through. */
function parksUntilSpin(policy: IdlePolicy, now: number): number {
  for (let parks = 0; parks <= 2 * MOST_SKIPPED; parks++) {
    if (policy.traffic(now, true)) return parks;
    policy.woken(now);
  }
  throw new Error("never spins again");
}

/** Looks in vain until the policy gives up; how long it took, µs. */
function patience(policy: IdlePolicy, clock: { now: number }): number {
  policy.idle(clock.now);
  const from = clock.now;
  while (policy.idle(clock.now)) clock.now++;
  return clock.now - from;
}

/** The longest budget: what a policy that never gets an answer comes to. Microseconds. */
const LONGEST_US = (() => {
  const policy = new IdlePolicy(BUDGET_US, 2);
  const clock = { now: 1 };
  let longest = 0;
  for (let episode = 0; episode < 20; episode++) {
    parksUntilSpin(policy, clock.now);
    longest = patience(policy, clock);
  }
  return longest;
})();

const test = suite("idle policy");

test("traffic starts an episode that lasts a budget from its first turn in vain, to the microsecond", () => {
  const policy = new IdlePolicy(BUDGET_US, 2);
  assert.not(policy.spinning);
  assert.not(policy.idle(1), "nothing to end");
  assert.ok(policy.traffic(1000, true));
  assert.ok(policy.spinning);
  assert.ok(policy.idle(5000), "what the application did meanwhile does not count");
  assert.ok(policy.idle(5000 + BUDGET_US - 1));
  assert.not(policy.idle(5000 + BUDGET_US));
  assert.not(policy.spinning);
});

test("traffic within an episode begins its budget anew, whether received or sent", () => {
  for (const received of [true, false]) {
    const policy = new IdlePolicy(BUDGET_US, 2);
    policy.traffic(1, true);
    assert.ok(policy.idle(10));
    assert.ok(policy.traffic(11, received));
    assert.ok(policy.idle(40));
    assert.ok(policy.idle(40 + BUDGET_US - 1), `received = ${received}`);
    assert.not(policy.idle(40 + BUDGET_US));
  }
});

test("a budget covers the delay after which traffic came, up to a limit; quick traffic shrinks it again", () => {
  const policy = new IdlePolicy(BUDGET_US, 2);
  const clock = { now: 1 };
  const answerAfter = (delay: number): void => {
    assert.ok(policy.traffic(clock.now, false));
    policy.idle(clock.now);
    clock.now += delay;
    assert.ok(policy.traffic(clock.now, true), `spins when the answer comes after ${delay} us`);
  };
  answerAfter(45);
  const stretched = patience(policy, clock);
  assert.ok(stretched > 45 && stretched <= LONGEST_US, `${stretched} us`);
  for (let i = 0; i < 20_000; i++) answerAfter(1);
  const shrunk = patience(policy, clock);
  assert.ok(shrunk >= BUDGET_US && shrunk <= BUDGET_US * 1.1, `${shrunk} us`);
});

test("an episode in vain doubles the next budget, up to a limit: a peer that sleeps needs its time to wake", () => {
  const policy = new IdlePolicy(BUDGET_US, 2);
  const clock = { now: 1 };
  for (let budget = BUDGET_US, episode = 0; episode < 10; episode++) {
    parksUntilSpin(policy, clock.now);
    assert.is(patience(policy, clock), budget, `episode ${episode}`);
    budget = Math.min(budget * 2, LONGEST_US);
  }
});

test("what we send starts an episode as well: an answer may come soon", () => {
  const policy = new IdlePolicy(BUDGET_US, 2);
  assert.ok(policy.traffic(0, false));
  assert.ok(policy.spinning);
});

test("the back-off is 1, 2, 4 … 1024 and stays there", () => {
  const policy = new IdlePolicy(BUDGET_US, 2);
  assert.ok(policy.traffic(0, true));
  const parks: number[] = [];
  for (let episode = 0; episode < 14; episode++) {
    policy.end();
    parks.push(parksUntilSpin(policy, episode));
  }
  assert.equal(parks, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1024, 1024, 1024]);
});

test("the longest budget is a small multiple of the configured one", () => {
  assert.ok(LONGEST_US > BUDGET_US && LONGEST_US <= 64 * BUDGET_US, `${LONGEST_US} us`);
});

test("an episode that paid resets the back-off at once", () => {
  const policy = new IdlePolicy(BUDGET_US, 2);
  policy.traffic(0, true);
  for (let episode = 0; episode < 6; episode++) {
    policy.end();
    parksUntilSpin(policy, episode);
  }
  assert.ok(policy.traffic(10, true), "bytes come while it spins");
  policy.end();
  assert.is(parksUntilSpin(policy, 20), 0, "the next traffic spins without a park");
  policy.end();
  assert.is(parksUntilSpin(policy, 30), 1, "and the back-off begins anew");
});

test("what we send ourselves does not pay", () => {
  const policy = new IdlePolicy(BUDGET_US, 2);
  policy.traffic(0, false);
  policy.traffic(10, false);
  policy.end();
  assert.is(parksUntilSpin(policy, 20), 1);
});

test("while it backs off, traffic starts nothing; only wake-ups count the parks down", () => {
  const policy = new IdlePolicy(BUDGET_US, 2);
  policy.traffic(0, true);
  policy.end();
  for (let i = 0; i < 10; i++) assert.not(policy.traffic(i, true));
  policy.woken(1);
  assert.ok(policy.traffic(11, true));
});

test("ending twice counts once", () => {
  const policy = new IdlePolicy(BUDGET_US, 2);
  policy.traffic(0, true);
  policy.end();
  policy.end();
  policy.woken(1);
  assert.ok(policy.traffic(1, true), "one park, not two");
});

test("on one CPU, or with a budget of 0, it never spins", () => {
  for (const policy of [new IdlePolicy(BUDGET_US, 1), new IdlePolicy(0, 8)]) {
    assert.is(policy.budgetUs, 0);
    for (let i = 0; i < 100; i++) {
      assert.not(policy.traffic(i, i % 2 === 0));
      assert.not(policy.spinning);
      policy.woken(i);
    }
  }
});

test("in any order of calls, an episode ends within the longest budget of silence, and parks between episodes stay bounded", () => {
  const random = prngFor("idle policy");
  for (let run = 0; run < 50; run++) {
    const policy = new IdlePolicy(BUDGET_US, 2);
    let now = 1;
    let silentSince = 0;
    for (let step = 0; step < 2000; step++) {
      now += random.below(40);
      const before = policy.spinning;
      if (random.oneIn(3)) {
        const spins = policy.traffic(now, random.oneIn(2));
        assert.is(spins, policy.spinning);
        if (before) assert.ok(spins, "traffic ends no episode");
        silentSince = 0;
      } else if (random.oneIn(2)) {
        if (silentSince === 0) silentSince = now;
        const goesOn = policy.idle(now);
        assert.is(policy.spinning, goesOn);
        assert.not(goesOn && !before, "an idle turn begins nothing");
        const silence = now - silentSince;
        if (before && silence < BUDGET_US) assert.ok(goesOn, `gave up after ${silence} us`);
        if (before && silence >= LONGEST_US) assert.not(goesOn, `still spins after ${silence} us`);
      } else if (!before) policy.woken(now);
    }
    policy.end();
    for (let parks = 0; !policy.traffic(now, true); parks++) {
      assert.ok(parks < MOST_SKIPPED, "spins again after at most so many parks");
      policy.woken(now);
    }
  }
});

test.run();
