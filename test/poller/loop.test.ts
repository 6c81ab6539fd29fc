/** The poll loop's turns: what a ready slot gets, when the loop parks, what wakes it. */
import { AsyncLocalStorage } from "node:async_hooks";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ARMED_BELL, ARMED_NONE, ARMED_NOTIFY } from "../../assembly/shared/codes.js";
import { intervals, Scene, settle, startTime, stopTime } from "./scene.js";

/** What the process would have died of while `act` ran. */
async function uncaught(act: () => Promise<void>): Promise<string[]> {
  const errors: string[] = [];
  const keep = (error: Error): void => {
    errors.push(error.message);
  };
  process.on("uncaughtException", keep);
  try {
    await act();
  } finally {
    process.off("uncaughtException", keep);
  }
  return errors;
}

const turns = suite("poll loop: turns");

turns("several ready slots get an immediate each: ticks and promises of one run before the next", async () => {
  const scene = await Scene.parked(0);
  scene.onReady = (slot) => {
    process.nextTick(() => scene.log.push(`tick ${slot}`));
    Promise.resolve().then(() => scene.log.push(`promise ${slot}`));
  };
  scene.ring(5, 1, 9);
  await settle();
  const expected = [5, 1, 9].flatMap((slot) => [`ready ${slot}`, `tick ${slot}`, `promise ${slot}`]);
  assert.equal(scene.log, ["disarm", ...expected]);
});

turns("one ready slot after a park is served at once, the doorbell is disarmed after it", async () => {
  const scene = await Scene.parked(0);
  scene.ring(7);
  assert.equal(scene.log, ["ready 7", "disarm"]);
  await settle();
  assert.equal([scene.log.length, scene.counters.parks], [2, 2], "asleep again");
});

turns("control bits are told to the rendezvous once, beside the ready slots", async () => {
  const scene = await Scene.parked(0);
  scene.control = 1;
  scene.ring(2);
  await settle();
  assert.equal([scene.count("rendezvous"), scene.count("ready 2")], [1, 1]);
  scene.control = 1;
  scene.ring();
  await settle();
  assert.is(scene.count("rendezvous"), 2);
});

turns("a listener that throws among several strands nobody, and the loop goes on", async () => {
  const scene = await Scene.parked(0);
  scene.onReady = (slot) => {
    if (slot === 2) throw new Error("thrown by 2");
  };
  const errors = await uncaught(async () => {
    scene.ring(1, 2, 3);
    await settle();
    scene.ring(4);
    await settle();
  });
  assert.equal(errors, ["thrown by 2"]);
  assert.equal(
    scene.log.filter((entry) => entry !== "disarm"),
    ["ready 1", "ready 2", "ready 3", "ready 4"],
  );
});

turns("a listener that throws alone costs no turn: what came meanwhile is served without another ring", async () => {
  const scene = await Scene.parked(0);
  scene.onReady = (slot) => {
    if (slot === 1) throw new Error("thrown by 1");
  };
  scene.pending = [1];
  assert.throws(() => scene.loop.bell(), "thrown by 1");
  scene.pending = [2];
  await settle();
  assert.equal(scene.log, ["ready 1", "disarm", "ready 2"]);
  assert.is(scene.counters.parks, 2);
});

turns("everything runs outside the async context of whoever scheduled it", async () => {
  const storage = new AsyncLocalStorage<string>();
  const scene = new Scene(0);
  const seen: unknown[] = [];
  scene.onReady = () => seen.push(storage.getStore());
  scene.pending = [1, 2];
  storage.run("the first connection's", () => scene.loop.hold(1));
  await settle();
  assert.equal(seen, [undefined, undefined]);
});

const parking = suite("poll loop: parking");
parking.before.each(stopTime);
parking.after.each(startTime);

parking("nothing held: it looks once and neither sleeps nor turns", async () => {
  const scene = new Scene(0);
  scene.loop.hold(1);
  scene.loop.hold(-1);
  await settle();
  assert.equal([scene.polls, scene.counters.parks, intervals.size], [1, 0, 0]);
  scene.loop.rang();
  await settle();
  assert.is(scene.polls, 1, "a ring of ours has no answer");
});

parking("asleep it looks no more", async () => {
  const scene = await Scene.parked(0);
  const { polls } = scene;
  await settle();
  assert.equal([scene.polls, scene.counters.parks, scene.word[0]], [polls, 1, ARMED_BELL]);
});

parking("news between arming and the re-check are served without a sleep", async () => {
  const scene = new Scene(0);
  let times = 3;
  scene.meanwhile = () => {
    if (times-- > 0) scene.pending.push(times);
  };
  scene.loop.hold(1);
  await settle();
  assert.equal(
    scene.log.filter((entry) => entry.startsWith("ready")),
    ["ready 2", "ready 1", "ready 0"],
  );
  assert.is(scene.counters.parks, 1, "the three attempts do not count");
});

parking("a bell that rings while the loop is awake or about to turn adds no turn", async () => {
  const scene = await Scene.parked(0);
  scene.ring(1);
  const { polls } = scene;
  scene.ring(2);
  assert.is(scene.polls, polls, "the turn is due already");
  await settle();
  assert.equal([scene.count("ready 1"), scene.count("ready 2")], [1, 1]);
});

parking("without a bell it awaits the doorbell word, and notify wakes it, again and again", async () => {
  const scene = await Scene.parked(0, false);
  for (let slot = 1; slot <= 5; slot++) {
    assert.is(scene.word[0], ARMED_NOTIFY);
    scene.pending = [slot];
    assert.is(scene.notify(), 1, "somebody awaits the word");
    await settle();
    assert.is(scene.count(`ready ${slot}`), 1);
    assert.is(scene.counters.parks, 1 + slot);
  }
});

parking("the word is awaited once, however often the loop parked meanwhile", async () => {
  const scene = await Scene.parked(0, false);
  for (let i = 0; i < 3; i++) {
    scene.loop.recheck();
    await settle();
  }
  assert.is(scene.counters.parks, 4);
  assert.is(scene.notify(), 1);
});

parking("after the word was used by somebody else of the thread, it looks and arms anew", async () => {
  const scene = await Scene.parked(0);
  scene.word[0] = ARMED_NONE;
  scene.pending = [6];
  scene.loop.recheck();
  await settle();
  assert.equal([scene.count("ready 6"), scene.word[0]], [1, ARMED_BELL]);
});

parking("after we rang somebody it looks once more: the answer may be there", async () => {
  const scene = await Scene.parked(0);
  scene.pending = [8];
  scene.loop.rang();
  await settle();
  assert.equal([scene.count("ready 8"), scene.word[0]], [1, ARMED_BELL]);
});

turns.run();
parking.run();
