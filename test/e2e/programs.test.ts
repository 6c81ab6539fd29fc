/**
 * Programs and libraries that know nothing of smcnet, with its preload: the same is seen over SMC as with SMC=off, by SHA-256,
 * and every socket was carried by what it should be.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { testUnless } from "../support/missing.js";
import { abandonAll, type Manner, Program } from "./program.js";
import type { Certificates } from "./programs/https.js";
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

/** A key and a certificate signed by itself, PEM. */
function certificate(folder: string, name: string): { key: string; cert: string } {
  const [key, cert] = [join(folder, `${name}.key`), join(folder, `${name}.pem`)];
  const made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
  const named = ["-subj", `/CN=${name}`, "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert];
  const { status, stderr } = spawnSync("openssl", [...made, ...named], { encoding: "utf8" });
  if (status !== 0) throw new Error(`openssl: ${stderr}`);
  return { key: readFileSync(key, "utf8"), cert: readFileSync(cert, "utf8") };
}

const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;
const certified = testUnless(hasOpenssl ? undefined : "no openssl to make certificates with", test);
certified("https with client certificates: the same over SMC and over TCP", async () => {
  const folder = mkdtempSync(join(tmpdir(), "smcnet-certificates-"));
  try {
    const certificates: Certificates = { server: certificate(folder, "server"), client: certificate(folder, "client") };
    await compare("https", certificates);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
