/**
 * Threads of several processes, and processes that share a port: every Worker of one process talks to every Worker of another
 * while others come and go; cluster workers and processes with SO_REUSEPORT serve beside each other.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { shmMissing, testUnless } from "../support/missing.js";
import { Home, type Party } from "./processes.js";

const SHM = "SMCD shm";
const THREADS = 3;

const stress = suite("stress: threads of processes");
const noShm = shmMissing();
const test = testUnless(noShm, stress);
let home: Home;
stress.before.each(() => {
  home = new Home();
});
stress.after.each(() => home.remove());

interface Thread {
  readonly party: Party;
  readonly index: number;
  readonly port: number;
}

async function startThread(party: Party): Promise<Thread> {
  const index = await party.ask("addWorker");
  const port = (await party.ask("inWorker", index, "serve", "smcd")) as number;
  return { party, index, port };
}

/** Each of some threads talks to each of some others, all at the same time. */
async function allTalk(some: readonly Thread[], others: readonly Thread[]): Promise<void> {
  const seen = some.flatMap(({ party, index }) =>
    others.map(({ port }) => party.ask("inWorker", index, "echoes", "smcd", port, 3, 50_000)),
  );
  for (const counts of await Promise.all(seen)) assert.equal(counts, { [SHM]: 3 });
}

test(`${THREADS} Workers in each of two processes, each to each, while Workers come and go`, async () => {
  const parties = (await home.parties(2)) as [Party, Party];
  // Whoever comes first makes the stack of its thread: what it holds is its own.
  const before = await Promise.all(parties.map((party) => party.ask("census")));
  const [ours, theirs] = (await Promise.all(
    parties.map((party) => Promise.all(Array.from({ length: THREADS }, () => startThread(party)))),
  )) as [Thread[], Thread[]];
  for (let round = 0; round < 4; round++) {
    await Promise.all([allTalk(ours, theirs), allTalk(theirs, ours)]);
    // The oldest of one side goes in the middle of what the others do, and a new one comes in its place.
    const side = round % 2 === 0 ? ours : theirs;
    const [leaving] = side.splice(0, 1) as [Thread];
    const going = [allTalk(ours, theirs), allTalk(theirs, ours)];
    await leaving.party.ask("endWorker", leaving.index);
    side.push(await startThread(leaving.party));
    await Promise.all(going);
  }
  await Promise.all([...ours, ...theirs].map(({ party, index }) => party.ask("endWorker", index)));
  for (const [at, party] of parties.entries()) {
    const { freeBlocks, memfds, pairs } = before[at]!;
    assert.is((await party.ask("settled", { freeBlocks, memfds, pairs })).rescued, 0);
  }
  await Promise.all(parties.map((party) => party.leave()));
  assert.equal(home.entries(), []);
});

test("threads that make a pair's memory grow at the same time stay within what both sides share", async () => {
  const parties = (await home.parties(2, { SMC_SHM_PEER_MIB: "2" })) as [Party, Party];
  const [ours, theirs] = (await Promise.all(
    parties.map((party) => Promise.all(Array.from({ length: THREADS }, () => startThread(party)))),
  )) as [Thread[], Thread[]];
  // Several that meet at the same time would make several pairs.
  for (const [at, { party, index }] of theirs.entries())
    await party.ask("inWorker", index, "met", "smcd", ours[at]!.port);
  const seen = await Promise.all(
    theirs.map(({ party, index }, at) => party.ask("inWorker", index, "keep", "smcd", ours[at]!.port, 64)),
  );
  const smcd = seen.reduce<number>((sum, how) => sum + ((how as Record<string, number>)[SHM] ?? 0), 0);
  assert.ok(smcd >= 15 && smcd < 128, `${smcd} connections of 16 to 128 KiB in 2 MiB: ${JSON.stringify(seen)}`);
  assert.equal(
    await Promise.all(theirs.map(({ party, index }) => party.ask("inWorker", index, "echoKept", 300_000))),
    [64, 64, 64],
  );
  for (const party of parties) assert.is((await party.ask("census")).pairs, 1, "the pair has not failed");
});

for (const policy of ["rr", "none"] as const) {
  test(`cluster workers on one port, NODE_CLUSTER_SCHED_POLICY=${policy}`, async () => {
    const [primary, client] = [await home.party({ NODE_CLUSTER_SCHED_POLICY: policy }), await home.party()];
    const port = await primary.ask("cluster", 3);
    // One after the other and some at once: each worker is a process that has to be met.
    for (let round = 0; round < 6; round++) {
      const counts = await client.ask("echoes", "smcd", port, 8, 20_000);
      assert.is(
        Object.values(counts).reduce((sum, count) => sum + count),
        8,
        JSON.stringify(counts),
      );
      if (round > 0) assert.equal(counts, { [SHM]: 8 }, `round ${round}`);
    }
    await client.leave();
    await primary.leave();
    assert.equal(home.entries(), []);
  });
}

const [major, minor] = process.versions.node.split(".").map(Number) as [number, number];
const reusesPorts = major > 23 || (major === 23 && minor >= 1) || (major === 22 && minor >= 12);
const reusePortMissing = reusesPorts ? undefined : "SO_REUSEPORT needs Node 22.12 or 23.1";
testUnless(noShm ?? reusePortMissing, stress)("processes with SO_REUSEPORT on one port", async () => {
  const [client, ...servers] = await home.parties(4);
  const port = await servers[0]!.ask("serve", "smcd", { reusePort: true });
  for (const server of servers.slice(1)) await server.ask("serve", "smcd", { reusePort: true, port });
  for (let round = 0; round < 6; round++) {
    const counts = await client!.ask("echoes", "smcd", port, 8, 20_000);
    assert.equal(counts, { [SHM]: 8 }, `round ${round}`);
  }
  const served = await Promise.all(servers.map((server) => server.ask("served")));
  assert.is(
    served.reduce((sum, count) => sum + count),
    48,
  );
  assert.ok(served.filter((count) => count > 0).length > 1, `the kernel spreads them: ${served}`);
});

stress.run();
