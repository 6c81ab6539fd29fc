/**
 * Comlink between two Workers: the main thread starts them and hears what came of the calls, and no byte of a call passes it.
 */
import { threadId, Worker } from "node:worker_threads";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { PATIENCE } from "../support/patience.js";
import { happens } from "../support/watchdog.js";
import type { CallName } from "./calling.worker.js";

Object.assign(process.env, PATIENCE);
// Workers share the memory of who has loaded smcnet before them.
const smc = await import("../../src/index.js");

const serving = new Worker(new URL("../comlink/comlink.worker.mjs", import.meta.url));
const [port] = await happens(serving, "message", "the port of the Worker that serves");
const calling = new Worker(new URL("../comlink/calling.worker.mjs", import.meta.url), { workerData: port });

/** What came of a call in the other Worker. */
async function ask<T>(name: CallName): Promise<T> {
  const answered = happens(calling, "message", `the call "${name}"`);
  calling.postMessage(name);
  const [{ value, error }] = (await answered) as [{ value: T; error?: string }];
  assert.is(error, undefined);
  return value;
}

const test = suite("comlink between Workers");

test("SMC carries it from Worker to Worker, and the main thread has no part in it", async () => {
  assert.is(await ask("carrier"), "lo");
  assert.equal(await ask("threads"), [calling.threadId, serving.threadId]);
  assert.is(new Set([threadId, calling.threadId, serving.threadId]).size, 3);
  assert.equal(smc.sockets(), []);
});

test("a Map, and typed arrays in it and beside it, come back as they were", async () => {
  const { map, floats } = await ask<{ map: Map<string, unknown>; floats: Float64Array }>("clone");
  assert.instance(map, Map);
  assert.equal(map.get("bytes"), new Uint8Array([1, 2, 255]));
  assert.equal(map.get("inner"), new Map([[1n, new Date(5)]]));
  assert.is(map.size, 2);
  assert.instance(floats, Float64Array);
  assert.ok(
    [0.5, -0, Number.NaN].every((value, i) => Object.is(value, floats[i])),
    `${floats}`,
  );
});

test("a typed array that is transferred arrives whole and is gone where it was", async () => {
  assert.equal(await ask("transfer"), { same: true, left: 0 });
});

test("an error that is thrown there is thrown here, and one of a callback there", async () => {
  assert.equal(await ask("thrown"), ["ServiceError", "as asked"]);
  assert.equal(await ask("thrownBack"), ["RangeError", "in the callback"]);
});

test("a callback is called there with what it is given, in order", async () => {
  assert.equal(await ask("callback"), { sum: 285, given: Array.from({ length: 10 }, (_, i) => i) });
});

test("a callback is given a function of the other side, which it calls: proxies both ways", async () => {
  assert.is(await ask("lent"), 42);
});

test.after(async () => {
  for (const worker of [calling, serving]) {
    const gone = happens(worker, "exit");
    worker.postMessage("end");
    await gone;
  }
});

test.run();
