/**
 * Containers whose addresses mislead: two of the same, and destinations that are not where the bytes go. A client gets SMC with
 * whom it is connected to, else TCP with every byte right, and never is a CLC byte heard by an application.
 *
 * Root only; translation of addresses needs nft as well.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { shmMissing, testUnless } from "../support/missing.js";
import { containersMissing, Link, translationMissing } from "../support/namespaces.js";
import type { Call } from "./guest.child.js";
import { type Guest, Guests } from "./guest.js";
import { NOTHING_LEFT } from "./peer.js";

const SERVER = "10.83.7.2";
const CLIENT = "10.83.7.1";
/** What a client is taken for. */
const MASK = "10.83.7.3";
const CALLEE = { host: SERVER, port: 4000 };
/** Calls at once, and how often. */
const COUNT = 12;
const ROUNDS = 3;
const PORTS_A = 20_000;
const PORTS_B = 21_000;

const STILL_LISTENS = { ...NOTHING_LEFT, sockets: 1 };

interface Context {
  guests: Guests;
  /** A link with the same two addresses as every other one. */
  link(): Link;
  links: Link[];
}

const test = suite<Context>("containers");
test.before.each((context) => {
  const guests = new Guests();
  context.guests = guests;
  context.links = [];
  context.link = () => {
    const link = new Link([SERVER, CLIENT], guests.directory);
    context.links.push(link);
    return link;
  };
});
test.after.each(async ({ guests, links }) => {
  await guests.send();
  for (const link of links) link.remove();
});

const noContainers = shmMissing() ?? containersMissing();
const contained = testUnless(noContainers, test);
const translated = testUnless(noContainers ?? translationMissing(), test);

/** COUNT calls as callers see them. */
const calls = (carrier: string, by: string): Call[] => Array<Call>(COUNT).fill({ carrier, heard: by });
/** COUNT calls as they are heard. */
const numbered = (carrier: string, says: string): Call[] =>
  Array.from({ length: COUNT }, (_, i) => ({ carrier, heard: `${says} ${i}` }));
const numberOf = ({ heard }: Call): number => Number(heard.split(" ").at(-1));
const byNumber = (taken: readonly Call[]): Call[] => [...taken].sort((a, b) => numberOf(a) - numberOf(b));
const words = (some: readonly Call[]): string[] => byNumber(some).map(({ heard }) => heard);

/** Server and client of a link, the server listening as `maker`. */
async function furnish({ guests, link }: Context, name: string, maker: "net" | "smcnet"): Promise<[Guest, Guest]> {
  const [inside, outside] = link().containers;
  const server = guests.add(`server ${name}`, inside);
  const client = guests.add(`client ${name}`, outside);
  await server.ask("listen", maker, CALLEE, `server ${name}`);
  return [server, client];
}

/**
 * Two servers with one address, and a client with one address for each: what all of them heard, by the calls of ROUNDS rounds.
 * `portsB`: local ports of client B; client A's are PORTS_A and on. The kernel, left to itself, now and then gives both the same.
 */
async function callTwins(context: Context, makerB: "net" | "smcnet", portsB: number) {
  const [serverA, clientA] = await furnish(context, "A", "smcnet");
  const [serverB, clientB] = await furnish(context, "B", makerB);
  const carriedA = new Set<string>();
  const carriedB = new Set<string>();
  for (let round = 0; round < ROUNDS; round++) {
    // A port is not free again at once.
    const from = (ports: number) => ({ ...CALLEE, localPort: ports + round * COUNT });
    const [toA, toB] = await Promise.all([
      clientA.ask("calls", "smcnet", from(PORTS_A), "client A", COUNT),
      clientB.ask("calls", "smcnet", from(portsB), "client B", COUNT),
    ]);
    assert.equal(words(toA), words(calls("", "server A")), "what server A answered");
    assert.equal(words(toB), words(calls("", "server B")), "what server B answered");
    assert.equal(words(await serverA.ask("taken", COUNT)), words(numbered("", "client A")), "what server A heard");
    assert.equal(words(await serverB.ask("taken", COUNT)), words(numbered("", "client B")), "what server B heard");
    for (const { carrier } of toA) carriedA.add(carrier);
    for (const { carrier } of toB) carriedB.add(carrier);
  }
  assert.equal(await serverA.ask("leftovers"), STILL_LISTENS);
  if (makerB === "smcnet") assert.equal(await serverB.ask("leftovers"), STILL_LISTENS);
  for (const client of [clientA, clientB]) assert.equal(await client.ask("leftovers"), NOTHING_LEFT);
  return [[...carriedA], [...carriedB]];
}

contained("two containers with the same address: each client gets SMC with its own server", async (context) => {
  assert.equal(await callTwins(context, "smcnet", PORTS_B), [["shm"], ["shm"]]);
});

contained("two containers with the same address, one without SMC: it never gets a byte of CLC", async (context) => {
  assert.equal(await callTwins(context, "net", PORTS_B), [["shm"], ["TCP"]]);
});

for (const maker of ["smcnet", "net"] as const) {
  const name = "the same with the same ports of the clients, too: equal 4-tuples are not mixed up";
  contained(`${name} · server B is ${maker}`, async (context) => {
    const carrierB = maker === "smcnet" ? "shm" : "TCP";
    assert.equal(await callTwins(context, maker, PORTS_A), [["shm"], [carrierB]]);
  });
}

contained("a second address of a server that was met is proven as well", async (context) => {
  const [inside, outside] = context.link().containers;
  context.links[0]!.addAddress(0, MASK);
  const server = context.guests.add("the server", inside);
  const client = context.guests.add("the client", outside);
  await server.ask("listen", "smcnet", { ...CALLEE, host: "0.0.0.0" }, "server");
  for (const host of [SERVER, MASK]) {
    assert.equal(await client.ask("calls", "smcnet", { ...CALLEE, host }, "client", COUNT), calls("shm", "server"));
    assert.equal(byNumber(await server.ask("taken", COUNT)), numbered("shm", "client"), host);
  }
});

contained("a probe whose first datagrams are lost is sent again", async (context) => {
  const [server, client] = await furnish(context, "A", "smcnet");
  await client.ask("loseDatagrams", 2);
  assert.equal(await client.ask("calls", "smcnet", CALLEE, "client", COUNT), calls("shm", "server A"));
  assert.equal(byNumber(await server.ask("taken", COUNT)), numbered("shm", "client"));
});

/** Has what listens in `directory` say that it takes probes at another port. */
function misplaceProbes(directory: string, probe: number): void {
  const listeners = join(directory, "l");
  for (const name of readdirSync(listeners, { recursive: true, encoding: "utf8" }).filter((it) => it.includes("/"))) {
    const entry = join(listeners, name);
    const told = JSON.parse(readFileSync(entry, "utf8")) as { probe: number };
    assert.ok(told.probe > 0, "it takes probes");
    writeFileSync(entry, JSON.stringify({ ...told, probe }));
  }
}

for (const [what, probe] of [
  ["takes none", 0],
  ["never gets one", 1],
] as const) {
  contained(
    `a server that cannot be proven to be there, because it ${what}: TCP with every byte right`,
    async (context) => {
      const [server, client] = await furnish(context, "A", "smcnet");
      misplaceProbes(context.guests.directory, probe);
      for (let round = 0; round < ROUNDS; round++) {
        assert.equal(await client.ask("calls", "smcnet", CALLEE, "client", COUNT), calls("TCP", "server A"));
        assert.equal(byNumber(await server.ask("taken", COUNT)), numbered("TCP", "client"));
      }
      assert.equal(await client.ask("leftovers"), NOTHING_LEFT);
    },
  );
}

contained("a forwarded port where another container has a server: TCP with every byte right", async (context) => {
  const [serverA] = await furnish(context, "A", "smcnet");
  const [inside, outside] = context.link().containers;
  const [forwarder, serverB, client] = [
    context.guests.add("the forwarder", inside),
    context.guests.add("server B", inside),
    context.guests.add("the client", outside),
  ];
  // The client finds server A under this address, and is connected to server B.
  const behind = { host: SERVER, port: CALLEE.port + 1 };
  await serverB.ask("listen", "smcnet", behind, "server B");
  await forwarder.ask("forward", CALLEE, behind);
  assert.equal(await client.ask("calls", "smcnet", CALLEE, "client", COUNT), calls("TCP", "server B"));
  assert.equal(byNumber(await serverB.ask("taken", COUNT)), numbered("TCP", "client"));
  assert.equal(await serverA.ask("taken", 0), []);
});

translated("a destination that is translated: TCP with every byte right", async (context) => {
  const [server, client] = await furnish(context, "A", "smcnet");
  const [link] = context.links;
  // It listens there as well, but what comes is given to the other socket: the ports that the two ends see differ.
  const announced = { host: SERVER, port: CALLEE.port + 1 };
  await server.ask("listen", "smcnet", announced, "nobody");
  link!.translate(0, "prerouting", `tcp dport ${announced.port} dnat to ${SERVER}:${CALLEE.port}`);
  assert.equal(await client.ask("calls", "smcnet", CALLEE, "client", COUNT), calls("shm", "server A"));
  assert.equal(byNumber(await server.ask("taken", COUNT)), numbered("shm", "client"));
  assert.equal(await client.ask("calls", "smcnet", announced, "client", COUNT), calls("TCP", "server A"));
  assert.equal(byNumber(await server.ask("taken", COUNT)), numbered("TCP", "client"));
});

translated("a source that is translated: TCP with every byte right", async (context) => {
  const [server, client] = await furnish(context, "A", "smcnet");
  const [link] = context.links;
  link!.addAddress(1, MASK);
  link!.translate(1, "postrouting", `ip daddr ${SERVER} snat to ${MASK}`);
  assert.equal(await client.ask("calls", "smcnet", CALLEE, "client", COUNT), calls("TCP", "server A"));
  assert.equal(byNumber(await server.ask("taken", COUNT)), numbered("TCP", "client"));
});

test.run();
