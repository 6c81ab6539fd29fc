/**
 * A hostile peer process makes contact: it speaks the channel protocol with an honest one, and lies in every word of it.
 *
 * Always: what lies comes to nothing for the liar, and for it alone. Meanwhile another honest process has a stream echoed by the
 * victim and checks every byte; the victim answers; and when the liar is gone, memory, descriptors and mappings are what they were.
 * Skipped where libc is missing.
 */
import { spawnSync } from "node:child_process";
import { chmodSync, ftruncateSync, readFileSync } from "node:fs";
import { dirname } from "node:path";
import * as assert from "uvu/assert";
import { LAYOUT_VERSION, PAIR_CAPACITY } from "../../assembly/shared/layout.js";
import { receiveFrame } from "../../src/host/unix-socket.js";
import { overflowId } from "../../src/rendezvous/runtime-directory.js";
import { encodeChannelFrame, REFUSAL } from "../../src/wire/contact.js";
import { rootMissing } from "../support/missing.js";
import { until } from "../support/watchdog.js";
import { type Seen, suiteOfLies } from "./hostile.js";
import {
  bellPair,
  close,
  closeMade,
  ifPossible,
  MOST_DESCRIPTORS,
  made,
  sendRaw,
  WRONG_BELLS,
  WRONG_MEMFDS,
} from "./hostile-descriptors.js";
import { BOX_BYTES, type ContactChange, HostilePeer, type Target, type Told, targetsIn } from "./hostile-peer.js";

/** A user that the victim's operator trusts beside its own, one that nobody named, and the one that stands for all unknown. */
const [TRUSTED, STRANGE, UNKNOWN] = [12_345, 12_346, overflowId("uid")];

const { lies, liesUnless, run } = suiteOfLies("stress: hostile process", {
  SMC_SHM_UIDS: `${TRUSTED},${UNKNOWN}`,
  SMC_SHM_IDLE: "1000",
});

const refused = ({ answer }: Told): boolean => answer === undefined || answer.refusal !== 0;

lies("a peer by hand that does not lie is met, and served", async (scene) => {
  const peer = await new HostilePeer(scene.target).meet();
  peer.sendExtent(0, 16);
  await peer.converse(scene, peer.dmb(0, 16));
  assert.throws(() => ftruncateSync(peer.box, 0), /EPERM/, "what the victim shares is sealed as well");
});

/** Wrong contact frames by name. */
function wrongContacts(target: Target): Record<string, Uint8Array> {
  const honest = new HostilePeer(target);
  const { gid } = honest;
  const changed = (change: ContactChange): Uint8Array => new HostilePeer(target).contactFrame(change);
  const bent = (at: number, value: number): Uint8Array => {
    const frame = new HostilePeer(target).contactFrame();
    frame[at] = value;
    return frame;
  };
  const frames: Record<string, Uint8Array> = {
    "another magic": bent(0, 0),
    "another version": bent(4, 1),
    "an unknown type": bent(5, 9),
    "the type of an answer": bent(5, 2),
    "the type of an extent": bent(5, 3),
    "another layout": bent(7, LAYOUT_VERSION + 1),
    "a slot that cannot be": bent(28, 64),
    "a generation of 0": changed({ generation: 0 }),
    "a generation too large": bent(24, 1),
    "nine EIDs": bent(29, 9),
    "255 EIDs": bent(29, 255),
    "no EID": changed({ eids: [] }),
    "another EID": changed({ eids: ["OTHERS"] }),
    "a pair that is not there": changed({ first: false }),
    "a pair that is not there, without gifts": changed({ first: false, gifts: false }),
    "no gifts although they came": changed({ gifts: false }),
    "the GID of the victim": changed({ gid: target.gid }),
    "another process wanted": changed({ wanted: { ...target, gid } }),
    "another stack wanted": changed({ wanted: { ...target, slot: target.slot + 1 } }),
    "an earlier stack wanted": changed({ wanted: { ...target, generation: target.generation + 1 } }),
    "320 zeros": new Uint8Array(320),
    "an answer": encodeChannelFrame(
      {
        ...{ type: "answer", gid, nonce: 1n, slot: 1, generation: 1, eids: ["SMCNET"], mostBlocks: 1024 },
        ...{ refusal: 0, gifts: true, reached: true },
      },
      LAYOUT_VERSION,
    ),
  };
  for (const length of [1, 7, 8, 100, 319]) frames[`${length} bytes`] = honest.contactFrame().subarray(0, length);
  return frames;
}

const asRoot = liesUnless(rootMissing());
asRoot("a process of another user is met if that user is allow-listed, and the unknown user never", async (scene) => {
  const { path } = scene.target;
  // Else nobody of them gets as far as the socket.
  for (const [part, mode] of [
    [scene.directory, 0o711],
    [dirname(path), 0o711],
    [path, 0o777],
  ] as const)
    chmodSync(part, mode);
  for (const [user, meets] of [
    [TRUSTED, true],
    [STRANGE, false],
    [UNKNOWN, false],
    [0, true],
  ] as const) {
    process.seteuid!(user);
    const peer = new HostilePeer(scene.target);
    let socket: number;
    try {
      socket = peer.connect();
    } finally {
      process.seteuid!(0);
    }
    const told = await peer.attempt(peer.contactFrame(), peer.gifts, `an answer to user ${user}`, socket);
    assert.is(told.answer?.refusal, meets ? REFUSAL.none : REFUSAL.notAllowed, `user ${user}`);
  }
  for (const part of [scene.directory, dirname(path)]) chmodSync(part, 0o700);
});

lies("a contact that is wrong in any field, cut, or of another kind is refused", async (scene) => {
  for (const [name, frame] of Object.entries(wrongContacts(scene.target))) {
    const told = await new HostilePeer(scene.target).attempt(frame, new HostilePeer(scene.target).gifts, name);
    assert.ok(refused(told), name);
    assert.equal(told.descriptors, [], `${name}: nothing is given to it`);
    await scene.victim.ping();
  }
});

lies("a contact whose socket ends before, in the middle or right after it leaves nothing", async (scene) => {
  for (const length of [0, 100, 320]) {
    for (let i = 0; i < 20; i++) {
      const peer = new HostilePeer(scene.target);
      const socket = made(peer.connect());
      if (length > 0) sendRaw(socket, peer.contactFrame().subarray(0, length), peer.gifts);
      close(socket);
    }
    await scene.victim.ping();
  }
});

lies("gifts of the wrong kind, number or order are refused, each descriptor closed again", async (scene) => {
  const wrong = new Map<string, number[]>();
  const { gifts } = new HostilePeer(scene.target);
  const [bell, box] = gifts as [number, number];
  for (const [name, kind] of Object.entries(WRONG_BELLS)) {
    const descriptor = ifPossible(name, kind);
    if (descriptor !== undefined) wrong.set(`${name} for a bell`, [descriptor, box]);
  }
  for (const [name, kind] of Object.entries(WRONG_MEMFDS)) {
    const descriptor = ifPossible(name, () => kind(BOX_BYTES));
    if (descriptor !== undefined) wrong.set(`${name} for a box`, [bell, descriptor]);
  }
  wrong.set("nothing", []);
  wrong.set("a bell alone", [bell]);
  wrong.set("a box alone", [box]);
  wrong.set("the two in the wrong order", [box, bell]);
  for (const count of [3, 4, 5, 100, MOST_DESCRIPTORS]) {
    const more = Array.from({ length: count - 2 }, () => bell);
    wrong.set(`${count} descriptors`, [bell, box, ...more]);
  }
  for (const [name, descriptors] of wrong) {
    const peer = new HostilePeer(scene.target);
    const told = await peer.attempt(peer.contactFrame(), descriptors, name);
    assert.ok(refused(told), name);
    assert.equal(told.descriptors, [], `${name}: nothing is given to it`);
    // What it had looked like before a look at it is of no use later.
    if (name.includes("may shrink")) ftruncateSync(descriptors[1]!, 0);
    await scene.victim.ping();
  }
});

lies(
  "a peer that gives the victim's own bell, or its own channel, as its bell rings the wrong one, and is forgotten when it is idle",
  async (scene) => {
    const peer = await new HostilePeer(scene.target).meet();
    const again = peer.contactFrame({ first: false, generation: peer.generation + 1 });
    for (const bell of [peer.bell, peer.channel]) {
      const told = await peer.attempt(again, [bell, peer.ownBox], "an answer");
      assert.is(told.answer?.refusal, 0);
    }
    // It holds itself what would tell it of our end, so the pair is left when it has been idle.
  },
);

lies("a stack that comes again is rung by the bell that it brings, not by the one before", async (scene) => {
  const peer = await new HostilePeer(scene.target).meet();
  const [bell, hears] = bellPair();
  const told = await peer.attempt(peer.contactFrame({ first: false }), [bell, peer.ownBox], "an answer");
  assert.equal([told.answer?.refusal, told.answer?.gifts], [0, false]);
  await until(() => typeof receiveFrame(hears, Buffer.alloc(1)) === "object", "a ring");
});

/** Sets how many descriptors a process may have. */
function limitDescriptors(pid: number, most: number): void {
  const { status, stderr } = spawnSync("prlimit", [`--pid=${pid}`, `--nofile=${most}:`], { encoding: "utf8" });
  assert.is(status, 0, stderr);
}

const withLimits = liesUnless(spawnSync("prlimit", ["--version"]).error?.message);
withLimits("a victim that has no descriptor left refuses, and lives", async (scene) => {
  const { pid } = scene.victim;
  const { descriptors } = await scene.victim.health();
  const [before] = /(?<=Max open files\s+)\d+/.exec(readFileSync(`/proc/${pid}/limits`, "utf8"))!;
  let met = 0;
  for (let room = 12; room >= 0; room--) {
    // One more was open for the look, and not all numbers below the limit need be taken.
    limitDescriptors(pid, descriptors - 1 + room);
    const peer = new HostilePeer(scene.target);
    const { answer } = await peer.attempt(peer.contactFrame(), peer.gifts, `an end with ${room} descriptors left`);
    if (answer?.refusal === 0) met++;
    await scene.unharmed();
  }
  limitDescriptors(pid, Number(before));
  assert.ok(met > 0 && met < 12, `${met} were met`);
  await scene.meetsAnother();
});

lies("a peer that says it is another process costs that one shared memory, not a byte", async (scene) => {
  const another = scene.start("the process it says it is");
  const port = await another.ask<number>({ name: "serve" });
  const { slot, generation, gid } = targetsIn(scene.directory).find((target) => target.gid !== scene.target.gid)!;
  const liar = new HostilePeer(scene.target);
  const told = await liar.attempt(liar.contactFrame({ gid, slot, generation }), liar.gifts, "an answer");
  assert.is(told.answer?.refusal, REFUSAL.none);
  const { bytes, errors } = await scene.victim.ask<Seen>({ name: "dial", port });
  assert.equal([bytes, errors], [6, []]);
  closeMade();
  await another.end();
});

lies("sockets that never say anything neither hold up a contact nor stay", async (scene) => {
  const silent: number[] = [];
  for (let i = 0; i < 300; i++) {
    await scene.victim.ping();
    silent.push(made(new HostilePeer(scene.target).connect()));
  }
  await scene.meetsAnother();
  for (const socket of silent) await new HostilePeer(scene.target).told(socket, "a silent socket to be closed");
});

lies("a flood of processes that nobody knows is bounded; who was met before is served on", async (scene) => {
  let refusals = 0;
  for (let i = 0; i < 1_000; i++) {
    const peer = new HostilePeer(scene.target);
    const { answer } = await peer.attempt(peer.contactFrame(), peer.gifts, "an answer");
    if (answer?.refusal !== REFUSAL.none) refusals++;
    close(peer.ownBox);
    if (i % 100 !== 0) continue;
    await scene.unharmed();
    // A pair without a connection has two boxes; those of the honest process have extents as well.
    const { shared } = await scene.victim.health();
    assert.ok(shared <= 2 * PAIR_CAPACITY + 2, `${shared} memfds`);
  }
  assert.ok(refusals > 0, "nobody was refused");
});

run();
