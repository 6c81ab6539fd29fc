/**
 * Processes that are killed while they meet, that stand still, and whose threads are terminated.
 *
 * Shown: a death in the middle of a first contact or a handshake is at worst a refused connection, and the next process is
 * met as if nothing had been. A stopped process is waited for as over TCP, and nobody else stands still with it; who connects
 * to it is served when it goes on. A Worker that is terminated takes its own connections along and no other.
 *
 * SMC_TEST_KILLS sets how many processes are killed at random moments; 12 by default.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { shmMissing, testUnless } from "../support/missing.js";
import { prngFor } from "../support/prng.js";
import { boardOf, Home } from "./processes.js";
import { leavesNothing, meet, type Survivor, survivor } from "./processes-scene.js";

const KILLS = Number(process.env["SMC_TEST_KILLS"] ?? 12);
/** A first contact and a handshake are over by then, microseconds; most of it is waiting for the other process's turn. */
const MEETING_US = 8_000;

/** How a connection may end whose peer died while it was made. */
const REFUSED = ["ECONNREFUSED", "ECONNRESET", "EPIPE"];

const stress = suite("stress: processes in the middle of something");
const noShm = shmMissing();
const test = testUnless(noShm, stress);
const home = new Home();
const random = prngFor("processes in the middle of something");
let living: Survivor;
let serves: number;
if (noShm === undefined) {
  stress.before(async () => {
    living = await survivor(home, "smcd");
    serves = await living.party.ask("serve", "smcd");
    living = { ...living, before: await living.party.ask("census") };
  });
}
stress.after(() => home.remove());

/** A process that comes now is met at once, and both ways. */
async function isWell(): Promise<void> {
  const fresh = await home.next();
  assert.equal(await fresh.ask("echoes", "smcd", serves, 2, 1_000), { "SMCD shm": 2 });
  const port = await fresh.ask("serve", "smcd");
  assert.equal(await living.party.ask("echoes", "smcd", port, 2, 1_000), { "SMCD shm": 2 });
  await fresh.leave();
}

test(`clients killed while they connect: ${KILLS}`, async () => {
  for (let kill = 0; kill < KILLS; kill++) {
    const victim = await home.next();
    const us = random.between(0, MEETING_US);
    assert.is(await victim.last("dialAndDie", "smcd", living.ports.smcd!, us), "SIGKILL");
    for (const { events, code } of await living.party.ask("settle"))
      assert.ok(code === "" || REFUSED.includes(code), `after ${us} us: ${events} ${code}`);
  }
  await isWell();
});

test(`servers killed while somebody connects to them: ${KILLS}`, async () => {
  for (let kill = 0; kill < KILLS; kill++) {
    const victim = await home.next();
    const port = await victim.ask("listen", "smcd");
    const us = random.between(0, MEETING_US);
    const { events, code } = await living.party.ask("dialAndKill", "smcd", port, victim.pid, us);
    assert.ok(code === "" || REFUSED.includes(code), `after ${us} us: ${events} ${code}`);
    assert.is(await victim.exited, "SIGKILL");
  }
  await isWell();
});

test("a stopped process: bytes wait for it, others go on, who connects is served when it goes on", async () => {
  const sleeper = await home.next();
  const stranger = await home.next();
  const port = await sleeper.ask("serve", "smcd");
  const scene = await meet(living, sleeper, "smcd", "client");
  const { name, ours, theirs } = scene;
  await sleeper.ask("say", name, theirs, 50_000);
  await sleeper.stop();

  // More than its ring holds.
  await living.party.ask("sayOn", name, ours, 3_000_000);
  const known = living.party.ask("echoes", "smcd", port, 3, 100_000);
  const unknown = stranger.ask("echoes", "smcd", port, 3, 100_000);
  await isWell();
  await living.party.ask("hear", name, theirs, 50_000);
  assert.equal(await stranger.ask("echoes", "smcd", serves, 2, 100_000), { "SMCD shm": 2 });

  sleeper.signal("SIGCONT");
  await sleeper.ask("hear", name, ours, 3_000_000);
  for (const seen of [await known, await unknown])
    assert.is(
      Object.values(seen).reduce((sum, count) => sum + count),
      3,
      JSON.stringify(seen),
    );
  assert.equal(await stranger.ask("echoes", "smcd", port, 2, 1_000), { "SMCD shm": 2 }, "met afterwards");
  await Promise.all([sleeper.ask("destroy", name), living.party.ask("destroy", name)]);
  await Promise.all([sleeper.leave(), stranger.leave()]);
});

test("a Worker that is terminated takes its own connections along, and no other", async () => {
  const host = await home.next();
  const scene = await meet(living, host, "smcd", "client");
  for (let round = 0; round < 6; round++) {
    const worker = await host.ask("addWorker");
    const [name, board] = [`worker ${round}`, home.file("board")];
    if (random.oneIn(2)) {
      const accepting = living.party.ask("accept", name);
      await host.ask("inWorker", worker, "dial", name, "smcd", living.ports.smcd);
      assert.is((await accepting).device, "shm");
    } else {
      const port = (await host.ask("inWorker", worker, "listen", "smcd")) as number;
      const dialled = living.party.ask("dial", name, "smcd", port);
      await host.ask("inWorker", worker, "accept", name);
      assert.is((await dialled).device, "shm");
    }
    await host.ask("inWorker", worker, "pour", name, "of a worker", random.pick([100, 4_096, 65_536]), board);
    await living.party.ask("hear", name, "of a worker", random.between(1, 2_000_000));
    await host.ask("endWorker", worker);
    const { events, received } = await living.party.ask("outcome", name, "of a worker");
    assert.match(events, /^end (finish )?close\(false\)$/);
    assert.ok(received >= boardOf(board), `${received} of ${boardOf(board)} published`);
    await Promise.all([
      host.ask("say", scene.name, scene.theirs, 10_000),
      living.party.ask("hear", scene.name, scene.theirs, 10_000 * (round + 1)),
    ]);
  }
  await host.leave();
  assert.is((await living.party.ask("outcome", scene.name, scene.theirs)).code, "");
});

test("nothing of the dead is left", () => leavesNothing(home, living));

stress.run();
