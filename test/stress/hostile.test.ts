/**
 * A hostile peer in the same process: it overwrites the words of live connections with random values.
 *
 * Allowed outcomes for a connection whose words were overwritten: it works; it ends; it is reset. Every byte it delivers was in its own
 * ring. Anything else fails.
 *
 * SMC_TEST_HOSTILE sets how many connections are attacked; 5,000 by default.
 */
import type { Socket } from "node:net";
import { Worker } from "node:worker_threads";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { CDC_CONS_OFFSET, CDC_PROD_OFFSET, CDC_SIZE } from "../../assembly/shared/layout.js";
import * as smc from "../../src/index.js";
import { journal } from "../net/scenario.js";
import { checkNothingLeft } from "../net/stage.js";
import { closed, connectPair, listen } from "../support/pair.js";
import { prngFor } from "../support/prng.js";
import { checkCarrier, type TransportName, transport } from "../support/transports.js";
import { happens, until, within } from "../support/watchdog.js";
import type { HostileData } from "./hostile.worker.js";
import { HostileView } from "./hostile-arena.js";

const TRIES = Number(process.env["SMC_TEST_HOSTILE"] ?? 5_000);

/** Codes a socket may fail with when its peer breaks the protocol. */
const RESETS = ["ECONNRESET", "EPIPE"];

const test = suite("stress: hostile");
let pagesBefore = 0;
test.before(() => {
  pagesBefore = smc.poolFreePages();
});

/** Words overwritten on `tries` connections of a Worker to this thread. */
async function attackWords(carrier: TransportName, tries: number, fill: boolean): Promise<Record<string, number>> {
  const outcomes: Record<string, number> = { ended: 0, reset: 0, closed: 0 };
  const wrong: string[] = [];
  const random = prngFor(`attacked ${carrier}`);
  const [server, port] = await listen(transport(carrier));
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    checkCarrier(socket, transport(carrier), "server");
    let tag = 0;
    let ended = false;
    let reset = false;
    socket.on("data", (chunk: Buffer) => {
      tag ||= chunk.find((byte) => byte !== 0) ?? 0;
      // A ring is zero until its peer writes to it, whoever had its memory before; no two attacked at a time have the same byte.
      const foreign = chunk.find((byte) => byte !== 0 && byte !== tag);
      if (foreign !== undefined) wrong.push(`a byte ${foreign} in the ring of ${tag}`);
    });
    if (random.oneIn(2)) socket.write(Buffer.alloc(random.between(1, 100_000)));
    socket.on("end", () => {
      ended = true;
    });
    socket.on("error", (error: NodeJS.ErrnoException) => {
      reset = true;
      if (!RESETS.includes(String(error.code))) wrong.push(`${error.code}: ${error.message}`);
    });
    socket.on("close", () => {
      sockets.delete(socket);
      outcomes[reset ? "reset" : ended ? "ended" : "closed"]!++;
    });
  });
  const workerData: HostileData = { port, transport: carrier, tries, atOnce: 16, fill };
  const worker = new Worker(new URL("../stress/hostile.worker.mjs", import.meta.url), { workerData });
  const failed = new Promise<never>((_, reject) => worker.once("error", reject));
  failed.catch(() => undefined);
  try {
    await Promise.race([
      within(new Promise((done) => worker.once("message", done)), "the attacks", 30_000 + tries * 20),
      failed,
    ]);
    await within(Promise.all([...sockets].map(closed)), "the attacked sockets to close");
  } finally {
    await worker.terminate();
    server.close();
  }
  assert.equal(wrong, []);
  return outcomes;
}

// First the rings that only honest writes have touched: what is written past the protocol is not cleared after its connection.
for (const fill of [false, true]) {
  for (const carrier of ["smcd", "smcd-copy"] as const) {
    const tries = Math.ceil(TRIES / 4);
    const rings = fill ? "filled rings" : "clean rings";
    test(`${tries} connections whose words are overwritten work, end, or are reset · ${rings} · ${carrier}`, async () => {
      const outcomes = await attackWords(carrier, tries, fill);
      assert.is(outcomes["ended"]! + outcomes["reset"]! + outcomes["closed"]!, tries);
      assert.ok(outcomes["reset"]! > 0, "illegal words end in a reset");
    });
  }
}

/** Words that no honest peer writes after `sent` bytes one way and none the other; on a ring of `size` bytes. */
function illegalWords(size: number): { name: string; offset: number; word: bigint }[] {
  const cursor = (wrap: number, count: number) => BigInt(wrap) | (BigInt(count) << 16n);
  const producer: [string, bigint][] = [
    ["a count at the ring's end", cursor(0, size)],
    ["a count beyond the ring", cursor(0, 0x7fff_ffff)],
    ["the largest count", cursor(0, 0xffff_ffff)],
    ["less than was read", cursor(0, SENT - 1)],
    ["more than a ring ahead", cursor(1, SENT + 1)],
    ["two wraps ahead", cursor(2, 0)],
    ["a wrap behind", cursor(0xffff, SENT)],
    ["bits above the cursor", cursor(0, SENT) | (1n << 48n)],
    ["the highest bit", cursor(0, SENT) | (1n << 63n)],
  ];
  const consumer: [string, bigint][] = [
    ["a count at the ring's end", cursor(0, size)],
    ["more than was sent", cursor(0, 1)],
    ["a wrap ahead", cursor(1, 0)],
    ["a wrap behind", cursor(0xffff, 0)],
    ["producer flags that mean nothing", 7n << 48n],
    ["state flags that mean nothing", 0x1fn << 56n],
  ];
  return [
    ...producer.map(([name, word]) => ({ name: `producer: ${name}`, offset: CDC_PROD_OFFSET, word })),
    ...consumer.map(([name, word]) => ({ name: `consumer: ${name}`, offset: CDC_CONS_OFFSET, word })),
  ];
}
const SENT = 1000;

/** Makes a socket take in its words: its handle is paused and goes on. */
function look(socket: Socket): void {
  const { _handle } = socket as unknown as { _handle: { readStop(): number; readStart(): number } };
  _handle.readStop();
  _handle.readStart();
}

for (const carrier of ["smcd", "smcd-copy"] as const) {
  test(`each illegal word ends in ECONNRESET, on whichever side it is · ${carrier}`, async () => {
    const view = new HostileView();
    const names = illegalWords(1).map(({ name }) => name);
    for (const [index, name] of names.entries()) {
      const { client, accepted, close } = await connectPair(transport(carrier));
      const [victim, culprit] = index % 2 === 0 ? [accepted, client] : [client, accepted];
      culprit.on("error", () => undefined);
      culprit.resume();
      culprit.write(Buffer.alloc(SENT));
      const [chunk] = (await happens(victim, "data")) as [Buffer];
      assert.is(chunk.length, SENT);
      const seen = journal(victim);
      const target = view.byToken(BigInt(`0x${victim.smc!.token}`))!;
      const { offset, word } = illegalWords(target.ringSize)[index]!;
      Atomics.store(view.words, (target.cdc + offset) / 8, word);
      look(victim);
      await seen.closed();
      assert.equal([seen.events, seen.error?.["code"]], [["error", "close(true)"], "ECONNRESET"], name);
      await close();
    }
  });
}

for (const carrier of ["smcd", "smcd-copy"] as const) {
  test(`a producer cursor ahead of what was written shows zeros, not what the memory held before · ${carrier}`, async () => {
    const view = new HostileView();
    for (let tag = 1; tag <= 16; tag++) {
      const { client, accepted, close } = await connectPair(transport(carrier));
      const [culprit, victim] = tag % 2 === 0 ? [client, accepted] : [accepted, client];
      // The victim's consumer cursor will be beyond what the culprit knows to have sent.
      for (const socket of [culprit, victim]) socket.on("error", () => undefined);
      culprit.write(Buffer.alloc(10, tag));
      await happens(victim, "data");
      const got: Buffer[] = [];
      victim.on("data", (chunk: Buffer) => got.push(chunk));
      const { cdc, ringSize } = view.byToken(BigInt(`0x${victim.smc!.token}`))!;
      Atomics.store(view.words, (cdc + CDC_PROD_OFFSET) / 8, BigInt(ringSize - 1) << 16n);
      look(victim);
      const length = () => got.reduce((sum, chunk) => sum + chunk.length, 0);
      await until(() => length() === ringSize - 11, "all that the cursor claims");
      const foreign = Buffer.concat(got).findIndex((byte) => byte !== 0);
      assert.is(foreign, -1, `round ${tag}`);
      await close();
      // An honest connection leaves its bytes in the memory.
      const honest = await connectPair(transport(carrier));
      for (const socket of [honest.client, honest.accepted]) {
        socket.resume();
        socket.end(Buffer.alloc(30_000, 0x80 + tag));
      }
      await Promise.all([honest.client, honest.accepted].map(closed));
      await honest.close();
      await until(() => smc.poolFreePages() === pagesBefore, "the memory to be free again");
    }
  });
}

test("a close flag that vanishes again ends the connection: what is written later fails", async () => {
  const view = new HostileView();
  const { client, accepted, close } = await connectPair(transport("smcd"), { client: { allowHalfOpen: true } });
  accepted.on("error", () => undefined);
  client.resume();
  accepted.end();
  await happens(client, "end");
  const seen = journal(client);
  const { cdc } = view.byToken(BigInt(`0x${client.smc!.token}`))!;
  Atomics.store(view.words, (cdc + CDC_CONS_OFFSET) / 8, 0n);
  look(client);
  await new Promise((resolve) => setImmediate(resolve));
  client.write("late");
  await seen.closed();
  assert.ok(RESETS.includes(String(seen.error?.["code"])), `${seen.events}`);
  await close();
});

test("an illegal word that a writer meets while it looks for room is ECONNRESET as well", async () => {
  const view = new HostileView();
  const { client, accepted, close } = await connectPair(transport("smcd"));
  accepted.pause();
  const seen = journal(client);
  const { cdc } = view.byToken(BigInt(`0x${client.smc!.token}`))!;
  // Fills the ring, and no more: nothing is queued.
  const room = client.smc!.peerBufSize! - CDC_SIZE;
  client.write(Buffer.alloc(room));
  await until(() => client.writableLength === 0, "the ring to be full");
  Atomics.store(view.words, (cdc + CDC_CONS_OFFSET) / 8, 7n << 48n);
  client.write("more");
  await seen.closed();
  assert.is(seen.error?.["code"], "ECONNRESET");
  await close();
});

test("no doorbell was rescued and every page came back", () => checkNothingLeft(pagesBefore));

test.run();
