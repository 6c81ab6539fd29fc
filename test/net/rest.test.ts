/**
 * Connections at rest: a loop that has parked does nothing until somebody rings, and what idle rings hold goes back to the
 * system, without a byte of what comes later being harmed.
 */
import type { Socket } from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { CONN_PEER_RING, CONN_PEER_SIZE, CONN_SND, CONN_SND_SIZE } from "../../assembly/shared/layout.js";
import type { Connection } from "../../src/conn/connection.js";
import * as smc from "../../src/index.js";
import { threadContext } from "../../src/net/context.js";
import { libcMissing, testUnless } from "../support/missing.js";
import { connectPair } from "../support/pair.js";
import { Sequence, Verifier } from "../support/sequence.js";
import { transport } from "../support/transports.js";
import { until, WATCHDOG_MS } from "../support/watchdog.js";
import { eachChunk } from "./scenario.js";
import { checkNothingLeft } from "./stage.js";

const CARRIERS = ["smcd", "smcd-copy"] as const;
/** Fires of a timer during which a loop at rest must not have moved. */
const TICKS = 50;
const TICK_MS = 5;

const test = suite("rest");
let pagesBefore = 0;
test.before(() => {
  pagesBefore = smc.poolFreePages();
});

/** Both ends of a connection through which bytes can be sent and checked, again and again. */
async function talkers(name: (typeof CARRIERS)[number]) {
  const pair = await connectPair(transport(name));
  const [sequence, verifier] = [new Sequence(3), new Verifier(3)];
  let sent = 0;
  eachChunk(pair.accepted, (chunk) => verifier.push(chunk));
  return {
    ...pair,
    /** All of it has arrived when it resolves. */
    async say(bytes: number): Promise<void> {
      for (let left = bytes; left > 0; left -= 10_000) {
        const length = Math.min(left, 10_000);
        pair.client.write(sequence.span(sent, length));
        sent += length;
      }
      await until(() => verifier.received === sent, `${sent} bytes to arrive`);
    },
  };
}

/** Asks `holds` once a tick, so that the loop sleeps in between. Errors: rejects when it hangs. */
async function eachTick(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = performance.now() + WATCHDOG_MS;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`still waiting after ${WATCHDOG_MS} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, TICK_MS));
  }
}

for (const name of CARRIERS) {
  test(`a loop with idle connections parks once, and neither turns nor wakes until there is news · ${name}`, async () => {
    const all = await Promise.all(Array.from({ length: 20 }, () => talkers(name)));
    for (const one of all) await one.say(1_000);
    // Spinning ends by itself; timers, not immediates, so that nothing else keeps the loop awake.
    let parked = smc.stats();
    let quiet = 0;
    await eachTick(() => {
      const now = smc.stats();
      const moved = now.parks !== parked.parks || now.busyPollTurns !== parked.busyPollTurns;
      quiet = moved ? 0 : quiet + 1;
      parked = now;
      return quiet === TICKS;
    }, `${TICKS} ticks without a turn`);
    const { doorbellRung } = smc.stats();
    assert.is(parked.doorbellRung, doorbellRung, "nobody rings");
    await all[7]!.say(10);
    assert.ok(smc.stats().parks >= parked.parks);
    for (const one of all) await one.close();
  });
}

/** The connection under a socket, as the data plane has it. */
const connectionOf = (socket: Socket): Connection =>
  (socket as unknown as { _handle: { connection: Connection } })._handle.connection;

/** Which bytes of the rings that `socket` writes into are not zero. */
function dirty(socket: Socket): number {
  const { conn } = connectionOf(socket).place;
  const stack = threadContext().stackIfAny!;
  const at = (offset: number) => stack.abi.connPeek(conn, offset) >>> 0;
  const rings = new Map([
    [at(CONN_PEER_RING), at(CONN_PEER_SIZE)],
    [at(CONN_SND), at(CONN_SND_SIZE)],
  ]);
  let count = 0;
  for (const [address, length] of rings) {
    const { buffer, offset } = stack.window(address, length);
    for (const byte of new Uint8Array(buffer, offset, length)) if (byte !== 0) count++;
  }
  return count;
}

const { ffi, idleTrim } = smc.options();
const maybe = testUnless(ffi && idleTrim ? libcMissing() : "FFI or the idle trim is switched off", test);
for (const name of CARRIERS) {
  maybe(
    `the rings of a quiet connection are given back, those of a busy one and of unread bytes are not · ${name}`,
    async () => {
      const [quiet, busy, unread] = [await talkers(name), await talkers(name), await talkers(name)];
      for (const one of [quiet, busy, unread]) await one.say(300_000);
      unread.accepted.pause();
      unread.client.write(Buffer.alloc(400_000, 0xaa));
      assert.ok(dirty(quiet.client) > 100_000, "what was read stays in the ring");
      await eachTick(async () => {
        await busy.say(100);
        return dirty(quiet.client) === 0;
      }, "the pages of the quiet one to go back");
      assert.ok(dirty(busy.client) > 0 && dirty(unread.client) > 0);
      // Round and round the ring that was trimmed.
      await quiet.say(1_000_000);
      for (const one of [quiet, busy, unread]) await one.close();
    },
  );
}

test("no doorbell was rescued and every page came back", () => checkNothingLeft(pagesBefore));

test.run();
