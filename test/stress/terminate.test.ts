/**
 * Killed in the middle: a peer's thread is terminated while it transfers, connects or serves, and the survivor sees what TCP would show.
 *
 * Allowed outcomes for a survivor:
 *   ended          every byte that was published, then the end of the stream
 *   reset          a part of what was published, then ECONNRESET; only if it had written something itself
 *   write failed   the end, and EPIPE or ECONNRESET for what it wrote too late
 *   refused        a connection that never came about: ECONNREFUSED or ECONNRESET; in a storm of connections only
 * In copy mode, "published" leaves out what still lay in the private send ring of the dead: that dies with its thread.
 * After each kill all pages of the arena are free again. Anything else fails: a foreign or missing byte, a hang, a page that is lost.
 *
 * SMC_TEST_KILLS sets how many threads are killed; 60 by default.
 */
import type { Server, Socket } from "node:net";
import { Worker } from "node:worker_threads";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as smc from "../../src/index.js";
import { END, openRing } from "../../src/ring/index.js";
import { eachChunk, journal } from "../net/scenario.js";
import { checkNothingLeft } from "../net/stage.js";
import { refusal } from "../ring/verbs.js";
import { closed, dial, listen } from "../support/pair.js";
import { type Prng, prngFor } from "../support/prng.js";
import { Verifier } from "../support/sequence.js";
import { checkCarrier, type TransportName, transport } from "../support/transports.js";
import { happens, until, within } from "../support/watchdog.js";
import { OUTCOMES } from "./outcomes.js";
import { BOARD_BYTES, PROGRESS, PUBLISHED, type VictimTask, type Way } from "./terminate.js";

const KILLS = Number(process.env["SMC_TEST_KILLS"] ?? 60);

/** Victims that live: a test that failed leaves none behind. */
const victims = new Set<Victim>();

/** A victim at work: its thread, and how far it is. */
class Victim {
  readonly board = new Int32Array(new SharedArrayBuffer(BOARD_BYTES));
  readonly worker: Worker;
  /** Bytes that may be left in a private send ring. */
  readonly #kept: number;
  /** Rejects when the thread fails by itself. */
  readonly broke: Promise<never>;

  constructor(task: Omit<VictimTask, "board">) {
    const workerData: VictimTask = { ...task, board: this.board };
    this.worker = new Worker(new URL("../stress/terminate.worker.mjs", import.meta.url), { workerData });
    this.#kept = task.transport === "smcd-copy" ? smc.options().wmem : 0;
    victims.add(this);
    this.worker.once("exit", () => victims.delete(this));
    this.broke = new Promise((_, reject) => this.worker.once("error", reject));
    this.broke.catch(() => undefined);
  }

  /** Bytes or connections so far. */
  get progress(): number {
    return Atomics.load(this.board, PROGRESS);
  }

  /** Bytes that were in the survivor's ring for sure. */
  get published(): number {
    return Atomics.load(this.board, PUBLISHED) - this.#kept;
  }

  async kill(): Promise<void> {
    await within(this.worker.terminate(), "the end of a thread");
  }
}

interface Scene {
  readonly carrier: TransportName;
  readonly server: Server;
  readonly port: number;
  readonly random: Prng;
  readonly stream: string;
}

/** The victim's connection, from the side that survives. */
async function accepted({ server, carrier }: Scene): Promise<Socket> {
  const [socket] = (await happens(server, "connection", "the victim's connection")) as [Socket];
  checkCarrier(socket, transport(carrier), "server");
  return socket;
}

/** How a socket ended, in the words above. */
async function outcomeOf(seen: ReturnType<typeof journal>): Promise<string> {
  await seen.closed();
  const outcome = OUTCOMES[seen.events.join(" ")];
  assert.ok(outcome, `no allowed outcome: ${seen.events}`);
  if (seen.error !== undefined)
    assert.ok(["ECONNRESET", "EPIPE"].includes(String(seen.error["code"])), JSON.stringify(seen.error));
  return outcome!;
}

/** The survivor reads and, as the seed has it, writes and pauses; the victim dies after some progress. */
async function killSocket(scene: Scene, way: Way): Promise<void> {
  const { random, port, stream } = scene;
  const length = random.pick([100, 4_096, 65_536, 300_000]);
  const arriving = accepted(scene);
  const victim = new Victim({ way, transport: scene.carrier, port, stream, length });
  const socket = await Promise.race([arriving, victim.broke]);
  const seen = journal(socket);
  const verifier = new Verifier(prngFor(stream).seed);
  const checked = way === "pour" || way === "deaf" || way === "nest" || way === "exit";
  if (checked) eachChunk(socket, (chunk) => verifier.push(chunk));
  else socket.resume();
  const speaks = way === "echo" || way === "deaf" || way === "exit" || random.oneIn(2);
  const goal = way === "deaf" ? 100 : random.between(1, 1_000_000);
  if (speaks) {
    const say = () => {
      if (!socket.destroyed && victim.progress < goal && !socket.writableNeedDrain)
        socket.write(Buffer.alloc(random.between(1, 50_000)));
    };
    say();
    socket.on("data", say);
    socket.on("drain", say);
  }
  if (way === "exit") await happens(victim.worker, "exit", "the victim's own end");
  else {
    await until(() => victim.progress >= goal || socket.destroyed, "the victim's work");
    if (random.oneIn(3)) socket.pause();
    await victim.kill();
    socket.resume();
  }
  const outcome = await outcomeOf(seen);
  if (!speaks) assert.is(outcome, "ended", "nothing of ours was unread");
  // A write that fails destroys a socket of `net`, whatever is still to be read.
  if (checked && outcome === "ended")
    assert.ok(verifier.received >= victim.published, `${verifier.received} of ${victim.published} published`);
}

/** The same with a ring on either side; the survivor's loop turns between its looks, as the README asks. */
async function killRing(scene: Scene, way: Way): Promise<void> {
  const { random, port, stream } = scene;
  const arriving = accepted(scene);
  const victim = new Victim({ way, transport: scene.carrier, port, stream, length: random.pick([100, 4_096, 65_000]) });
  const socket = await Promise.race([arriving, victim.broke]);
  socket.on("error", () => undefined);
  const ring = openRing(socket);
  const speaks = way === "ring echo";
  const verifier = new Verifier(prngFor(stream).seed);
  const target = Buffer.alloc(40_000);
  const goal = random.between(1, 500_000);
  let killed: Promise<void> | undefined;
  let outcome = "";
  await until(() => {
    if (killed === undefined && victim.progress >= goal) killed = victim.kill();
    if (speaks && killed === undefined) refusal(() => ring.write(Buffer.alloc(random.between(1, 20_000))));
    const code = refusal(() => {
      for (let length = ring.read(target); length !== 0; length = ring.read(target)) {
        if (length === END) {
          outcome = "ended";
          return;
        }
        if (!speaks) verifier.push(target.subarray(0, length));
      }
    });
    if (code !== "nothing") {
      assert.is(code, "ECONNRESET");
      outcome = "reset";
    }
    return outcome !== "";
  }, "the end of the ring");
  await killed;
  if (!speaks) {
    assert.is(outcome, "ended", "nothing of ours was unread");
    assert.ok(verifier.received >= victim.published, `${verifier.received} of ${victim.published} published`);
  }
  ring.close();
  await closed(socket);
}

/** The victim connects without end; every connection that we accepted comes to an end. */
async function killDialler(scene: Scene): Promise<void> {
  const { random, port, stream, server } = scene;
  const open = new Set<Socket>();
  const wrong: string[] = [];
  const accept = (socket: Socket) => {
    open.add(socket);
    const seen = journal(socket);
    eachChunk(socket, (chunk) => {
      if (!"hello".startsWith(chunk.toString())) throw new Error(`got ${chunk}`);
    });
    if (random.oneIn(3)) socket.write(Buffer.alloc(random.between(1, 100_000)));
    outcomeOf(seen)
      .catch((error: Error) => wrong.push(error.message))
      .finally(() => open.delete(socket));
  };
  server.on("connection", accept);
  const victim = new Victim({ way: "dial", transport: scene.carrier, port, stream, length: 0 });
  const goal = random.between(1, 300);
  await until(() => victim.progress >= goal, "the victim's connections");
  await victim.kill();
  await until(() => open.size === 0, "all connections of the dead to end");
  server.off("connection", accept);
  assert.equal(wrong, []);
}

/** The victim serves while we connect without end. */
async function killServer(scene: Scene): Promise<void> {
  const { random, stream, port } = scene;
  const victim = new Victim({ way: "serve", transport: scene.carrier, port, stream, length: 0 });
  const [target] = (await happens(victim.worker, "message", "the victim's port")) as [number];
  const wrong: string[] = [];
  const open = new Set<Socket>();
  let killed = false;
  const connectOne = () => {
    const socket = dial(transport(scene.carrier), target);
    const seen = journal(socket);
    open.add(socket);
    let got = "";
    eachChunk(socket, (chunk) => {
      got += chunk.toString();
      if (!"hello".startsWith(got)) throw new Error(`got ${got}`);
    });
    socket.on("connect", () => socket.end("hello"));
    seen
      .closed()
      .then(() => {
        const code = String(seen.error?.["code"] ?? "");
        if (code !== "" && !["ECONNREFUSED", "ECONNRESET", "EPIPE"].includes(code))
          wrong.push(JSON.stringify(seen.error));
        if (code === "" && got !== "hello" && !killed) wrong.push(`"${got}" from a living server: ${seen.events}`);
      })
      .catch((error: Error) => wrong.push(error.message))
      .finally(() => {
        open.delete(socket);
        if (!killed) connectOne();
      });
  };
  for (let i = 0; i < 24; i++) connectOne();
  const goal = random.between(1, 300);
  await until(() => victim.progress >= goal, "the victim's connections");
  killed = true;
  await victim.kill();
  await until(() => open.size === 0, "all connections to the dead to end");
  assert.equal(wrong, []);
}

const KILLERS: Readonly<Record<Way, (scene: Scene, way: Way) => Promise<void>>> = {
  pour: killSocket,
  echo: killSocket,
  deaf: killSocket,
  "ring pour": killRing,
  "ring echo": killRing,
  dial: killDialler,
  serve: killServer,
  nest: killSocket,
  exit: killSocket,
};

const test = suite("stress: terminate");
const ways = Object.keys(KILLERS) as Way[];
let pagesBefore = 0;
test.before(() => {
  pagesBefore = smc.poolFreePages();
});

test.after.each(async () => {
  for (const victim of victims) await victim.kill();
});

for (const way of ways) {
  for (const carrier of ["smcd", "smcd-copy"] as const) {
    const kills = Math.max(1, Math.round(KILLS / ways.length / 2));
    test(`${way}: ${kills} killed · ${carrier}`, async () => {
      const [server, port] = await listen(transport(carrier));
      try {
        for (let kill = 0; kill < kills; kill++) {
          const stream = `${way} ${carrier} ${kill}`;
          await KILLERS[way]({ carrier, server, port, random: prngFor(`kill ${stream}`), stream }, way);
          await until(() => smc.poolFreePages() === pagesBefore, `the pages after kill ${kill}`);
        }
      } finally {
        server.close();
      }
    });
  }
}

test("no doorbell was rescued and every page came back", () => checkNothingLeft(pagesBefore));

test.run();
