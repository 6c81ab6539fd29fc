/**
 * Unmodified programs under stress, with the preload: random aborts, a cluster whose workers are replaced, a relay between SMC
 * and TCP, loops that stand still, readers that stop. No byte is lost or mixed up, and nothing stays behind.
 *
 * SMC_TEST_ABORTS is the number of aborted requests, 300 by default.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { RUN_SEED } from "../support/prng.js";
import { WATCHDOG_MS } from "../support/watchdog.js";
import type { Ledger } from "./program.child.js";
import { abandonAll, Program } from "./program.js";

const ABORTS = Number(process.env["SMC_TEST_ABORTS"] ?? 300);
/** What a process may have grown by after everything was given back: the engine's own caches, not a leak a request. */
const SLACK_BYTES = 4 << 20;

const test = suite("programs under load");
test.after.each(abandonAll);

/** The ledger, once every connection is gone. */
async function settled(program: Program): Promise<Ledger> {
  const deadline = performance.now() + WATCHDOG_MS;
  for (;;) {
    const ledger = await program.ledger();
    if (ledger.sockets === 0) return ledger;
    if (performance.now() > deadline) throw new Error(`still ${ledger.sockets} sockets after ${WATCHDOG_MS} ms`);
  }
}

interface Storm {
  readonly whole: number;
  readonly aborted: number;
}

test(`requests aborted at random moments (${ABORTS}): nothing lost, mixed or left`, async () => {
  const server = new Program("aborts", "smc");
  const client = new Program("aborts", "smc");
  const port = await server.ask<number>("serve");
  // What is made once for all connections, and code that gets warm, is not to be taken for a leak.
  await client.ask("storm", port, 150, RUN_SEED & 0xffff);
  const before = [await settled(server), await settled(client)];
  let left = ABORTS;
  const sum = { whole: 0, aborted: 0 };
  while (left > 0) {
    const count = Math.min(left, 1_000);
    const { whole, aborted } = await client.ask<Storm>("storm", port, count, (RUN_SEED + left) & 0xffffff);
    sum.whole += whole;
    sum.aborted += aborted;
    left -= count;
  }
  assert.is(sum.whole + sum.aborted, ABORTS);
  assert.ok(sum.whole > ABORTS / 10 && sum.aborted > ABORTS / 4, `${sum.whole} whole, ${sum.aborted} aborted`);
  const after = [await settled(server), await settled(client)];
  assert.equal([await server.ask("faults"), await client.ask("faults")], [[], []]);
  for (const [i, name] of ["server", "client"].entries()) {
    const [was, is] = [before[i]!, after[i]!];
    assert.is(is.pages, was.pages, `free pages of the ${name}'s arena`);
    assert.is(is.descriptors, was.descriptors, `descriptors of the ${name}`);
    assert.is(is.doorbellRescued, 0);
    assert.ok(is.heapBytes - was.heapBytes < SLACK_BYTES, `heap of the ${name}: ${was.heapBytes} to ${is.heapBytes}`);
  }
  const { client: carriers } = await client.carriers();
  assert.equal([...new Set(carriers)], ["shm"]);
  await Promise.all([server.stop(), client.stop()]);
});

test("a cluster of two workers is replaced under load: no request is lost", async () => {
  const primary = new Program("cluster", "smc");
  const client = new Program("cluster", "smc");
  const port = await primary.ask<number>("serve");
  await client.ask("begin", port);
  while ((await client.ask<number>("soFar")) < 50);
  const gone = await primary.ask<number[]>("roll", 2);
  const from = await client.ask<number>("soFar");
  while ((await client.ask<number>("soFar")) < from + 50);
  const { faults, workers, carriers } = await client.ask<{ faults: string[]; workers: number[]; carriers: string[] }>(
    "answers",
  );
  assert.equal(faults, []);
  assert.is(gone.length, 4);
  assert.ok(workers.some((pid) => gone.includes(pid)) && workers.some((pid) => !gone.includes(pid)), "old and new");
  // TCP carries what the primary gives to a worker that began to listen after the client had looked.
  assert.equal(
    carriers.filter((carrier) => carrier !== "TCP"),
    ["shm"],
  );
  await primary.ask("end");
  await Promise.all([primary.stop(), client.stop()]);
});

test("a relay with SMC on one side and TCP on the other passes every byte on", async () => {
  const [echo, relay, client] = [
    new Program("relay", "plain"),
    new Program("relay", "smc"),
    new Program("relay", "smc"),
  ];
  const port = await relay.ask<number>("relay", await echo.ask<number>("serve"));
  const bytes = 20_000_003;
  const back = await Promise.all([client.ask("converse", port, bytes), client.ask("converse", port, 4_001)]);
  assert.equal(back, [bytes, 4_001]);
  const { server, client: onward } = await relay.carriers();
  assert.equal([new Set(server), new Set(onward)], [new Set(["shm"]), new Set(["TCP"])]);
  await Promise.all([echo.stop(), relay.stop(), client.stop()]);
});

test("loops that stand still for 200 ms at a time delay bytes, and lose none", async () => {
  const [echo, client] = [new Program("relay", "smc"), new Program("relay", "smc")];
  const port = await echo.ask<number>("serve");
  const bytes = 60_000_000;
  const standing = [echo.ask("standStill", 5, 200), client.ask("standStill", 4, 200)];
  assert.is(await client.ask("converse", port, bytes), bytes);
  await Promise.all(standing);
  assert.equal((await client.carriers()).client, ["shm"]);
  await Promise.all([echo.stop(), client.stop()]);
});

test("a reader that stops, then sips: the sender is held, memory is bounded, every byte comes", async () => {
  const [sender, reader] = [new Program("relay", "smc"), new Program("relay", "smc")];
  const port = await sender.ask<number>("flood");
  await reader.ask("stop", port);
  interface Flooded {
    readonly sent: number[];
    readonly waiting: number;
  }
  let sent = -1;
  for (let still = 0; still < 20; ) {
    const { sent: all, waiting } = await sender.ask<Flooded>("flooded");
    assert.ok(waiting < 1 << 20, `${waiting} bytes wait in the sender`);
    still = all.length === 1 && all[0] === sent ? still + 1 : 0;
    sent = all[0] ?? -1;
  }
  assert.ok(sent < 4 << 20, `${sent} bytes were taken for a reader that reads nothing`);
  assert.ok((await reader.ask<number>("sip", 3_000_000)) >= 3_000_000);
  assert.equal((await reader.carriers()).client, ["shm"]);
  assert.is((await settled(sender)).doorbellRescued, 0);
  await Promise.all([sender.stop(), reader.stop()]);
});

test.run();
