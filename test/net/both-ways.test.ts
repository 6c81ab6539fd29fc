/**
 * Two threads that connect to each other at the same time: a link group that one of them has and the other is about to have
 * carries connections both ways.
 *
 * Played out step by step: our server does not read the Confirm by which the other thread has come to know the group.
 */
import type { Socket } from "node:net";
import { Worker } from "node:worker_threads";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as smc from "../../src/index.js";
import type { Reply, Verb } from "../stress/processes-verbs.js";
import { closed, dial, listen } from "../support/pair.js";
import { checkCarrier, transport } from "../support/transports.js";
import { happens, until } from "../support/watchdog.js";
import { holdConfirms } from "./confirms.js";
import { checkNothingLeft } from "./stage.js";

const smcd = transport("smcd");
let worker: Worker;
let asked = 0;

/** Has the other thread do something. */
async function ask(verb: Verb, ...args: unknown[]): Promise<unknown> {
  worker.postMessage({ id: asked++, verb, args });
  const [{ value, error }] = (await happens(worker, "message", `the answer to "${verb}"`)) as [Reply];
  if (error !== undefined) throw new Error(error);
  return value;
}

const test = suite("both ways");
let pagesBefore = 0;
test.before.each(() => {
  pagesBefore = smc.poolFreePages();
  worker = new Worker(new URL("../stress/processes.worker.mjs", import.meta.url));
});
test.after.each(async () => {
  await worker.terminate();
  await until(() => smc.poolFreePages() === pagesBefore, "the pages of the other thread");
});

for (const moment of ["after", "before"] as const) {
  test(`a connection the other way, ${moment} the Confirm of the first one is read, is carried by SMC`, async () => {
    const theirs = (await ask("serve", "smcd")) as number;
    const [server, ours] = await listen(smcd);
    const readOn = holdConfirms(server);
    const accepted = happens(server, "connection");
    assert.is(((await ask("dial", "first", "smcd", ours)) as { mode: string }).mode, "SMCD");
    if (moment === "after") readOn();
    if (moment === "after") await accepted;
    const second = dial(smcd, theirs);
    await happens(second, "connect");
    checkCarrier(second, smcd, "client", "lo");
    second.write("the other way");
    assert.is(String((await happens(second, "data"))[0]), "the other way");
    if (moment === "before") readOn();
    const [first] = (await accepted) as [Socket];
    checkCarrier(first, smcd, "server", "lo");
    for (const socket of [first, second]) {
      socket.destroy();
      await closed(socket);
    }
    server.close();
  });
}

test("nothing is left", () => checkNothingLeft(pagesBefore));

test.run();
