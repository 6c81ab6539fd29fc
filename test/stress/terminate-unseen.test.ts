/**
 * Threads that are killed where nobody who knows smcnet is told of it: by a thread that never loaded it. Who is left sees what
 * TCP would show, gets every page back, and can use the slot of the dead for the next thread.
 *
 * SMC_TEST_UNSEEN sets how many are killed; 21 by default. There are 64 slots.
 */
import type { Socket } from "node:net";
import { Worker } from "node:worker_threads";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as smc from "../../src/index.js";
import { eachChunk, journal } from "../net/scenario.js";
import { checkNothingLeft } from "../net/stage.js";
import { listen } from "../support/pair.js";
import { prngFor } from "../support/prng.js";
import { Verifier } from "../support/sequence.js";
import { checkCarrier, transport } from "../support/transports.js";
import { happens, until, within } from "../support/watchdog.js";
import { BOARD_BYTES, PUBLISHED, type VictimTask } from "./terminate.js";

const KILLS = Number(process.env["SMC_TEST_UNSEEN"] ?? 21);
/** At the same time. */
const VICTIMS = 7;
const smcd = transport("smcd");

/** A thread that does nothing but start and kill others. */
const KEEPER = `
  const { parentPort, Worker } = require("node:worker_threads");
  const workers = [];
  parentPort.on("message", async ({ url, workerData }) => {
    if (url !== undefined) workers.push(new Worker(new URL(url), { workerData }));
    else {
      await Promise.all(workers.splice(0).map((worker) => worker.terminate()));
      parentPort.postMessage("killed");
    }
  });
`;

const test = suite("stress: terminate unseen");
let pagesBefore = 0;
test.before(() => {
  pagesBefore = smc.poolFreePages();
});

test(`${KILLS} killed by a thread that knows nothing of it`, async () => {
  const [server, port] = await listen(smcd);
  const keeper = new Worker(KEEPER, { eval: true });
  for (let killed = 0; killed < KILLS; killed += VICTIMS) {
    const socketOf = new Map<number, Socket>();
    const boards = Array.from({ length: VICTIMS }, () => new Int32Array(new SharedArrayBuffer(BOARD_BYTES)));
    const seen: ReturnType<typeof journal>[] = [];
    for (const [at, board] of boards.entries()) {
      const stream = `unseen ${killed + at}`;
      const workerData: VictimTask = { way: "pour", transport: "smcd", port, stream, length: 4_096, board };
      keeper.postMessage({ url: new URL("../stress/terminate.worker.mjs", import.meta.url).href, workerData });
      const [socket] = (await happens(server, "connection", `victim ${killed + at}`)) as [Socket];
      checkCarrier(socket, smcd, "server", "lo");
      socketOf.set(at, socket);
      const verifier = new Verifier(prngFor(stream).seed);
      eachChunk(socket, (chunk) => verifier.push(chunk));
      seen.push(journal(socket));
      await until(() => verifier.received > 100_000, "its stream");
      socket.once("end", () =>
        assert.ok(verifier.received >= Atomics.load(board, PUBLISHED), "all that was published"),
      );
    }
    keeper.postMessage({});
    await happens(keeper, "message", "the end of the victims");
    for (const { closed } of seen) await closed();
    for (const { events } of seen) assert.equal(events.slice(0, 1), ["end"], "nothing of ours was unread");
    await until(() => smc.poolFreePages() === pagesBefore, `the pages after ${killed} kills`);
  }
  await within(keeper.terminate(), "the end of a thread");
  server.close();
});

test("no doorbell was rescued and every page came back", () => checkNothingLeft(pagesBefore));

test.run();
