/**
 * Processes killed in the middle of a rendezvous: nobody gets a CLC byte that was meant for the dead, and nobody waits for them.
 */
import net, { type AddressInfo } from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { shmMissing, testUnless } from "../support/missing.js";
import { happens } from "../support/watchdog.js";
import type { Call } from "./guest.child.js";
import { type Guest, Guests } from "./guest.js";
import { NOTHING_LEFT } from "./peer.js";

const HOST = "127.0.0.1";
/** Callers at once. */
const COUNT = 10;
/** claimWaitMs of servers whose waits for claims do not end by themselves: a number of no other timer. */
const HELD_MS = 997;

const STILL_LISTENS = { ...NOTHING_LEFT, sockets: 1 };

const test = suite<{ guests: Guests }>("killed");
test.before.each((context) => {
  context.guests = new Guests();
});
test.after.each(({ guests }) => guests.send());

const run = testUnless(shmMissing(), test);

/** `count` calls over plain TCP: what was heard is what was said and not a byte more. */
const plain = (carrier: string, says: string, count: number): Call[] =>
  Array.from({ length: count }, (_, i) => ({ carrier, heard: `${says} ${i}` }));
/** Without the reason: for a moment there is an entry of the dead, and it is told that nobody answers there. */
const outcomes = (calls: readonly Call[]): Call[] => calls.map(({ carrier, heard }) => ({ carrier, heard }));
const sorted = (calls: readonly Call[]): Call[] => [...calls].sort((a, b) => (a.heard < b.heard ? -1 : 1));

run("a plain server that has taken over the port of a killed one never gets a byte of CLC", async ({ guests }) => {
  const [dying, heir, client] = [guests.add("the dying"), guests.add("the heir"), guests.add("the client")];
  // Both have the same listening socket, so that there is no moment in which nobody has the port.
  const server = net.createServer().listen(0, HOST);
  await happens(server, "listening");
  const callee = { host: HOST, port: (server.address() as AddressInfo).port };
  await dying.give(server, "adopt", "smcnet", "the dying");
  await heir.give(server, "adopt", "net", "the heir");
  server.close();
  let met = false;
  for (let i = 0; i < 100 && !met; i++) met = (await client.ask("call", "smcnet", callee, "hello")).carrier === "shm";
  assert.ok(met, "the client has met the one that will be killed");

  await heir.ask("taken", 0);
  const answered = await client.ask("killAndCalls", dying.pid, "smcnet", callee, "at once", COUNT);
  assert.equal(outcomes(answered), Array<Call>(COUNT).fill({ carrier: "TCP", heard: "the heir" }));
  assert.equal(sorted(await heir.ask("taken", COUNT)), plain("net", "at once", COUNT));
  assert.equal(
    outcomes(await client.ask("calls", "smcnet", callee, "later", COUNT)),
    Array<Call>(COUNT).fill({ carrier: "TCP", heard: "the heir" }),
  );
  assert.equal(sorted(await heir.ask("taken", COUNT)), plain("net", "later", COUNT));
  assert.equal(await client.ask("leftovers"), NOTHING_LEFT);
});

/** A server that waits for a claim as long as it takes, and a client that it has met. */
async function meet(guests: Guests): Promise<{ server: Guest; client: Guest; callee: { host: string; port: number } }> {
  const [server, client] = [guests.add("the server"), guests.add("the client")];
  await server.ask("holdClaimWaits", HELD_MS);
  const options = { smc: { claimWaitMs: HELD_MS } };
  const port = await server.ask("listen", "smcnet", { host: HOST, port: 0 }, "welcome", options);
  const callee = { host: HOST, port };
  assert.equal(await client.ask("call", "smcnet", callee, "hello"), { carrier: "shm", heard: "welcome" });
  assert.equal(await server.ask("taken", 1), [{ carrier: "shm", heard: "hello" }]);
  return { server, client, callee };
}

run("who waits for the claim of a client is served when that client is killed", async ({ guests }) => {
  const { server, client, callee } = await meet(guests);
  const others = guests.add("the others");
  client.tell("callAndFreeze", callee);
  await server.ask("claimWaits", 1);
  const answered = others.ask("calls", "net", callee, "plain", COUNT);
  await server.ask("claimWaits", 1 + COUNT);
  await client.kill();
  assert.equal(await answered, Array<Call>(COUNT).fill({ carrier: "net", heard: "welcome" }));
  const taken = await server.ask("taken", COUNT + 1);
  assert.equal(sorted(taken.filter(({ heard }) => heard.startsWith("plain"))), plain("TCP", "plain", COUNT));
  assert.equal(await server.ask("leftovers"), STILL_LISTENS);
});

for (const [moment, verb] of [
  ["with its intent open", "callAndFreeze"],
  ["when it was matched, before its Proposal", "callAndDieBeforeProposal"],
] as const) {
  run(`nobody who comes later waits for a client that was killed ${moment}`, async ({ guests }) => {
    const { server, client, callee } = await meet(guests);
    const others = guests.add("the others");
    client.tell(verb, callee);
    if (verb === "callAndFreeze") {
      await server.ask("claimWaits", 1);
      await client.kill();
    }
    await client.gone();
    assert.equal(
      await others.ask("calls", "net", callee, "plain", COUNT),
      Array<Call>(COUNT).fill({ carrier: "net", heard: "welcome" }),
    );
    assert.equal(await others.ask("call", "smcnet", callee, "by SMC"), { carrier: "shm", heard: "welcome" });
    assert.equal(await server.ask("leftovers"), STILL_LISTENS);
  });
}

test.run();
