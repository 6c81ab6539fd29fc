import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { certificates } from "../support/certificates.js";
import { testUnless } from "../support/missing.js";
import { abandonAll, type Manner, Program } from "./program.js";
import type { Seen } from "./programs/seen.js";

const test = suite("programs");
test.after.each(abandonAll);

interface Course {
  readonly seen: Seen;
  /** Distinct carriers of each side. */
  readonly client: readonly string[];
  readonly server: readonly string[];
}

const distinct = (names: readonly string[]): string[] => [...new Set(names)].sort();

/** Plays a program in two processes: serve, converse, end. */
async function play(name: string, server: Manner, client: Manner, argument?: unknown): Promise<Course> {
  const serving = new Program(name, server);
  const asking = new Program(name, client);
  const port = await serving.ask<number>("serve", argument);
  const told = await asking.ask<Seen | { seen: Seen; carriers: string[] }>("converse", port, argument);
  const isSeen = (value: typeof told): value is Seen => !Array.isArray(value["carriers"]);
  const seen = isSeen(told) ? told : told.seen;
  const published = await asking.carriers();
  const course = {
    seen,
    client: distinct(isSeen(told) ? published.client : told.carriers),
    server: distinct((await serving.carriers()).server),
  };
  await Promise.all([serving.stop(), asking.stop()]);
  return course;
}

async function compare(name: string, argument?: unknown): Promise<void> {
  const [reference, smc] = await Promise.all([play(name, "off", "off", argument), play(name, "smc", "smc", argument)]);
  assert.ok(Object.keys(reference.seen).length >= 7, "there is something to compare");
  assert.equal(reference.client, ["none"]);
  assert.equal(smc.seen, reference.seen);
  assert.equal([smc.client, smc.server], [["shm"], ["shm"]]);
}

for (const name of ["fastify", "ws", "undici", "fetch", "h2c", "socket.io"])
  test(`${name}: the same over SMC and over TCP`, () => compare(name));

for (const [server, client] of [
  ["smc", "plain"],
  ["plain", "smc"],
] as const) {
  test(`fastify: the same between a server (${server}) and a client (${client})`, async () => {
    const [reference, mixed] = await Promise.all([play("fastify", "plain", "plain"), play("fastify", server, client)]);
    assert.equal(mixed.seen, reference.seen);
    const of = (manner: Manner): string[] => [manner === "smc" ? "TCP" : "none"];
    assert.equal([mixed.server, mixed.client], [of(server), of(client)]);
  });
}

const pems = certificates();
testUnless(pems === undefined ? "no openssl to make certificates with" : undefined, test)(
  "https with client certificates: the same over SMC and over TCP",
  async () => {
    const { key, cert, clientKey, clientCert } = pems!;
    const text = (path: string): string => readFileSync(path, "utf8");
    await compare("https", {
      server: { key: text(key), cert: text(cert) },
      client: { key: text(clientKey), cert: text(clientCert) },
    });
  },
);

test.run();
