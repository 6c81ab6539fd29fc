/**
 * Fuzzing a live process by what others can put before it: frames and descriptors on its sockets, and the files of the runtime
 * directory.
 *
 * Always: the process lives, answers, goes on with its honest connections, connects where it is asked to, and holds what it held
 * before. SMC_TEST_FUZZ scales the number of attempts; the seed replays them.
 */
import { spawnSync } from "node:child_process";
import { ftruncateSync, mkdirSync, openSync, readdirSync, rmSync, symlinkSync, writeSync } from "node:fs";
import net, { type AddressInfo } from "node:net";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { LAYOUT_VERSION } from "../../assembly/shared/layout.js";
import { networkNamespace } from "../../src/host/files.js";
import { lockFile } from "../../src/host/lock.js";
import { keysToFind } from "../../src/rendezvous/listener-key.js";
import { CONTACT_FRAME_SIZE, encodeChannelFrame } from "../../src/wire/contact.js";
import { type Prng, prngFor } from "../support/prng.js";
import { happens, within } from "../support/watchdog.js";
import { type Scene, type Seen, suiteOfLies } from "./hostile.js";
import {
  bellPair,
  close,
  closeMade,
  made,
  sealedMemfd,
  sendRaw,
  WRONG_BELLS,
  WRONG_MEMFDS,
} from "./hostile-descriptors.js";
import { BOX_BYTES, HostilePeer } from "./hostile-peer.js";

const SCALE = Number(process.env["SMC_TEST_FUZZ"] ?? 1);
const CONTACTS = Math.ceil(600 * SCALE);
const CHANNELS = Math.ceil(60 * SCALE);
const REGISTRIES = Math.ceil(25 * SCALE);

const { lies, run } = suiteOfLies("stress: hostile fuzz", { SMC_SHM_PEER_MIB: "8" });

/** A frame with some bytes changed, cut, or with something after it. */
function mutated(frame: Uint8Array, random: Prng): Uint8Array {
  const bytes = Buffer.from(frame);
  for (let changes = random.below(4); changes > 0; changes--) {
    // Most of a frame is EIDs and zeros: the fields that decide stand in its first 64 bytes.
    const at = random.below(random.oneIn(4) ? bytes.length : 64);
    bytes[at] = random.pick([0, 1, 2, 0xff, bytes[at]! ^ (1 << random.below(8)), random.below(256)]);
  }
  if (random.oneIn(8)) return bytes.subarray(0, random.between(1, bytes.length));
  if (random.oneIn(8)) return Buffer.concat([bytes, random.fill(Buffer.alloc(random.between(1, 700)))]);
  return random.oneIn(10) ? random.fill(Buffer.alloc(CONTACT_FRAME_SIZE)) : bytes;
}

const BELLS = Object.values(WRONG_BELLS);
const MEMFDS = Object.values(WRONG_MEMFDS);

/** A descriptor of any kind; now and then of the right one. */
function anyDescriptor(random: Prng): number {
  const right = [() => bellPair()[0], () => sealedMemfd(BOX_BYTES), () => sealedMemfd(16 * 16_384)];
  try {
    return random.pick([...right, ...BELLS, ...MEMFDS])(BOX_BYTES);
  } catch {
    return made(openSync("/dev/null", "r"));
  }
}

lies(`${CONTACTS} contacts of mutated frames with any descriptors`, async (scene) => {
  const random = prngFor("fuzzed contacts");
  let met = 0;
  for (let i = 0; i < CONTACTS; i++) {
    const peer = new HostilePeer(scene.target);
    const honest = random.oneIn(3) ? [] : peer.gifts;
    const more = Array.from({ length: random.pick([0, 0, 0, 1, 2, 3, 5]) }, () => anyDescriptor(random));
    const descriptors = random.oneIn(2) ? [...honest, ...more] : [...more, ...honest];
    const socket = made(peer.connect());
    sendRaw(socket, mutated(peer.contactFrame(), random), descriptors);
    if (random.oneIn(4)) sendRaw(socket, mutated(peer.contactFrame(), random), more);
    if (!random.oneIn(10)) met += (await peer.told(socket)).answer?.refusal === 0 ? 1 : 0;
    if (random.oneIn(3)) closeMade();
    if (i % 100 === 0) await scene.unharmed();
  }
  assert.ok(met > 0 && met < CONTACTS, `${met} of ${CONTACTS} were met`);
});

lies(`${CHANNELS} channels with mutated frames and any descriptors`, async (scene) => {
  const random = prngFor("fuzzed channels");
  for (let i = 0; i < CHANNELS; i++) {
    const peer = await new HostilePeer(scene.target).meet();
    const number = random.below(3);
    if (random.oneIn(2)) peer.sendExtent(number, 16);
    for (let frames = random.between(1, 6); frames > 0; frames--) {
      const frame = encodeChannelFrame(
        { type: "extent", number: random.below(66), blocks: random.pick([0, 8, 16, 17, 32, 1024, 65_535]) },
        LAYOUT_VERSION,
      );
      const descriptors = Array.from({ length: random.pick([0, 1, 1, 1, 2, 5]) }, () => anyDescriptor(random));
      sendRaw(peer.channel, random.oneIn(3) ? frame : mutated(frame, random), descriptors);
    }
    const known = peer.own.get(number);
    const token = known === undefined ? BigInt(random.u32()) : peer.dmb(number, 16).token;
    const { socket } = await peer.shake(scene.open, token);
    socket.destroy();
    closeMade();
    if (i % 10 === 0) await scene.unharmed();
  }
});

/** What an entry says of where it listens. */
const HERE = { netns: networkNamespace(), probe: 0 };
const HEX = "0123456789abcdef";
const hex = (random: Prng, digits: number): string =>
  Array.from({ length: digits }, () => random.pick([...HEX])).join("");

/** A name as an entry has it, or nearly so, or not at all. */
function anyName(random: Prng): string {
  const right = `${hex(random, 32)}.${random.below(1000)}`;
  return random.pick([
    ...[right, right, right, right.toUpperCase(), `${right}.1`, right.slice(1), hex(random, 32), `.${right}`],
    ...[" ", "\n", "\u{1f600}", "%s%n", "-rf", "a".repeat(255), `${hex(random, 32)}.${"9".repeat(200)}`],
  ]);
}

/** What an entry says: as it should be but for some fields, or mutated, or nothing like it. */
function anyContent(gid: string, socket: string, random: Prng): Buffer {
  const fields: Record<string, unknown> = { version: 1, gid, socket, ...HERE, uid: process.geteuid!() };
  const strange = [undefined, null, -1, 2 ** 53, 1.5, "", "..", "../x", "/etc/passwd", {}, [], "a".repeat(300), true];
  if (random.oneIn(2)) fields[random.pick(Object.keys(fields))] = random.pick(strange);
  const text = Buffer.from(JSON.stringify(fields));
  if (random.oneIn(4))
    for (let i = random.between(1, 5); i > 0; i--) text[random.below(text.length)] = random.below(256);
  return random.pick([
    ...[text, text, text, text.subarray(0, random.below(text.length)), Buffer.alloc(0), Buffer.from("null")],
    ...[Buffer.from("[".repeat(512)), Buffer.from(random.fill(Buffer.alloc(512))), Buffer.alloc(600, text)],
  ]);
}

/** Puts something under `path`: a file (locked or not), a pipe, a link, a directory, a socket that listens or not. */
function putAnything(path: string, content: Buffer, servers: net.Server[], random: Prng): void {
  try {
    switch (random.below(9)) {
      case 0:
        spawnSync("mkfifo", [path]);
        break;
      case 1:
        symlinkSync(random.pick(["/dev/zero", "/", path, "/proc/self/mem", "/nowhere"]), path);
        break;
      case 2:
        mkdirSync(path);
        break;
      case 3: {
        const server = net.createServer((socket) => random.oneIn(2) && socket.destroy());
        server.on("error", () => undefined);
        server.listen(path);
        servers.push(server);
        break;
      }
      default: {
        const descriptor = made(openSync(path, "wx+"));
        writeSync(descriptor, content);
        if (random.oneIn(10)) ftruncateSync(descriptor, 2 ** 40);
        if (!random.oneIn(4)) lockFile(descriptor);
        if (random.oneIn(10)) close(descriptor);
      }
    }
  } catch {
    // Names too long, taken, or none: that is not what is tested.
  }
}

/** A plain server that echoes. */
async function plainServer(): Promise<[net.Server, number]> {
  const server = net.createServer((socket) => {
    socket.on("error", () => undefined);
    socket.pipe(socket);
  });
  server.listen(0, "127.0.0.1");
  await happens(server, "listening");
  return [server, (server.address() as AddressInfo).port];
}

async function closeServers(...servers: net.Server[]): Promise<void> {
  await Promise.all(
    servers.filter(({ listening }) => listening).map((server) => new Promise((done) => server.close(done))),
  );
}

/** Removes what was put into the two parts, but for what the honest have there. */
function cleared(directory: string, known: ReadonlySet<string>): void {
  for (const part of ["l", "s"])
    for (const name of readdirSync(join(directory, part)))
      if (!known.has(name)) rmSync(join(directory, part, name), { recursive: true, force: true });
}

const namesIn = ({ directory }: Scene): Set<string> =>
  new Set(["l", "s"].flatMap((part) => readdirSync(join(directory, part))));

lies(`${REGISTRIES} registries full of anything: who connects gets there by TCP`, async (scene) => {
  const random = prngFor("fuzzed registry");
  const honest = namesIn(scene);
  for (let i = 0; i < REGISTRIES; i++) {
    const [server, port] = await plainServer();
    const servers: net.Server[] = [];
    const keys = keysToFind({ address: "127.0.0.1", port }, networkNamespace());
    for (const key of random.oneIn(5) ? [hex(random, 8), ...keys] : keys) {
      const folder = join(scene.directory, "l", key);
      if (random.oneIn(8)) {
        putAnything(folder, Buffer.alloc(10), servers, random);
        continue;
      }
      mkdirSync(folder, { recursive: true });
      for (let entries = random.below(40); entries > 0; entries--) {
        const name = anyName(random);
        const gid = name.split(".")[0]!;
        const socket = random.pick([gid, hex(random, 32), "a.b", "..", ""]);
        putAnything(join(folder, name), anyContent(gid, socket, random), servers, random);
        if (random.oneIn(2)) putAnything(join(scene.directory, "s", gid), Buffer.alloc(3), servers, random);
      }
    }
    const seen = await scene.victim.ask<Seen>({ name: "dial", port });
    assert.equal([seen.mode, seen.bytes, seen.errors], ["TCP", 6, []], `registry ${i}`);
    await closeServers(server, ...servers);
    closeMade();
    cleared(scene.directory, honest);
  }
});

lies(
  "a socket that is a symbolic link is not followed, neither by who connects nor by who clears away",
  async (scene) => {
    const honest = namesIn(scene);
    const [server, port] = await plainServer();
    const elsewhere = join(scene.directory, "elsewhere");
    let reached = 0;
    const foreign = net.createServer((socket) => {
      reached++;
      socket.destroy();
    });
    foreign.listen(elsewhere);
    await happens(foreign, "listening");
    const gid = `${"ab".repeat(8)}${"0".repeat(13)}101`;
    symlinkSync(elsewhere, join(scene.directory, "s", gid));
    const [key] = keysToFind({ address: "127.0.0.1", port }, networkNamespace());
    mkdirSync(join(scene.directory, "l", key!));
    const entry = made(openSync(join(scene.directory, "l", key!, `${gid}.1`), "wx+"));
    assert.ok(lockFile(entry));
    writeSync(entry, JSON.stringify({ version: 1, gid, socket: gid, ...HERE, uid: process.geteuid!() }));
    const seen = await scene.victim.ask<Seen>({ name: "dial", port });
    assert.equal([seen.mode, seen.bytes, seen.errors], ["TCP", 6, []]);
    // A peer that goes makes the victim clear away what the dead have left; the link is such a thing.
    await new HostilePeer(scene.target).meet();
    closeMade();
    const watched = join(scene.directory, "s");
    await within(
      (async () => {
        while (readdirSync(watched).includes(gid)) await scene.unharmed();
      })(),
      "the link to be cleared away",
    );
    assert.is(reached, 0, "nobody was led elsewhere");
    await closeServers(server, foreign);
    rmSync(elsewhere, { force: true });
    cleared(scene.directory, honest);
  },
);

run();
