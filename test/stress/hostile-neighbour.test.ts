/**
 * A hostile process that says it listens: what honest clients that look for it, and who connects where it said, have to bear.
 *
 * Always as in hostile-process.test.ts: the client that met it goes on as TCP, or fails alone; everybody else is served; everything
 * comes back.
 */
import { readSync, writeSync } from "node:fs";
import net, { type AddressInfo, type Server, type Socket } from "node:net";
import * as assert from "uvu/assert";
import { CLAIM_CLAIMED, CLAIM_MATCHED, CONTROL_RENDEZVOUS } from "../../assembly/shared/codes.js";
import {
  BOX_DESK,
  CLAIM_CAPACITY,
  CLAIM_KEY,
  CLAIM_SIZE,
  CLAIM_STATE,
  DESK_CLAIMS,
  DESK_INTENTS,
  KEY_SIZE,
  STACK_CONTROL,
} from "../../assembly/shared/layout.js";
import { libcFunction } from "../../src/host/libc.js";
import { writeTuple } from "../../src/rendezvous/address.js";
import { happens, until } from "../support/watchdog.js";
import { type Scene, type Seen, suiteOfLies } from "./hostile.js";
import {
  bellPair,
  close,
  closeMade,
  ifPossible,
  MOST_DESCRIPTORS,
  made,
  sealedMemfd,
  sendRaw,
  WRONG_BELLS,
  WRONG_MEMFDS,
} from "./hostile-descriptors.js";
import { type Asked, HostileListener } from "./hostile-listener.js";
import { BOX_BYTES, HostilePeer } from "./hostile-peer.js";

const { lies, run } = suiteOfLies("stress: hostile neighbour");

const WORDS = "a word";

/** A server that knows nothing of SMC: echoes, and keeps what it got. */
class Plain {
  readonly got: Buffer[] = [];
  readonly #server: Server = net.createServer((socket: Socket) => {
    socket.on("error", () => undefined);
    socket.on("data", (chunk: Buffer) => {
      this.got.push(chunk);
      socket.write(chunk);
    });
    socket.on("end", () => socket.end());
  });

  async listen(): Promise<number> {
    this.#server.listen(0, "127.0.0.1");
    await happens(this.#server, "listening");
    return (this.#server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    this.#server.close();
    await happens(this.#server, "close");
  }
}

/** The victim connects to a plain server at whose address a liar says that it listens; `lie`: also where. */
async function meetLiar(
  scene: Scene,
  answer: (listener: HostileListener, asked: Asked) => void,
  lie?: Parameters<HostileListener["pretend"]>[0],
) {
  const plain = new Plain();
  const port = await plain.listen();
  let contacts = 0;
  const listener = new HostileListener((asked) => {
    contacts++;
    answer(listener, asked);
  });
  await listener.enter(scene.directory, port);
  if (lie !== undefined) listener.pretend(lie);
  const seen = await scene.victim.ask<Seen>({ name: "dial", port });
  await listener.close();
  await plain.close();
  return { seen, contacts, got: Buffer.concat(plain.got) };
}

type Lie = (listener: HostileListener, asked: Asked) => void;

function wrongAnswers(): Record<string, Lie> {
  const gifts = (): number[] => [bellPair()[0], sealedMemfd(BOX_BYTES)];
  const changed =
    (change: Parameters<HostileListener["answer"]>[1], descriptors = gifts): Lie =>
    (listener, asked) =>
      sendRaw(asked.socket, listener.answer(asked, change), descriptors());
  const raw =
    (bytes: (listener: HostileListener, asked: Asked) => Uint8Array): Lie =>
    (listener, asked) =>
      sendRaw(asked.socket, bytes(listener, asked), gifts());
  const wrong: Record<string, Lie> = {
    "another GID": changed({ gid: 7n }),
    "another slot": changed({ slot: 3 }),
    "another generation": changed({ generation: 5 }),
    "another nonce": changed({ nonce: 1n }),
    "no gifts": changed({ gifts: false }, () => []),
    "gifts that did not come": changed({}, () => []),
    "a refusal with gifts": changed({ refusal: 4 }),
    "a refusal that is unknown": changed({ refusal: 200 }),
    "one byte": raw(() => Buffer.of(1)),
    "an answer cut short": raw((listener, asked) => listener.answer(asked).subarray(0, 319)),
    zeros: raw(() => new Uint8Array(320)),
    "253 descriptors": changed({}, () => Array.from({ length: MOST_DESCRIPTORS }, () => gifts()[0]!)),
    silence: () => undefined,
    "the end of the socket": (_, { socket }) => sendRaw(socket, new Uint8Array(1)),
  };
  for (const [name, kind] of Object.entries(WRONG_BELLS)) {
    wrong[`${name} for a bell`] = changed({}, () => [ifPossible(name, kind) ?? bellPair()[0], sealedMemfd(4096)]);
  }
  for (const [name, kind] of Object.entries(WRONG_MEMFDS)) {
    wrong[`${name} for a box`] = changed({}, () => [
      bellPair()[0],
      ifPossible(name, () => kind(BOX_BYTES)) ?? sealedMemfd(4096),
    ]);
  }
  return wrong;
}

lies("a client that gets any wrong answer, or none, goes on as TCP without a byte of SMC", async (scene) => {
  for (const [name, answer] of Object.entries(wrongAnswers())) {
    const { seen, contacts, got } = await meetLiar(scene, (listener, asked) => {
      answer(listener, asked);
      sendRaw(asked.bell, Buffer.of(1));
    });
    assert.equal([seen.mode, seen.bytes, seen.errors], ["TCP", WORDS.length, []], name);
    assert.is(got.toString(), WORDS, name);
    assert.is(contacts, 1, `${name}: it was asked`);
    closeMade();
  }
});

lies(
  "a listener of another network namespace hears of a connection only if it says that a probe has come",
  async (scene) => {
    for (const [probe, reached, asked, told] of [
      [0, true, 0, 0],
      [1, false, 1, 0],
      [1, true, 1, 1],
    ] as const) {
      let box = -1;
      let slot = -1;
      const { seen, contacts, got } = await meetLiar(
        scene,
        (listener, contact) => {
          assert.is.not(contact.frame.probe, 0n);
          ({ box } = contact);
          ({ slot } = listener);
          sendRaw(contact.socket, listener.answer(contact, { reached }), [bellPair()[0], sealedMemfd(BOX_BYTES)]);
          sendRaw(contact.bell, Buffer.of(1));
        },
        { netns: 1, probe },
      );
      const name = `probe ${probe}, reached ${reached}`;
      assert.equal([seen.mode, seen.bytes, seen.errors], ["TCP", WORDS.length, []], name);
      assert.is(got.toString(), WORDS, name);
      assert.is(contacts, asked, name);
      const begun = Buffer.alloc(4);
      if (contacts > 0) readSync(box, begun, 0, 4, BOX_DESK + DESK_INTENTS + 8 * slot);
      assert.is(begun.readUInt32LE(), told, `${name}: what it was told of`);
      closeMade();
    }
  },
);

/** Says of every claim on the victim's desk that it is matched, until `over`. */
async function matchAll({ bell, box }: Asked, over: () => boolean): Promise<number> {
  const claims = Buffer.alloc(CLAIM_CAPACITY * CLAIM_SIZE);
  let matched = 0;
  while (!over()) {
    readSync(box, claims, 0, claims.length, BOX_DESK + DESK_CLAIMS);
    for (let at = CLAIM_STATE; at < claims.length; at += CLAIM_SIZE) {
      if ((claims[at]! & 0xf) !== CLAIM_CLAIMED) continue;
      writeSync(box, Buffer.of((claims[at]! & 0xf0) | CLAIM_MATCHED), 0, 1, BOX_DESK + DESK_CLAIMS + at);
      writeSync(box, Buffer.of(CONTROL_RENDEZVOUS), 0, 1, STACK_CONTROL);
      sendRaw(bell, Buffer.of(1));
      matched++;
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  return matched;
}

lies("a liar that says MATCHED gets a Proposal sent where it said that it listens, and nowhere else", async (scene) => {
  const elsewhere = new Plain();
  const other = await elsewhere.listen();
  let over = false;
  let matching: Promise<number> | undefined;
  const { seen, got } = await meetLiar(scene, (listener, asked) => {
    sendRaw(asked.socket, listener.answer(asked), [bellPair()[0], sealedMemfd(BOX_BYTES)]);
    sendRaw(asked.bell, Buffer.of(1));
    matching = matchAll(asked, () => over);
  });
  assert.is(got.subarray(0, 3).toString("hex"), "e2d4c3", "the beginning of every CLC message");
  assert.is(seen.errors.length, 1, "the connection that was lied about fails");
  const { mode, bytes } = await scene.victim.ask<Seen>({ name: "dial", port: other });
  over = true;
  assert.ok((await matching!) > 0);
  assert.equal([mode, bytes, Buffer.concat(elsewhere.got).toString()], ["TCP", WORDS.length, WORDS]);
  await elsewhere.close();
});

const makeSocket = libcFunction<(domain: number, type: number, protocol: number) => number>(
  "int socket(int domain, int type, int protocol)",
);
const bind = libcFunction<(descriptor: number, address: Uint8Array, length: number) => number>(
  "int bind(int fd, const void *address, uint32_t length)",
);
const listen = libcFunction<(descriptor: number, backlog: number) => number>("int listen(int fd, int backlog)");
const getsockname = libcFunction<(descriptor: number, address: Uint8Array, length: Uint32Array) => number>(
  "int getsockname(int fd, void *address, void *length)",
);

/** A listener that accepts nobody and has no room for a connection more: who connects, waits. */
async function stuck(): Promise<{ port: number; end(): void }> {
  const address = Buffer.from([2, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
  const descriptor = made(makeSocket(2, 1, 0));
  assert.is(bind(descriptor, address, 16) | listen(descriptor, 0), 0);
  getsockname(descriptor, address, Uint32Array.of(16));
  const port = address.readUInt16BE(2);
  const filler = net.connect(port, "127.0.0.1");
  filler.on("error", () => undefined);
  await happens(filler, "connect");
  return {
    port,
    end: () => {
      filler.destroy();
      close(descriptor);
    },
  };
}

lies("what stands on the desk of a peer that is gone is not written into the memory of the next", async (scene) => {
  const { port, end } = await stuck();
  let contact: Asked | undefined;
  const listener = new HostileListener((asked) => {
    sendRaw(asked.socket, listener.answer(asked), [bellPair()[0], sealedMemfd(BOX_BYTES)]);
    sendRaw(asked.bell, Buffer.of(1));
    contact = asked;
  });
  await listener.enter(scene.directory, port);
  const dialled = scene.victim.ask<Seen>({ name: "dial", port });
  const word = BOX_DESK + DESK_INTENTS + 8 * listener.slot;
  const intents = Buffer.alloc(8);
  const read = (box: number): number[] => {
    readSync(box, intents, 0, 8, word);
    return [intents.readUInt32LE(0), intents.readUInt32LE(4)];
  };
  await until(() => contact !== undefined && read(contact.box)[0] === 1, "the victim's intent");
  await listener.close();
  // The liar is gone; its intent is still open.
  close(contact!.bell, contact!.socket);
  await scene.unharmed();
  const next = await new HostilePeer(scene.target).meet();
  await scene.unharmed();
  end();
  assert.equal((await dialled).errors, ["ECONNREFUSED"]);
  assert.equal(read(contact!.box), [1, 1], "the intent is closed where it stood");
  assert.equal(read(next.box), [0, 0], "nothing is written anywhere else");
});

/** A client that knows nothing of SMC says something to the victim's server; what comes back. `known` is told its port first. */
async function plainClient(scene: Scene, known: (port: number) => void): Promise<string> {
  const reserved = net.createServer().listen(0, "127.0.0.1");
  await happens(reserved, "listening");
  const { port: localPort } = reserved.address() as AddressInfo;
  reserved.close();
  await happens(reserved, "close");
  known(localPort);
  const socket = net.connect({ port: scene.port, host: "127.0.0.1", localPort });
  await happens(socket, "connect");
  socket.write(WORDS);
  const [echo] = (await happens(socket, "data", "the victim's echo")) as [Buffer];
  socket.destroy();
  assert.is((await scene.outcome(localPort)).mode, "TCP");
  return echo.toString();
}

lies("an intent that a peer leaves open holds up who knows nothing of it, and no more", async (scene) => {
  const peer = await new HostilePeer(scene.target).meet();
  const intent = Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]);
  writeSync(peer.ownBox, intent, 0, 8, BOX_DESK + DESK_INTENTS + 8 * scene.target.slot);
  assert.is(await plainClient(scene, () => undefined), WORDS);
});

lies("a claim on the connection of somebody else changes no byte of it", async (scene) => {
  const peer = await new HostilePeer(scene.target).meet();
  const claims = Buffer.alloc(CLAIM_CAPACITY * CLAIM_SIZE);
  const echo = await plainClient(scene, (port) => {
    const client = { address: "127.0.0.1", port };
    for (let at = 0; at < claims.length; at += CLAIM_SIZE) {
      const key = new DataView(claims.buffer, claims.byteOffset + at + CLAIM_KEY, KEY_SIZE);
      writeTuple(client, { address: "127.0.0.1", port: scene.port }, key);
      claims.writeUInt32LE((1 << 4) | CLAIM_CLAIMED, at + CLAIM_STATE);
    }
    writeSync(peer.ownBox, claims, 0, claims.length, BOX_DESK + DESK_CLAIMS);
  });
  assert.is(echo, WORDS);
  const after = Buffer.alloc(claims.length);
  readSync(peer.ownBox, after, 0, after.length, BOX_DESK + DESK_CLAIMS);
  assert.not.equal(after, claims, "the victim took the claim for true");
});

lies("who has claimed a connection that was not its own is not believed again", async (scene) => {
  const peer = await new HostilePeer(scene.target).meet();
  /** Claims the connection from `port`, wherever the victim would look. */
  const claim = (port: number): Buffer => {
    const claims = Buffer.alloc(CLAIM_CAPACITY * CLAIM_SIZE);
    for (let at = 0; at < claims.length; at += CLAIM_SIZE) {
      const key = new DataView(claims.buffer, claims.byteOffset + at + CLAIM_KEY, KEY_SIZE);
      writeTuple({ address: "127.0.0.1", port }, { address: "127.0.0.1", port: scene.port }, key);
      claims.writeUInt32LE((1 << 4) | CLAIM_CLAIMED, at + CLAIM_STATE);
    }
    writeSync(peer.ownBox, claims, 0, claims.length, BOX_DESK + DESK_CLAIMS);
    return claims;
  };
  const believed: boolean[] = [];
  for (let round = 0; round < 3; round++) {
    let claims: Buffer = Buffer.alloc(0);
    assert.is(
      await plainClient(scene, (port) => {
        claims = claim(port);
      }),
      WORDS,
    );
    const after = Buffer.alloc(claims.length);
    readSync(peer.ownBox, after, 0, after.length, BOX_DESK + DESK_CLAIMS);
    believed.push(!after.equals(claims));
  }
  assert.equal(believed, [true, false, false]);
});

run();
