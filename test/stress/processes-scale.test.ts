/**
 * Many processes, many connections, many threads, much data: all of it arrives, over shared memory, and nothing is left.
 *
 * SMC_TEST_RING sets how many processes forward a file around, 6 by default; SMC_TEST_STREAM_GB how much goes through one
 * connection between two processes, units of 10⁹ bytes, 0.2 by default here.
 */
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { shmMissing, testUnless } from "../support/missing.js";
import { prngFor } from "../support/prng.js";
import { Home, type Party } from "./processes.js";

const RING = Number(process.env["SMC_TEST_RING"] ?? 6);
const STREAM_BYTES = Number(process.env["SMC_TEST_STREAM_GB"] ?? 0.2) * 1e9;
const SHM = "SMCD shm";

const stress = suite("stress: many processes");
const test = testUnless(shmMissing(), stress);
let home: Home;
stress.before.each(() => {
  home = new Home();
});
stress.after.each(() => home.remove());

/** Each leaves; the last one has given everything back by then, and nothing is in the runtime directory. */
async function leaveAll(parties: readonly Party[], last: { party: Party; bare: object }): Promise<void> {
  await Promise.all(parties.filter((party) => party !== last.party).map((party) => party.leave()));
  const { rescued, devShm } = await last.party.ask("settled", last.bare);
  assert.equal({ rescued, devShm }, { rescued: 0, devShm: 0 });
  await last.party.leave();
  assert.equal(home.entries(), []);
}

const TEN = 10;
const EACH_WAY = 12;

test(`${TEN * (TEN - 1) * EACH_WAY} connections between ${TEN} processes`, async () => {
  const parties = await home.parties(TEN);
  const ports = await Promise.all(parties.map((party) => party.ask("serve", "smcd")));
  const [party] = parties as [Party];
  const { memfds, freeBlocks, pairs, connections } = await party.ask("census");
  // First contacts come from both sides. Who misses somebody on few CPUs leaves it to TCP for a while.
  const counts: Record<string, number> = {};
  const opened = parties.map(async (client, from) => {
    for (const port of ports.filter((_, to) => to !== from))
      for (const [how, count] of Object.entries(await client.ask("keep", "smcd", port, EACH_WAY)))
        counts[how] = (counts[how] ?? 0) + count;
  });
  await Promise.all(opened);
  process.stdout.write(`\n   open at once: ${JSON.stringify(counts)}\n`);
  const echoed = await Promise.all(parties.map((client) => client.ask("echoKept", 100_000)));
  assert.equal(echoed, Array(TEN).fill((TEN - 1) * EACH_WAY));
  for (const [from, client] of parties.entries())
    for (const port of ports.filter((_, to) => to !== from)) await client.ask("met", "smcd", port);
  const pairsOf = await Promise.all(parties.map(async (member) => (await member.ask("census")).pairs));
  assert.ok(
    pairsOf.every((count) => count >= TEN - 1),
    `pairs of each: ${pairsOf}`,
  );
  await leaveAll(parties, { party, bare: { memfds, freeBlocks, pairs, connections } });
});

test("first contacts from both sides at once, again and again", async () => {
  const parties = await home.parties(2, { SMC_SHM_IDLE: "100" });
  const [one, other] = parties as [Party, Party];
  const [here, there] = [await one.ask("serve", "smcd"), await other.ask("serve", "smcd")];
  const { memfds, freeBlocks, pairs, connections } = await one.ask("census");
  const bare = { memfds, freeBlocks, pairs, connections };
  for (let round = 0; round < 10; round++) {
    const met = await Promise.all([
      one.ask("echoes", "smcd", there, 2, 1_000),
      other.ask("echoes", "smcd", here, 2, 1_000),
    ]);
    assert.equal(met, [{ [SHM]: 2 }, { [SHM]: 2 }], `round ${round}`);
    await Promise.all(parties.map((party) => party.ask("settled", { pairs: 0, memfds: 0 })));
  }
  await leaveAll(parties, { party: one, bare });
});

test(`a file around a ring of ${RING} processes`, async () => {
  const file = prngFor("a file").fill(Buffer.alloc(20_000_000));
  const hash = createHash("sha256").update(file).digest("hex");
  const path = home.file("file");
  writeFileSync(path, file);
  const parties = await home.parties(RING);
  const [first] = parties as [Party];
  const ports = await Promise.all(parties.map((party) => party.ask("listen", "smcd")));
  const { memfds, freeBlocks, pairs, connections } = await first.ask("census");
  await Promise.all(
    parties.map(async (party, index) => {
      const dialled = await party.ask("dial", "next", "smcd", ports[(index + 1) % RING]!);
      assert.is(dialled.device, "shm");
      await party.ask("accept", "previous");
    }),
  );
  const hashes = await Promise.all(
    parties.map((party, index) =>
      index === 0 ? party.ask("sendFile", "next", path, "previous") : party.ask("forward", "previous", "next"),
    ),
  );
  assert.equal(hashes, Array(RING).fill(hash));
  await leaveAll(parties, { party: first, bare: { memfds, freeBlocks, pairs, connections } });
});

test(`${STREAM_BYTES / 1e9} GB between two processes, with a running hash`, async () => {
  const parties = await home.parties(2);
  const [sender, receiver] = parties as [Party, Party];
  const port = await receiver.ask("listen", "smcd");
  const { memfds, freeBlocks, pairs, connections } = await receiver.ask("census");
  const [dialled] = await Promise.all([sender.ask("dial", "long", "smcd", port), receiver.ask("accept", "long")]);
  assert.is(dialled.device, "shm");
  const [sent, got] = await Promise.all([
    sender.ask("sendStream", "long", "a long stream", STREAM_BYTES),
    receiver.ask("digest", "long"),
  ]);
  assert.equal(got, { bytes: STREAM_BYTES, hash: sent });
  await leaveAll(parties, { party: receiver, bare: { memfds, freeBlocks, pairs, connections } });
});

stress.run();
