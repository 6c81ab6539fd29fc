/**
 * Hostile bytes on the TCP connection: instead of the handshake, and after it.
 *
 * Allowed outcomes for a handshake of random bytes: the server drops the connection, or goes on as TCP and hands on what the client
 * sent, from some byte on and unchanged. Bytes after a handshake end the connection. The server serves everybody else as before.
 * Anything else fails.
 */
import net, { type AddressInfo, type Server, type Socket } from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as smc from "../../src/index.js";
import { journal, readAll } from "../net/scenario.js";
import { checkNothingLeft } from "../net/stage.js";
import { closed, dial, listen } from "../support/pair.js";
import { type Prng, prngFor } from "../support/prng.js";
import { checkCarrier, transport } from "../support/transports.js";
import { happens, within } from "../support/watchdog.js";

const ALWAYS = { negotiateAlways: true };

/** Codes a socket may fail with when its peer breaks the protocol. */
const RESETS = ["ECONNRESET", "EPIPE"];

const test = suite("stress: hostile handshakes");
let pagesBefore = 0;
test.before(() => {
  pagesBefore = smc.poolFreePages();
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
