/** The poll loop between traffic: how long it spins, whom it lets run meanwhile, and the re-check that runs beside its sleep. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { clock, intervals, Scene, SETTLED_TURNS, settle, startTime, stopTime, tick } from "./scene.js";

const spinning = suite("poll loop: spinning");
spinning.before.each(stopTime);
spinning.after.each(startTime);

spinning(
  "after traffic it spins as long as the policy says, then sleeps; turns, hits and time are counted",
  async () => {
    const scene = await Scene.parked(10);
    scene.loop.ref(1);
    scene.ring(1);
    await settle(4);
    clock.now += 0.5;
    scene.pending = [2];
    await settle();
    assert.equal(
      { ...scene.counters, busyPollUs: Math.round(scene.counters.busyPollUs) },
      { busyPollTurns: scene.counters.busyPollTurns, busyPollHits: 1, busyPollUs: 500, parks: 2, doorbellRescued: 0 },
    );
    // Up to 4 before the second slot came, 10 after it, and the one that ended it.
    assert.ok(
      scene.counters.busyPollTurns > 11 && scene.counters.busyPollTurns <= 15,
      `${scene.counters.busyPollTurns}`,
    );
  },
);

for (const [what, budget, isRefd] of [
  ["with nothing ref'd it does not spin, whatever comes or goes", 10, false],
  ["with a budget of 0 it does not spin, however much is ref'd", 0, true],
] as const) {
  spinning(what, async () => {
    const scene = await Scene.parked(budget);
    if (isRefd) scene.loop.ref(1);
    scene.loop.expect();
    scene.ring(1);
    await settle();
    scene.loop.expect();
    await settle();
    assert.equal([scene.counters.busyPollTurns, scene.counters.parks], [0, 2]);
  });
}

spinning("an episode ends when the last ref goes", async () => {
  const scene = await Scene.parked(1_000_000);
  scene.loop.ref(1);
  scene.ring(1);
  await settle(10);
  assert.is(scene.counters.parks, 1, "it spins");
  scene.loop.ref(-1);
  await settle();
  assert.is(scene.counters.parks, 2);
});

spinning("when the last connection goes, the episode goes on for its budget: another may come", async () => {
  const scene = await Scene.parked(10);
  scene.loop.ref(1);
  scene.ring(1);
  await settle(2);
  scene.loop.ref(-1);
  scene.loop.hold(-1);
  await settle();
  assert.equal([scene.counters.busyPollTurns, scene.counters.parks], [11, 1], "it spins to the end, and does not park");
});

spinning("what we send starts an episode: an answer may come soon", async () => {
  const scene = await Scene.parked(10);
  scene.loop.ref(1);
  scene.loop.expect();
  await settle(4);
  scene.pending = [1];
  await settle();
  assert.equal([scene.count("ready 1"), scene.counters.busyPollHits], [1, 1]);
});

spinning("each empty turn beyond 16 yields the CPU; traffic begins the count anew", async () => {
  const scene = await Scene.parked(16);
  scene.loop.ref(1);
  for (const slot of [1, 2, 3]) {
    scene.ring(slot);
    await settle(8);
    scene.pending = [slot];
    await settle();
  }
  assert.is(scene.count("yield"), 0);
  const longer = await Scene.parked(21);
  longer.loop.ref(1);
  longer.ring(1);
  await settle();
  assert.is(longer.count("yield"), 5);
  assert.is(longer.count("leave"), 0);
});

/** What a loop that spins for 16 turns and one for each of these yields did in the end; lengths in µs. */
async function afterYields(...lengths: number[]): Promise<string> {
  const scene = await Scene.parked(16 + lengths.length);
  scene.loop.ref(1);
  scene.onYield = () => {
    clock.now += lengths.shift()! / 1000;
  };
  scene.ring(1);
  await settle(2 * SETTLED_TURNS);
  assert.is(lengths.length, 0, "every yield was made");
  return scene.log.filter((entry) => entry === "yield" || entry === "leave").join(" ");
}

spinning("yields that others took twice in a row: it leaves the CPU, once, and counts anew", async () => {
  assert.is(await afterYields(10, 10, 10), "yield yield leave yield");
  assert.is(await afterYields(10, 10, 10, 10), "yield yield leave yield yield leave");
});

spinning("every second yield taken: a shared CPU as well", async () => {
  assert.is(await afterYields(10, 1, 10, 1, 10, 1), "yield yield yield yield yield leave yield");
});

spinning("yields that return at once, or are taken now and then: it stays", async () => {
  for (const lengths of [
    [1, 1, 1, 1, 1, 1, 1, 1],
    [10, 1, 1, 10, 1, 1, 10, 1, 1, 10],
  ])
    assert.is(await afterYields(...lengths), lengths.map(() => "yield").join(" "));
});

const recheck = suite("poll loop: re-check and housekeeping");
recheck.before.each(stopTime);
recheck.after.each(startTime);

recheck(
  "housekeeping about once a second while there is traffic, and once after it has stopped; then nothing runs",
  async () => {
    const scene = await Scene.parked(0);
    assert.equal(
      [...intervals].map(({ unrefd }) => unrefd),
      [true],
      "it keeps no process alive",
    );
    scene.ring(1);
    await settle();
    for (let i = 0; i < 8; i++) tick();
    assert.is(scene.count("housekeeping"), 2);
    clock.now += 10_000;
    tick();
    assert.equal([scene.count("housekeeping"), intervals.size], [3, 0]);
    scene.ring(1);
    await settle();
    assert.is(intervals.size, 1, "traffic and a park begin it anew");
  },
);

recheck("the re-check ends with the last connection", async () => {
  const scene = await Scene.parked(0);
  scene.ring(1);
  await settle();
  scene.loop.hold(-1);
  tick();
  assert.is(intervals.size, 0);
});

recheck("stuck at two re-checks in a row: counted as rescued, and woken", async () => {
  const scene = await Scene.parked(0);
  scene.ring(1);
  await settle();
  scene.stuck = true;
  scene.pending = [4];
  tick();
  assert.equal([scene.counters.doorbellRescued, scene.count("ready 4")], [0, 0], "it may be a ring under way");
  tick();
  assert.equal([scene.counters.doorbellRescued, scene.count("ready 4")], [1, 1]);
});

recheck("stuck now and then is no loss", async () => {
  const scene = await Scene.parked(0);
  scene.ring(1);
  await settle();
  for (const stuck of [true, false, true, false]) {
    scene.stuck = stuck;
    tick();
  }
  assert.is(scene.counters.doorbellRescued, 0);
});

recheck("stuck while awake is no loss either: the next turn is due", async () => {
  const scene = await Scene.parked(1_000_000);
  scene.loop.ref(1);
  scene.ring(1);
  await settle(5);
  scene.stuck = true;
  tick();
  tick();
  tick();
  assert.is(scene.counters.doorbellRescued, 0);
  scene.loop.ref(-1);
  await settle();
});

spinning.run();
recheck.run();
