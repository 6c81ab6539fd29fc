/**
 * Threads and processes that end: by themselves once nothing holds them, by process.exit with data just sent, by terminate in the
 * middle of a transfer. The peer sees what TCP would show it.
 *
 * SMC_TEST_TERMINATE sets how many Workers are terminated per transport; 10 by default.
 */
import { spawn } from "node:child_process";
import type { Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as smc from "../../src/index.js";
import { listen, shut } from "../support/pair.js";
import { prngFor } from "../support/prng.js";
import { Verifier } from "../support/sequence.js";
import { checkCarrier, TRANSPORTS, type Transport, transport } from "../support/transports.js";
import { happens, until, within } from "../support/watchdog.js";
import { holdConfirms } from "./confirms.js";
import type { EndingTask } from "./ending.worker.js";
import { eachChunk, journal, readAll } from "./scenario.js";
import { checkNothingLeft } from "./stage.js";

const TERMINATIONS = Number(process.env["SMC_TEST_TERMINATE"] ?? 10);
const CHILD = fileURLToPath(new URL("../net/ending.child.mjs", import.meta.url));

function startWorker(task: EndingTask): Worker {
  return new Worker(new URL("../net/ending.worker.mjs", import.meta.url), { workerData: task });
}

/** A child process to its end. Returns: what it wrote, its exit code or signal, and what it complained of. */
async function runChild(...args: string[]): Promise<{ stdout: string; code: unknown; stderr: string }> {
  const child = spawn(process.execPath, [CHILD, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk: Buffer) => {
    stdout += chunk;
  });
  child.stderr.on("data", (chunk: Buffer) => {
    stderr += chunk;
  });
  try {
    const [code, signal] = await happens(child, "close", `the child "${args.join(" ")}" to go by itself`);
    return { stdout, code: code ?? signal, stderr };
  } finally {
    child.kill("SIGKILL");
  }
}

const test = suite("ending");
let pagesBefore = 0;
test.before(() => {
  pagesBefore = smc.poolFreePages();
});

/** What the child does, and what it must have written when it goes. */
const CHILDREN = {
  unref: "one two",
  unrefWorks: "echo",
  refAgain: "late answer",
  closed: "closed",
  waits: "1000",
  exitWithPair: "port true",
};

for (const carrier of TRANSPORTS) {
  test(`children go by themselves, and only then · ${carrier.name}`, async () => {
    const things = Object.entries(CHILDREN);
    const ran = await Promise.all(things.map(([thing]) => runChild(carrier.name, thing)));
    things.forEach(([thing, stdout], index) => {
      assert.equal({ thing, ...ran[index] }, { thing, stdout, code: 0, stderr: "" });
    });
  });

  test(`end(data) and process.exit() in a child is a clean end · ${carrier.name}`, async () => {
    const [server, port] = await listen(carrier);
    const accepted = happens(server, "connection");
    const gone = runChild(carrier.name, "endAndExit", String(port));
    const [socket] = (await accepted) as [Socket];
    const seen = journal(socket);
    const got = await readAll(socket);
    await seen.closed();
    assert.equal([String(got), seen.events], ["the last words", ["end", "finish", "close(false)"]]);
    assert.equal(await gone, { stdout: "", code: 0, stderr: "" });
    await shut(server);
  });

  test(`end(data) and process.exit() in a Worker is a clean end · ${carrier.name}`, async () => {
    const [server, port] = await listen(carrier);
    for (let i = 0; i < 5; i++) {
      const accepted = happens(server, "connection");
      const stream = `end and exit ${i}`;
      const worker = startWorker({ transport: carrier.name, port, way: "endAndExit", stream, length: 12_345 });
      const gone = happens(worker, "exit");
      const [socket] = (await accepted) as [Socket];
      checkCarrier(socket, carrier, "server");
      const seen = journal(socket);
      const verifier = new Verifier(prngFor(stream).seed);
      eachChunk(socket, (chunk) => verifier.push(chunk));
      await seen.closed();
      assert.equal([verifier.received, seen.events], [12_345, ["end", "finish", "close(false)"]]);
      await gone;
    }
    await shut(server);
  });

  test(`terminate in the middle of a transfer is an end or a reset after a clean prefix · ${carrier.name}`, () =>
    terminateMany(carrier));
}

test("the last words of a child that is gone before its Confirm is read", async () => {
  const [server, port] = await listen(transport("smcd"));
  const readOn = holdConfirms(server);
  const accepted = happens(server, "connection");
  // Its exit is told after the end of its bell.
  assert.equal(await runChild("smcd", "endAndExit", String(port)), { stdout: "", code: 0, stderr: "" });
  readOn();
  const [socket] = (await accepted) as [Socket];
  checkCarrier(socket, transport("smcd"), "server", "shm");
  const seen = journal(socket);
  const got = await readAll(socket);
  await seen.closed();
  assert.equal([String(got), seen.events], ["the last words", ["end", "finish", "close(false)"]]);
  await shut(server);
});

/** A Worker that pours is terminated after some bytes; this side writes too, reads or pauses, as the seed has it. */
async function terminateMany(carrier: Transport): Promise<void> {
  const [server, port] = await listen(carrier);
  const random = prngFor(`terminate ${carrier.name}`);
  for (let i = 0; i < TERMINATIONS; i++) {
    const accepted = happens(server, "connection");
    const stream = `pour ${i}`;
    const length = random.pick([100, 4_096, 65_536, 300_000]);
    const worker = startWorker({ transport: carrier.name, port, way: "pour", stream, length });
    const pouring = happens(worker, "message");
    const [socket] = (await accepted) as [Socket];
    checkCarrier(socket, carrier, "server");
    const seen = journal(socket);
    const verifier = new Verifier(prngFor(stream).seed);
    eachChunk(socket, (chunk) => verifier.push(chunk));
    await pouring;
    if (random.oneIn(2)) socket.write(Buffer.alloc(random.between(1, 200_000)));
    const enough = verifier.received + random.below(2_000_000);
    await until(() => verifier.received >= enough, "more bytes");
    if (random.oneIn(2)) socket.pause();
    await worker.terminate();
    socket.resume();
    await within(seen.closed(), "the close");
    const { events, error } = seen;
    const ways = ["end finish close(false)", "end close(false)", "error close(true)", "end error close(true)"];
    assert.ok(ways.includes(events.join(" ")), `${events} ${JSON.stringify(error)}`);
    if (error !== undefined) assert.ok(["ECONNRESET", "EPIPE"].includes(String(error["code"])), JSON.stringify(error));
  }
  await shut(server);
}

test("no doorbell was rescued and every page came back", () => checkNothingLeft(pagesBefore));

test.run();
