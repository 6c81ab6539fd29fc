/**
 * A hostile peer in the same process: it overwrites the words of live connections with random values, and the bytes of the handshake.
 *
 * Allowed outcomes for a connection whose words were overwritten: it works; it ends; it is reset. Every byte it delivers was in its own
 * ring. Allowed outcomes for a handshake of random bytes: the server drops the connection, or goes on as TCP and hands on what the
 * client sent, from some byte on and unchanged. The server serves everybody else as before. Anything else fails.
 *
 * SMC_TEST_HOSTILE sets how many connections are attacked; 5,000 by default.
 */
import net, { type AddressInfo, type Server, type Socket } from "node:net";
import { Worker } from "node:worker_threads";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { CDC_CONS_OFFSET, CDC_PROD_OFFSET, CDC_SIZE } from "../../assembly/shared/layout.js";
import * as smc from "../../src/index.js";
import { journal, readAll } from "../net/scenario.js";
import { checkNothingLeft } from "../net/stage.js";
import { closed, connectPair, dial, listen } from "../support/pair.js";
import { type Prng, prngFor } from "../support/prng.js";
import { checkCarrier, type TransportName, transport } from "../support/transports.js";
import { happens, until, within } from "../support/watchdog.js";
import type { HostileData } from "./hostile.worker.js";
import { HostileView } from "./hostile-arena.js";

const TRIES = Number(process.env["SMC_TEST_HOSTILE"] ?? 5_000);
const ALWAYS = { negotiateAlways: true };

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

/** A TCP relay before `target`: what comes in goes out, until the test puts something of its own in between. */
class Relay {
  readonly server = net.createServer((near) => this.#join(near));
  readonly ends: { near: Socket; far: Socket }[] = [];
  readonly #target: number;

  constructor(target: number) {
    this.#target = target;
  }

  async open(): Promise<number> {
    this.server.listen(0, "127.0.0.1");
    await happens(this.server, "listening");
    return (this.server.address() as AddressInfo).port;
  }

  #join(near: Socket): void {
    const far = net.connect(this.#target, "127.0.0.1");
    this.ends.push({ near, far });
    for (const socket of [near, far]) socket.on("error", () => undefined);
    near.pipe(far);
    far.pipe(near);
    near.on("close", () => far.destroy());
    far.on("close", () => near.destroy());
  }

  close(): void {
    for (const { near } of this.ends) near.destroy();
    this.server.close();
  }
}

/** A server that always negotiates, and echoes. */
async function serveAlways(): Promise<[Server, number]> {
  const [server, port] = await listen(transport("smcd"), { smc: ALWAYS });
  server.on("connection", (socket: Socket) => {
    socket.on("error", () => undefined);
    socket.on("data", (chunk) => socket.write(chunk));
    socket.on("end", () => socket.end());
  });
  return [server, port];
}

const dialAlways = (port: number): Socket => dial(transport("smcd"), port, { smc: ALWAYS });

/** Errors: fails unless the server still serves an honest client over SMC. */
async function servesOn(port: number): Promise<void> {
  const socket = dialAlways(port);
  await happens(socket, "connect");
  checkCarrier(socket, transport("smcd"), "client");
  socket.end("still there?");
  assert.is(String(await readAll(socket)), "still there?");
  await closed(socket);
}

test("bytes on the TCP connection after the handshake end the connection at once, without harm to what was sent before", async () => {
  const [server, port] = await serveAlways();
  const relay = new Relay(port);
  const through = await relay.open();
  const random = prngFor("late bytes");
  for (let i = 0; i < 40; i++) {
    const accepted = happens(server, "connection");
    const socket = dialAlways(through);
    const connected = happens(socket, "connect");
    const [peer] = (await accepted) as [Socket];
    await connected;
    assert.equal([socket.smc?.mode, peer.smc?.mode], ["SMCD", "SMCD"]);
    const ends = [journal(socket), journal(peer)];
    const echoed = happens(socket, "data");
    socket.write("before");
    const [chunk] = (await echoed) as [Buffer];
    assert.is(String(chunk), "before");
    const { near, far } = relay.ends.at(-1)!;
    const junk = Buffer.from(random.fill(Buffer.alloc(random.pick([1, 2, 100, 70_000]))));
    (random.oneIn(2) ? near : far).write(junk);
    for (const end of ends) {
      await end.closed();
      const { error } = end;
      assert.ok(error === undefined || RESETS.includes(String(error["code"])), JSON.stringify(error));
      assert.ok(error !== undefined || end.events.includes("end"), `${end.events}`);
    }
  }
  await servesOn(port);
  relay.close();
  server.close();
});

/** The messages of an honest client in an honest handshake with `port`: Proposal and Confirm. */
async function honestMessages(port: number): Promise<[Buffer, Buffer]> {
  const sent: Buffer[] = [];
  const note = (message: unknown) => {
    const { direction, role, bytes } = message as { direction: string; role: string; bytes: Uint8Array };
    if (role === "client" && direction === "sent") sent.push(Buffer.from(bytes));
  };
  smc.channels.clc.subscribe(note);
  try {
    await servesOn(port);
  } finally {
    smc.channels.clc.unsubscribe(note);
  }
  assert.is(sent.length, 2);
  return sent as [Buffer, Buffer];
}

/** One attempt at a handshake: what is written first, and what as an answer to the server's first words. */
interface Attempt {
  readonly name: string;
  readonly first: Buffer;
  readonly answer?: Buffer;
}

/** An honest Decline of version 1, 28 bytes. Source: RFC 7609 Appendix A; smc-protocol §2. */
const DECLINE = Buffer.concat([
  Buffer.from("e2d4c3d904001c10", "hex"),
  Buffer.alloc(8, 1),
  Buffer.from("0301000000000000", "hex"),
  Buffer.from("e2d4c3d9", "hex"),
]);

function mutilated(message: Buffer, random: Prng): Buffer {
  const bytes = Buffer.from(message);
  for (let changes = random.between(1, 6); changes > 0; changes--)
    bytes[random.below(bytes.length)] = random.below(256);
  return random.oneIn(3) ? bytes.subarray(0, random.below(bytes.length + 1)) : bytes;
}

function attempts(proposal: Buffer, confirm: Buffer): Attempt[] {
  const random = prngFor("handshakes");
  const list: Attempt[] = [];
  for (let length = 0; length <= proposal.length; length++)
    list.push({ name: `Proposal cut after ${length} bytes`, first: proposal.subarray(0, length) });
  for (let at = 0; at < proposal.length; at++) {
    for (const change of [0x01, 0x80, 0xff]) {
      const first = Buffer.from(proposal);
      first[at]! ^= change;
      list.push({ name: `Proposal with byte ${at} changed by ${change}`, first });
    }
  }
  for (let i = 0; i < 300; i++) list.push({ name: `mutilated Proposal ${i}`, first: mutilated(proposal, random) });
  for (let i = 0; i < 100; i++) {
    const first = Buffer.from(random.fill(Buffer.alloc(random.between(1, 3_000))));
    if (random.oneIn(2)) proposal.copy(first, 0, 0, random.between(1, 8));
    list.push({ name: `random bytes ${i}`, first });
  }
  for (let length = 0; length <= confirm.length; length += 3)
    list.push({ name: `Confirm cut after ${length} bytes`, first: proposal, answer: confirm.subarray(0, length) });
  for (let i = 0; i < 200; i++)
    list.push({ name: `mutilated Confirm ${i}`, first: proposal, answer: mutilated(confirm, random) });
  list.push({ name: "Decline", first: proposal, answer: DECLINE });
  for (let i = 0; i < 50; i++)
    list.push({ name: `mutilated Decline ${i}`, first: proposal, answer: mutilated(DECLINE, random) });
  for (let i = 0; i < 50; i++)
    list.push({
      name: `random answer ${i}`,
      first: proposal,
      answer: Buffer.from(random.fill(Buffer.alloc(random.between(1, 3_000)))),
    });
  return list;
}

test("handshakes of damaged, cut and random bytes: dropped, or handed on unchanged; never more, and nobody else suffers", async () => {
  const arrived = new Map<string, Buffer[]>();
  const [server, port] = await listen(transport("smcd"), { smc: ALWAYS });
  server.on("connection", (socket: Socket) => {
    const chunks: Buffer[] = [];
    arrived.set(`${socket.remotePort}`, chunks);
    socket.on("error", () => undefined);
    socket.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      socket.write(chunk);
    });
  });
  const [proposal, confirm] = await honestMessages(port);
  const list = attempts(proposal, confirm);
  let next = 0;
  const wrong: string[] = [];
  let handedOn = 0;

  /** Writes, says that this was all, and reads to the end. */
  async function attempt({ name, first, answer }: Attempt): Promise<void> {
    const socket = net.connect(port, "127.0.0.1");
    socket.on("error", () => undefined);
    await happens(socket, "connect");
    const own = `${socket.localPort}`;
    if (answer === undefined) socket.end(first);
    else {
      socket.write(first);
      socket.once("data", () => socket.end(answer));
    }
    socket.resume();
    await within(closed(socket), `${name}: the end of the connection`);
    const got = arrived.get(own);
    arrived.delete(own);
    if (got === undefined) return;
    handedOn++;
    const all = Buffer.concat([first, answer ?? Buffer.alloc(0)]);
    const seen = Buffer.concat(got);
    if (seen.length > all.length || !all.subarray(all.length - seen.length).equals(seen))
      wrong.push(`${name}: the application got ${seen.toString("hex")}`);
  }

  async function lane(): Promise<void> {
    for (let item = list[next++]; item !== undefined; item = list[next++]) await attempt(item);
  }
  await Promise.all(Array.from({ length: 16 }, lane));
  assert.equal(wrong, []);
  assert.ok(handedOn > 0, "bytes that are no CLC belong to the application");
  await servesOn(port);
  server.close();
});

test("no doorbell was rescued and every page came back", () => checkNothingLeft(pagesBefore));

test.run();
