/**
 * The data plane under real threads.
 *
 * Allowed outcomes of a stream: every byte arrives, once, in order; both sides end; the buffers' neighbours are untouched.
 * Allowed outcomes of a kill: after reaping, every block is free and zero and every table entry is free.
 * Anything else fails: a hang (a lost wake-up) by the watchdog, a foreign byte by the verifier.
 */
import { Worker } from "node:worker_threads";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BLOCK_SIZE, BLOCKS_OFFSET, DMB_ENTRY_SIZE, DMB_TABLE_OFFSET } from "../../assembly/shared/layout.js";
import { connectPair, MODES, Rig } from "../assembly/rig.js";
import { prngFor } from "../support/prng.js";
import { happens, until, within } from "../support/watchdog.js";
import type { ChurnOrder, SideOrder, SideReport } from "./dataplane.js";

const MIB = 1 << 20;
const KILLS = Number(process.env["SMC_TEST_KILLS"] ?? 100);

async function side(order: SideOrder): Promise<SideReport> {
  const worker = new Worker(new URL("./dataplane.worker.mjs", import.meta.url), { workerData: order });
  const failed = new Promise<never>((_, reject) => worker.once("error", reject));
  try {
    const [report] = await Promise.race([
      happens(worker, "message", `the report of the side that is to ${order.role}`),
      failed,
    ]);
    return report as SideReport;
  } finally {
    failed.catch(() => undefined);
    await worker.terminate();
  }
}

interface Flow {
  readonly what: string;
  readonly total: number;
  readonly most: number;
  readonly patience: SideOrder["patience"];
  readonly waitFirst?: boolean;
}

const FLOWS: readonly Flow[] = [
  { what: "waiting on the doorbell, pieces up to 4 KiB", total: 48 * MIB, most: 4096, patience: "wait" },
  { what: "waiting on the doorbell, pieces up to 64 KiB", total: 256 * MIB, most: 65_536, patience: "wait" },
  {
    what: "waiting before each read of at most 1000 bytes",
    total: 8 * MIB,
    most: 1000,
    patience: "wait",
    waitFirst: true,
  },
  { what: "spinning, pieces up to 4 KiB", total: 48 * MIB, most: 4096, patience: "spin" },
];

const stream = suite("stress: stream");

for (const mode of MODES) {
  for (const flow of FLOWS) {
    stream(`${mode}, ${flow.what}: ${flow.total / MIB} MiB arrive as they were sent`, async () => {
      const rig = new Rig();
      const pair = connectPair(rig, { mode }, rig.stack(1), rig.stack(2));
      const { seed } = prngFor(`stress ${mode} ${flow.what}`);
      const common = { memory: rig.memory, module: rig.module, seed, waitFirst: false, ...flow };
      const reports = await Promise.all([
        side({ ...common, waitFirst: false, role: "send", stack: pair.left.stack, conn: pair.left.conn }),
        side({ ...common, role: "receive", stack: pair.right.stack, conn: pair.right.conn }),
      ]);
      for (const { bytes } of reports) assert.is(bytes, flow.total, `seed ${seed}`);
      assert.ok(reports[0].waits + reports[1].waits > 0, "somebody had to wait");
      pair.intact();
    });
  }
}

const kills = suite("stress: kill");

kills(`${KILLS} threads killed while they use the DMB table: every page and entry comes back`, async () => {
  const rig = new Rig();
  const own = rig.stack(0);
  const free = rig.abi.arenaFreeBlocks();
  const prng = prngFor("kill stress");
  const board = new Int32Array(new SharedArrayBuffer(24));
  const churn = (which: 0 | 1): Worker => {
    const order: ChurnOrder = { memory: rig.memory, module: rig.module, board, which, seed: prng.u32() };
    return new Worker(new URL("./dataplane-churn.worker.mjs", import.meta.url), { workerData: order });
  };
  for (let killed = 0; killed < KILLS; killed += 2) {
    board.fill(0);
    const workers = [churn(0), churn(1)] as const;
    const broke: Error[] = [];
    for (const worker of workers) worker.on("error", (error: Error) => broke.push(error));
    const threads = workers.map((worker) => worker.threadId);
    const goals = [prng.between(1, 3000), prng.between(1, 3000)] as const;
    await until(
      () => broke.length > 0 || goals.every((goal, which) => Atomics.load(board, which * 3 + 2) >= goal),
      "the workers' work",
    );
    assert.equal(broke, []);
    for (const which of prng.oneIn(2) ? [0, 1] : [1, 0]) {
      await within(workers[which]!.terminate(), "the end of a thread");
      const dead = rig.abi.stackOfThread(threads[which]!);
      assert.ok(dead >= 0, "a thread that worked has a stack");
      rig.abi.stackReap(dead, own);
      assert.is(rig.abi.stackOfThread(threads[which]!), -1);
    }
    assert.is(rig.abi.arenaFreeBlocks(), free, `after ${killed + 2} kills`);
    for (let entry = DMB_TABLE_OFFSET; entry < DMB_TABLE_OFFSET + 256 * DMB_ENTRY_SIZE; entry += DMB_ENTRY_SIZE)
      assert.is(
        rig.u32(entry) & 0xf,
        0,
        `entry ${(entry - DMB_TABLE_OFFSET) / DMB_ENTRY_SIZE} after ${killed + 2} kills`,
      );
  }
  const pages = new BigUint64Array(rig.memory.buffer, BLOCKS_OFFSET, (rig.blocks * BLOCK_SIZE) / 8);
  assert.is(
    pages.findIndex((word) => word !== 0n),
    -1,
    "a byte of a dead thread's connection is left",
  );
});

stream.run();
kills.run();
