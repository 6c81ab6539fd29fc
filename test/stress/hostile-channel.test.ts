/**
 * A hostile peer process that was met: what it sends over the channel, what it writes into the memory it shares, and whom it rings.
 *
 * Always as in hostile-process.test.ts: an error for the liar alone, everybody else is served, everything comes back.
 */
import { fstatSync, ftruncateSync, writeSync } from "node:fs";
import * as assert from "uvu/assert";
import { ARMED_BELL } from "../../assembly/shared/codes.js";
import {
  BLOCK_SIZE,
  BOX_BITS,
  BOX_DESK,
  BOX_SUMMARY,
  CDC_SIZE,
  CONN_CAPACITY,
  DESK_CLAIMS,
  DESK_INTENTS,
  EXTENT_NUMBERS,
  HEAD_SLOT,
  LAYOUT_VERSION,
  STACK_ARMED,
  STACK_CONTROL,
} from "../../assembly/shared/layout.js";
import { SMALLEST_DMB } from "../../src/device/dmb-size.js";
import { encodeChannelFrame } from "../../src/wire/contact.js";
import { closed } from "../support/pair.js";
import { type Prng, prngFor } from "../support/prng.js";
import { suiteOfLies } from "./hostile.js";
import {
  close,
  closeMade,
  ifPossible,
  MOST_DESCRIPTORS,
  punchHole,
  sealedMemfd,
  sendRaw,
  WRONG_MEMFDS,
} from "./hostile-descriptors.js";
import { anyU64, type Dmb, HostilePeer } from "./hostile-peer.js";

const WORDS = Number(process.env["SMC_TEST_HOSTILE"] ?? 5_000);
/** The size of buffer that the victim makes. */
const DMB_BYTES = 131_072;
/** Most DMB bytes that the victim grants one peer, MiB, and blocks. */
const PEER_MIB = 8;
/** Blocks of a huge page: memory of both kinds can have this size. */
const HUGE_BLOCKS = 128;
const PEER_BLOCKS = (PEER_MIB << 20) / BLOCK_SIZE;

const { lies, run } = suiteOfLies("stress: hostile channel", { SMC_SHM_PEER_MIB: String(PEER_MIB) });

const extentFrame = (number: number, blocks: number): Uint8Array =>
  encodeChannelFrame({ type: "extent", number, blocks }, LAYOUT_VERSION);

type ChannelLie = (peer: HostilePeer) => void;

/** Something wrong on the channel, by name. */
function channelLies(): Record<string, ChannelLie> {
  const extent =
    (number: number, blocks: number, bytes = blocks * BLOCK_SIZE): ChannelLie =>
    (peer) =>
      sendRaw(peer.channel, extentFrame(number, blocks), [sealedMemfd(bytes)]);
  const raw =
    (bytes: (peer: HostilePeer) => Uint8Array, count = 1): ChannelLie =>
    (peer) => {
      const memfd = sealedMemfd(16 * BLOCK_SIZE);
      sendRaw(
        peer.channel,
        bytes(peer),
        Array.from({ length: count }, () => memfd),
      );
    };
  const bent = (at: number, value: number): ChannelLie =>
    raw(() => {
      const frame = extentFrame(0, 16);
      frame[at] = value;
      return frame;
    });
  const told: Record<string, ChannelLie> = {
    "extent number 64": extent(EXTENT_NUMBERS, 16),
    "extent number 255": extent(255, 16),
    "an extent of no block": extent(0, 0, BLOCK_SIZE),
    "an extent of 8 blocks": extent(0, 8),
    "an extent of 17 blocks": extent(0, 17),
    "an extent of 2048 blocks": extent(0, 2048),
    "an extent of 65535 blocks": extent(0, 65_535),
    "more bytes than a peer may have": extent(0, 2 * PEER_BLOCKS),
    "more bytes than a peer may have, in two": (peer) => {
      peer.sendExtent(0, PEER_BLOCKS);
      peer.sendExtent(1, 16);
    },
    "the same number twice": (peer) => {
      peer.sendExtent(0, 16);
      peer.sendExtent(0, 16);
    },
    "an extent without a descriptor": raw(() => extentFrame(0, 16), 0),
    "an extent with two descriptors": raw(() => extentFrame(0, 16), 2),
    "an extent with 253 descriptors": raw(() => extentFrame(0, 16), MOST_DESCRIPTORS),
    "a contact": raw((peer) => peer.contactFrame()),
    "another magic": bent(1, 0),
    "another version": bent(4, 0),
    "another layout": bent(6, 1),
    "an unknown type": bent(5, 77),
    "one byte": raw(() => Buffer.of(1)),
    "a frame cut short": raw(() => extentFrame(0, 16).subarray(0, 319)),
    "two frames at once with one descriptor": raw(() => Buffer.concat([extentFrame(0, 16), extentFrame(1, 16)])),
    "a frame and a byte": raw(() => Buffer.concat([extentFrame(1, 16), Buffer.of(7)])),
  };
  for (const [name, kind] of Object.entries(WRONG_MEMFDS)) {
    told[`${name} for an extent`] = (peer) => {
      const descriptor = ifPossible(name, () => kind(HUGE_BLOCKS * BLOCK_SIZE)) ?? sealedMemfd(0);
      sendRaw(peer.channel, extentFrame(0, HUGE_BLOCKS), [descriptor]);
      if (name.includes("may shrink")) ftruncateSync(descriptor, 0);
    };
  }
  return told;
}

lies("an extent that is not as it has to be ends the pair: nothing that follows is believed either", async (scene) => {
  for (const [name, tell] of Object.entries(channelLies())) {
    const peer = await new HostilePeer(scene.target).meet();
    tell(peer);
    // With nothing wrong before it this would do.
    peer.sendExtent(7, 16);
    assert.is(await peer.dropped(scene.open, peer.dmb(7, 16).token, name), "dropped", name);
    await scene.victim.ping();
    closeMade();
  }
});

lies("a channel that has ended takes the victim's extents no more: the connection goes on as TCP", async (scene) => {
  const peer = await new HostilePeer(scene.target).meet();
  close(peer.channel);
  peer.channel = -1;
  assert.is(await peer.dropped(scene.open, anyU64(), "the end of the channel"), "declined");
});

/** What an owner may write into the head of a buffer that cannot be. */
const WRONG_HEADS: Record<string, { length?: number; slot?: number; stack?: number; link?: number }> = {
  "no length": { length: 0 },
  "half a block": { length: BLOCK_SIZE / 2 },
  "a block and a byte": { length: BLOCK_SIZE + 1 },
  "more than the extent has": { length: 16 * BLOCK_SIZE },
  "more than a buffer may have": { length: 128 * BLOCK_SIZE },
  "the largest length": { length: 0xffff_ffff },
  "the largest length of whole blocks": { length: 0xffff_c000 },
  "a slot that cannot be": { slot: CONN_CAPACITY },
  "the largest slot": { slot: 0xffff_ffff },
  "a stack that cannot be": { stack: 64 },
  "a stack that was not met": { stack: 6 },
  "the largest stack": { stack: 0xffff_ffff },
  "not registered": { link: 0 },
  "attached already": { link: 2 },
  "let go of": { link: 3 },
  unwanted: { link: 4 },
  "a state that cannot be": { link: 0xffff_ffff },
};

lies("a token whose buffer cannot be, or that was used before, is not attached", async (scene) => {
  const peer = await new HostilePeer(scene.target).meet();
  peer.sendExtent(0, 16);
  const attempt = async (name: string, token: bigint): Promise<void> => {
    assert.is(await peer.dropped(scene.open, token, name), "dropped", name);
  };
  for (const [name, change] of Object.entries(WRONG_HEADS)) await attempt(name, peer.dmb(0, 16, change).token);
  const { token } = peer.dmb(0, 16);
  await attempt("another token than the head's", token ^ (1n << 40n));
  await attempt("a block of heads", token & ~1023n);
  await attempt("a block behind the extent", (token & ~1023n) | 16n);
  await attempt("an extent that was never sent", token | (5n << 10n));
  const used = peer.dmb(0, 16);
  await peer.converse(scene, used);
  await attempt("a token that was used", used.token);
  const alive = peer.dmb(0, 16);
  const { socket, port } = await peer.shake(scene.open, alive.token);
  await peer.attached(alive);
  await attempt("a token in use", alive.token);
  socket.destroy();
  await scene.outcome(port);
});

/** Words that no honest peer writes at the beginning, on a ring of `size` bytes. */
function illegalWords(size: number): { name: string; which: "prod" | "cons"; word: bigint }[] {
  const cursor = (wrap: number, count: number): bigint => BigInt(wrap) | (BigInt(count) << 16n);
  return [
    { name: "a count at the ring's end", which: "prod", word: cursor(0, size) },
    { name: "the largest count", which: "prod", word: cursor(0, 0xffff_ffff) },
    { name: "more than a ring ahead", which: "prod", word: cursor(1, 1) },
    { name: "a wrap behind", which: "prod", word: cursor(0xffff, 0) },
    { name: "bits above the cursor", which: "prod", word: 1n << 63n },
    { name: "more consumed than sent", which: "cons", word: cursor(0, 1) },
    { name: "flags that mean nothing", which: "cons", word: 7n << 48n },
    { name: "states that mean nothing", which: "cons", word: 0x1fn << 56n },
  ];
}

lies("a cursor or flag that cannot be ends its connection with ECONNRESET", async (scene) => {
  const peer = await new HostilePeer(scene.target).meet();
  peer.sendExtent(0, 16);
  const size = DMB_BYTES - CDC_SIZE;
  for (const { name, which, word } of illegalWords(size)) {
    const dmb = peer.dmb(0, 16);
    const { port, theirs } = await peer.shake(scene.open, dmb.token);
    await peer.attached(dmb);
    peer.writeCdc(theirs!, which, word);
    peer.post(peer.word(theirs!, HEAD_SLOT));
    const { mode, errors } = await scene.outcome(port);
    assert.equal([mode, errors], ["SMCD", ["ECONNRESET"]], name);
  }
});

lies(
  "a peer takes no more of the victim's memory than one may, and that comes back although it is never attached",
  async (scene) => {
    const peer = await new HostilePeer(scene.target).meet();
    const proposals = await Promise.all(Array.from({ length: 150 }, () => peer.propose(scene.open)));
    const bytes = proposals
      .map(({ state }) => (state.name === "attaching" ? SMALLEST_DMB << state.peer.dmbeSize : 0))
      .reduce((sum, size) => sum + size);
    assert.ok(bytes > 0 && bytes <= PEER_MIB << 20, `buffers of ${bytes} bytes`);
    await scene.unharmed();
    for (const { socket } of proposals) socket.destroy();
  },
);

lies("a peer that says it wants to share any amount, or none, is given no more than one may have", async (scene) => {
  for (const mostBlocks of [0, 1, 15, 2 ** 31, 2 ** 32 - 1]) {
    const peer = await new HostilePeer(scene.target).meet({ mostBlocks });
    const proposals = await Promise.all(Array.from({ length: 100 }, () => peer.propose(scene.open)));
    peer.takeExtents();
    const shared = [...peer.theirs.values()].reduce((sum, memfd) => sum + fstatSync(memfd).size, 0);
    assert.ok(shared <= Math.min(PEER_BLOCKS, mostBlocks) * BLOCK_SIZE, `${shared} bytes of ${mostBlocks} blocks`);
    if (mostBlocks > PEER_BLOCKS) assert.ok(shared > 0, "it is served");
    for (const { socket } of proposals) socket.destroy();
    await scene.unharmed();
    closeMade();
  }
});

lies("each peer has a box, extents and a bell of its own: not one of them is another's", async (scene) => {
  const given: number[] = [];
  for (let i = 0; i < 3; i++) {
    const peer = await new HostilePeer(scene.target).meet();
    peer.sendExtent(0, 16);
    await peer.converse(scene, peer.dmb(0, 16));
    given.push(peer.box, peer.bell, ...peer.theirs.values());
  }
  assert.is(given.length, 9);
  // An inode of sockets or of memory is one open file for as long as somebody has it.
  assert.is(new Set(given.map((descriptor) => fstatSync(descriptor).ino)).size, given.length);
});

lies("a bell that is rung without end costs turns of the loop, and nobody anything else", async (scene) => {
  const peer = await new HostilePeer(scene.target).meet();
  for (let burst = 0; burst < 20; burst++) {
    for (let taken = 1; taken > 0; ) taken = sendRaw(peer.bell, Buffer.alloc(1 + burst * 1000));
    await scene.unharmed();
  }
});

lies("a peer that hears no bell and reads no channel is served as long as there is room", async (scene) => {
  const peer = await new HostilePeer(scene.target).meet();
  peer.fillOwnBell();
  peer.sendExtent(0, 16);
  for (let i = 0; i < 20; i++) {
    // As if we slept: each word of the victim rings.
    writeSync(peer.ownBox, Buffer.of(ARMED_BELL), 0, 1, STACK_ARMED);
    await peer.converse(scene, peer.dmb(0, 16));
  }
});

/** Where words of shared memory mean something. */
const BOX_PLACES = [STACK_ARMED, STACK_CONTROL, BOX_SUMMARY, BOX_BITS, BOX_DESK + DESK_INTENTS, BOX_DESK + DESK_CLAIMS];

/** Writes one random word where it does harm, if anything does: `theirs` is the victim's buffer of a connection. */
function vandalize(peer: HostilePeer, theirs: Dmb | undefined, random: Prng): void {
  const word = Buffer.alloc(8);
  const memfds = [peer.box, peer.ownBox, ...peer.own.values(), ...peer.theirs.values()];
  const memfd = random.pick(memfds);
  const { size } = fstatSync(memfd);
  if (theirs !== undefined && random.oneIn(20)) {
    peer.writeCdc(theirs, random.pick(["prod", "cons"]), (BigInt(random.u32()) << 32n) | BigInt(random.u32()));
    peer.post(peer.word(theirs, HEAD_SLOT) % CONN_CAPACITY);
    return;
  }
  const isBox = memfd === peer.box || memfd === peer.ownBox;
  const near = isBox ? random.pick(BOX_PLACES) + 8 * random.below(random.pick([1, 2, 300])) : 8 * random.below(256);
  const at = random.oneIn(4) ? 8 * random.below(size / 8) : near;
  const small = random.pick([0, 1, 2, 3, 4, random.below(256), random.below(65_536)]);
  if (random.oneIn(3)) random.fill(word);
  else if (random.oneIn(2)) word.writeUInt32LE(small, random.pick([0, 4]));
  else word.writeBigUInt64LE(BigInt.asUintN(64, BigInt(small) << BigInt(random.pick([16, 48, 56]))));
  writeSync(memfd, word, 0, 8, Math.min(at, size - 8));
  if (random.oneIn(100)) punchHole(memfd, 4096 * random.below(size / 4096), 4096);
}

lies(`${WORDS} random words over all that is shared end no more than the peer's own connections`, async (scene) => {
  const random = prngFor("hostile words");
  const before = await scene.victim.ask<number>({ name: "resets" });
  for (let written = 0; written < WORDS; closeMade()) {
    const peer = await new HostilePeer(scene.target).meet();
    peer.sendExtent(0, 16);
    // A peer that never lets go of what it attached comes to its limit.
    for (let i = 0; i < 20; i++) {
      const dmb = peer.dmb(0, 16);
      const { socket, theirs } = await peer.shake(scene.open, dmb.token);
      const over = closed(socket.resume());
      if (!random.oneIn(4)) await Promise.race([peer.attached(dmb), over]);
      for (let words = random.between(1, 100); words > 0; words--, written++) {
        vandalize(peer, theirs, random);
        if (random.oneIn(3)) peer.post(random.below(8));
      }
      await scene.unharmed();
      socket.destroy();
      await over;
    }
  }
  const resets = (await scene.victim.ask<number>({ name: "resets" })) - before;
  assert.ok(resets > 0, "illegal words end in a reset");
});

run();
