/**
 * What two processes share, and for how long: made once for a pair, kept while somebody uses it, left when idle, bounded.
 *
 * Shown by counting descriptors, mappings of memfds, blocks of the arena and entries of the pair table on both sides.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { shmMissing, testUnless } from "../support/missing.js";
import { Home, type Party } from "./processes.js";
import type { Census } from "./processes-census.js";

const CONNECTIONS = 1_000;
const AT_ONCE = 8;
const SHM = "SMCD shm";

const stress = suite("stress: what processes leave");
const test = testUnless(shmMissing(), stress);
let home: Home;
stress.before.each(() => {
  home = new Home();
});
stress.after.each(() => home.remove());

/** What a process holds between its connections. */
async function atRest(party: Party): Promise<Partial<Census>> {
  await party.ask("settled", { connections: 0 });
  const { descriptors, memfds, freeBlocks, pairs } = await party.ask("census");
  return { descriptors, memfds, freeBlocks, pairs };
}

test(`${CONNECTIONS} connections of a pair take what the first ones took`, async () => {
  const [server, client] = (await home.parties(2)) as [Party, Party];
  const port = await server.ask("serve", "smcd");
  const [bare, bareToo] = [await atRest(server), await atRest(client)];
  assert.equal(await client.ask("echoes", "smcd", port, AT_ONCE, 200_000), { [SHM]: AT_ONCE });
  const [before, beforeToo] = [await atRest(server), await atRest(client)];
  assert.is(before.pairs, 1);
  assert.ok(before.memfds! > 0 && beforeToo.memfds! > 0, "there is shared memory to be counted");
  for (let made = 0; made < CONNECTIONS; made += AT_ONCE)
    assert.equal(await client.ask("echoes", "smcd", port, AT_ONCE, 1_000), { [SHM]: AT_ONCE });
  assert.equal(await atRest(server), before);
  assert.equal(await atRest(client), beforeToo);

  await client.leave();
  await server.ask("settled", { ...bare, descriptors: bare.descriptors! });
  assert.is(bareToo.pairs, 0);
  await server.leave();
  assert.equal(home.entries(), []);
});

test("an idle pair is left by both, and made anew by the next connection", async () => {
  const [server, client] = (await home.parties(2, { SMC_SHM_IDLE: "100" })) as [Party, Party];
  const port = await server.ask("serve", "smcd");
  await client.ask("echoes", "smcd", port, 1, 1_000);
  for (const party of [server, client]) await party.ask("settled", { pairs: 0, memfds: 0 });
  const [bare, bareToo] = [await atRest(server), await atRest(client)];
  for (let round = 0; round < 5; round++) {
    assert.equal(await client.ask("echoes", "smcd", port, 3, 100_000), { [SHM]: 3 });
    await server.ask("settled", bare);
    await client.ask("settled", bareToo);
  }
  await client.leave();
  await server.leave();
});

test("a thread that leaves an idle pair disturbs no other thread, and comes back", async () => {
  const [server, client] = (await home.parties(2, { SMC_SHM_IDLE: "100" })) as [Party, Party];
  const port = await server.ask("serve", "smcd");
  const worker = await client.ask("addWorker");
  await client.ask("inWorker", worker, "dial", "long", "smcd", port);
  let said = 0;
  const goesOn = async (): Promise<void> => {
    await client.ask("inWorker", worker, "say", "long", "of a worker", 300_000);
    said += 300_000;
    await client.ask("inWorker", worker, "hear", "long", "of a worker", said);
  };
  for (let round = 0; round < 5; round++) {
    assert.equal(await client.ask("echoes", "smcd", port, 2, 1_000), { [SHM]: 2 });
    await goesOn();
    await client.ask("left");
    await goesOn();
  }
  await client.ask("inWorker", worker, "destroy", "long");
  for (const party of [server, client]) await party.ask("settled", { pairs: 0, memfds: 0 });
  await client.leave();
  await server.leave();
});

test("a pair is not left under a connection that is on its way", async () => {
  // Longer on its way than the pair may idle.
  const [server, client] = (await home.parties(2, { SMC_SHM_IDLE: "100", SMC_MATCH_TIMEOUT: "400" })) as [Party, Party];
  const port = await server.ask("serve", "smcd");
  assert.equal(await client.ask("echoes", "smcd", port, 1, 1_000), { [SHM]: 1 });
  await server.stop();
  const { mode } = await client.ask("dial", "early", "smcd", port);
  server.signal("SIGCONT");
  assert.is(mode, "TCP", "nobody was there to match it");
  await client.ask("say", "early", "early", 1_000);
  await client.ask("hear", "early", "early", 1_000);
  await client.ask("destroy", "early");
  for (const party of [server, client]) await party.ask("settled", { pairs: 0, memfds: 0 });
});

/** `count` connections that stay open; each carries something both ways. Returns: how they are carried. */
async function openMany(client: Party, port: number, count: number): Promise<string[]> {
  const how: string[] = [];
  for (let index = 0; index < count; index++) {
    const { mode, device, why } = await client.ask("dial", `many ${index}`, "smcd", port);
    how.push(mode === "SMCD" ? `${mode} ${device}` : `${mode} ${why}`);
  }
  await Promise.all(
    how.map(async (_, index) => {
      const label = `many ${index}`;
      await client.ask("sayOn", label, label, 200_000);
      await client.ask("hear", label, label, 200_000);
    }),
  );
  await Promise.all(how.map((_, index) => client.ask("destroy", `many ${index}`)));
  return how;
}

for (const side of ["server", "client"] as const) {
  test(`more connections than the ${side} wants with one process go over TCP`, async () => {
    const few = { SMC_SHM_CONNECTIONS: "3" };
    const server = await home.party(side === "server" ? few : {});
    const client = await home.party(side === "client" ? few : {});
    const port = await server.ask("serve", "smcd");
    for (let round = 0; round < 2; round++) {
      const how = await openMany(client, port, 6);
      assert.equal(how, [SHM, SHM, SHM, ...Array(3).fill(`TCP ${side === "client" ? "" : "peer "}MAX_DMB`)]);
      await client.ask("settled", { connections: 0 });
      await server.ask("settled", { connections: 0 });
    }
  });
}

for (const side of ["server", "client"] as const) {
  test(`more memory than the ${side} wants to share, and the other would: the other connections go over TCP`, async () => {
    const little = { SMC_SHM_PEER_MIB: "1" };
    const server = await home.party(side === "server" ? little : {});
    const client = await home.party(side === "client" ? little : {});
    const port = await server.ask("serve", "smcd");
    const how = await openMany(client, port, 64);
    const smcd = how.lastIndexOf(SHM) + 1;
    assert.ok(smcd >= 7 && smcd < 64, `${smcd} connections of 16 to 128 KiB each way in 1 MiB`);
    assert.equal(how, [...Array(smcd).fill(SHM), ...Array(64 - smcd).fill("TCP peer MEM")]);
    for (const party of [server, client]) await party.ask("settled", { connections: 0, pairs: 1 });
    assert.equal(await client.ask("echoes", "smcd", port, 4, 1_000), { [SHM]: 4 }, "there is room again");
  });
}

test("more memory than both want to share with one process: the other connections go over TCP", async () => {
  const [server, client] = (await home.parties(2, { SMC_SHM_PEER_MIB: "1" })) as [Party, Party];
  const port = await server.ask("serve", "smcd");
  const how = await openMany(client, port, 64);
  const smcd = how.lastIndexOf(SHM) + 1;
  assert.ok(smcd >= 7, `${smcd} connections of 128 KiB each way in 1 MiB`);
  assert.equal(how, [...Array(smcd).fill(SHM), ...Array(64 - smcd).fill("TCP peer MEM")]);
  assert.ok(smcd < 64, "there is a limit");
  await client.ask("settled", { connections: 0 });
  await server.ask("settled", { connections: 0 });
  assert.equal(await client.ask("echoes", "smcd", port, 4, 1_000), { [SHM]: 4 }, "there is room again");
});

stress.run();
