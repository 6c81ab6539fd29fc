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
    policy.woken();
  }
  throw new Error("never spins again");
}

const test = suite("idle policy");

test("traffic starts an episode that lasts as long as the budget, to the microsecond", () => {
  const policy = new IdlePolicy(BUDGET_US, 2);
  assert.not(policy.spinning);
  assert.not(policy.idle(0), "nothing to end");
  assert.ok(policy.traffic(1000, true));
  assert.ok(policy.spinning);
  assert.ok(policy.idle(1000));
  assert.ok(policy.idle(1000 + BUDGET_US - 1));
  assert.not(policy.idle(1000 + BUDGET_US));
  assert.not(policy.spinning);
});

test("traffic within an episode extends it, whether received or sent", () => {
  for (const received of [true, false]) {
    const policy = new IdlePolicy(BUDGET_US, 2);
    policy.traffic(0, true);
    assert.ok(policy.traffic(40, received));
    assert.ok(policy.idle(40 + BUDGET_US - 1), `received = ${received}`);
    assert.not(policy.idle(40 + BUDGET_US));
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
  policy.woken();
  assert.ok(policy.traffic(11, true));
});

test("ending twice counts once", () => {
  const policy = new IdlePolicy(BUDGET_US, 2);
  policy.traffic(0, true);
  policy.end();
  policy.end();
  policy.woken();
  assert.ok(policy.traffic(1, true), "one park, not two");
});

test("on one CPU, or with a budget of 0, it never spins", () => {
  for (const policy of [new IdlePolicy(BUDGET_US, 1), new IdlePolicy(0, 8)]) {
    assert.is(policy.budgetUs, 0);
    for (let i = 0; i < 100; i++) {
      assert.not(policy.traffic(i, i % 2 === 0));
      assert.not(policy.spinning);
      policy.woken();
    }
  }
});

test("in any order of calls, spinning ends a budget after the last traffic, and parks between episodes stay bounded", () => {
  const random = prngFor("idle policy");
  for (let run = 0; run < 50; run++) {
    const policy = new IdlePolicy(BUDGET_US, 2);
    let now = 0;
    let last = Number.NEGATIVE_INFINITY;
    for (let step = 0; step < 2000; step++) {
      now += random.below(40);
      const before = policy.spinning;
      if (random.oneIn(3)) {
        const spins = policy.traffic(now, random.oneIn(2));
        assert.is(spins, policy.spinning);
        if (before) assert.ok(spins, "traffic ends no episode");
        if (spins) last = now;
      } else if (random.oneIn(2)) {
        const goesOn = policy.idle(now);
        assert.is(goesOn, before && now < last + BUDGET_US);
        assert.is(policy.spinning, goesOn);
      } else if (!before) policy.woken();
    }
    for (let parks = 0; !policy.traffic(now, true); parks++) {
      assert.ok(parks < MOST_SKIPPED, "spins again after at most so many parks");
      policy.woken();
    }
  }
});

test.run();
