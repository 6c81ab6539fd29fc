/**
 * The scenarios of `wait` between two Workers that really sleep: each side runs freely and blocks; a wake-up that is lost hangs it.
 *
 * Owns the scenarios. `spinUs: 0` makes every wait that finds nothing a sleep.
 */
import * as assert from "uvu/assert";
import { SmcError } from "../../src/errors.js";
import { END, type Ring } from "../../src/ring/index.js";
import type { Prng } from "../support/prng.js";
import type { Sequence, Verifier } from "../support/sequence.js";
import { WATCHDOG_MS } from "../support/watchdog.js";
import type { RingScenario, SideTools } from "./sides.js";
import { refusal } from "./verbs.js";

const ROUNDS = 2000;
const MIB = 1 << 20;
/** Bytes of one direction of the streams below. */
const STREAM = Number(process.env["SMC_TEST_RING_MIB"] ?? 200) * MIB;
const MOST = 65_536;

/** Waits for news. Errors: throws where nobody woke us for as long as a watchdog waits, also if there is news by then. */
function news(ring: Ring): void {
  const from = performance.now();
  if (!ring.wait(WATCHDOG_MS) || performance.now() - from >= WATCHDOG_MS) throw new Error("no wake-up");
}

function sendAll(ring: Ring, data: Uint8Array): void {
  for (let sent = 0; sent < data.length; ) {
    const taken = ring.write(data.subarray(sent));
    if (taken === 0) news(ring);
    sent += taken;
  }
}

function receiveSome(ring: Ring, target: Uint8Array): number {
  for (;;) {
    const length = ring.read(target);
    if (length !== 0) return length;
    news(ring);
  }
}

/** STREAM bytes in pieces of random sizes, by one of the two pairs of verbs; then close. */
function sendStream({ ring }: SideTools, sequence: Sequence, random: Prng, inPlace: boolean): number {
  let sent = 0;
  while (sent < STREAM) {
    const piece = Math.min(random.between(1, MOST), STREAM - sent);
    if (inPlace) {
      const view = ring.reserve(piece);
      if (view.length === 0) {
        news(ring);
        continue;
      }
      const length = random.oneIn(8) ? random.between(0, view.length) : view.length;
      view.set(sequence.span(sent, length));
      ring.commit(length);
      sent += length;
    } else {
      const taken = ring.write(sequence.span(sent, piece));
      if (taken === 0) news(ring);
      sent += taken;
    }
  }
  ring.close();
  return sent;
}

function receiveStream({ ring }: SideTools, verifier: Verifier, random: Prng, inPlace: boolean): number {
  const target = Buffer.alloc(MOST);
  for (;;) {
    if (!inPlace) {
      const length = receiveSome(ring, target.subarray(0, random.between(1, MOST)));
      if (length === END) return verifier.received;
      verifier.push(target.subarray(0, length));
      continue;
    }
    let consumed = 0;
    for (const view of ring.peek()) {
      const wanted = random.oneIn(8) ? random.between(0, view.length) : view.length;
      target.set(view.subarray(0, wanted));
      verifier.push(target.subarray(0, wanted));
      consumed += wanted;
      if (wanted < view.length) break;
    }
    ring.consume(consumed);
    if (consumed > 0) continue;
    if (ring.ended) return verifier.received;
    news(ring);
  }
}

function stream(inPlace: boolean): RingScenario {
  return {
    name: `${STREAM / MIB} MiB by ${inPlace ? "reserve/commit and peek/consume" : "write and read"} arrive as they were sent`,
    free: true,
    client(tools) {
      return { sent: sendStream(tools, tools.sequence("stream"), tools.prng("sizes"), inPlace) };
    },
    server(tools) {
      return { received: receiveStream(tools, tools.verifier("stream"), tools.prng("reads"), inPlace) };
    },
    check: (client, server) => assert.equal([client["sent"], server["received"]], [STREAM, STREAM]),
  };
}

export const STREAMS: readonly RingScenario[] = [stream(false), stream(true)];

export const WAITS: readonly RingScenario[] = [
  {
    name: `${ROUNDS} round trips, asleep between them: wait wakes for data`,
    free: true,
    ring: { spinUs: 0 },
    client({ ring, prng }) {
      const random = prng("sizes");
      const back = Buffer.alloc(200);
      for (let round = 0; round < ROUNDS; round++) {
        const message = random.fill(Buffer.alloc(random.between(1, 200)));
        sendAll(ring, message);
        let got = 0;
        while (got < message.length) got += receiveSome(ring, back.subarray(got, message.length));
        assert.ok(back.subarray(0, got).equals(message), `round ${round}`);
      }
      ring.close();
      return {};
    },
    server({ ring }) {
      const target = Buffer.alloc(200);
      for (;;) {
        const length = receiveSome(ring, target);
        if (length === END) return { ended: true };
        sendAll(ring, target.subarray(0, length));
      }
    },
    check: (_client, server) => assert.ok(server["ended"]),
  },
  {
    name: "8 MiB through a ring of 64 KiB, both sides asleep when they cannot go on: wait wakes for room",
    free: true,
    ring: { spinUs: 0 },
    client({ ring, sequence }) {
      const bytes = sequence("up");
      for (let sent = 0; sent < 8 * MIB; sent += 128 * 1024) sendAll(ring, bytes.span(sent, 128 * 1024));
      ring.close();
      return {};
    },
    server({ ring, verifier }) {
      const up = verifier("up");
      const target = Buffer.alloc(10_000);
      for (let length = receiveSome(ring, target); length !== END; length = receiveSome(ring, target))
        up.push(target.subarray(0, length));
      return { received: up.received };
    },
    check: (_client, server) => assert.is(server["received"], 8 * MIB),
  },
  {
    name: "both directions at once, both sides asleep when neither goes on",
    free: true,
    ring: { spinUs: 0 },
    client(tools) {
      return both(tools, "up", "down");
    },
    server(tools) {
      return both(tools, "down", "up");
    },
    check: (client, server) => assert.equal([client["received"], server["received"]], [4 * MIB, 4 * MIB]),
  },
  {
    name: "a sleeper is woken by the end",
    free: true,
    ring: { spinUs: 0 },
    client({ ring }) {
      news(ring);
      return { read: ring.read(Buffer.alloc(1)), ended: ring.ended };
    },
    server({ ring }) {
      assert.not(ring.wait(20), "the client has time to fall asleep");
      ring.close();
      return {};
    },
    check: (client) => assert.equal(client, { read: END, ended: true }),
  },
  {
    name: "a sleeper is woken by an abort",
    free: true,
    ring: { spinUs: 0 },
    client({ ring }) {
      news(ring);
      return { read: refusal(() => ring.read(Buffer.alloc(1))) };
    },
    server({ ring }) {
      assert.not(ring.wait(20), "the client has time to fall asleep");
      ring.abort();
      return {};
    },
    check: (client) => assert.is(client["read"], "ECONNRESET"),
  },
  {
    name: "a writer asleep for room is woken by an abort",
    free: true,
    ring: { spinUs: 0 },
    client({ ring }) {
      let code = "nothing";
      while (code === "nothing") {
        code = refusal(() => sendAll(ring, Buffer.alloc(100_000)));
      }
      return { code };
    },
    server({ ring }) {
      assert.ok(ring.wait(WATCHDOG_MS));
      ring.wait(20);
      ring.abort();
      return {};
    },
    check: (client) => assert.is(client["code"], "ECONNRESET"),
  },
];

/** Waits until its thread is killed. */
function untilKilled(ring: Ring): never {
  for (;;) ring.wait(WATCHDOG_MS, "room");
}

/** Scenarios in which the server's thread is killed while the client sleeps. */
export const DEATHS: readonly RingScenario[] = [
  {
    name: "a sleeper whose peer's thread is killed reads every byte, then END",
    free: true,
    ring: { spinUs: 0 },
    client({ ring, verifier }) {
      const up = verifier("up");
      const target = Buffer.alloc(1000);
      for (let length = receiveSome(ring, target); length !== END; length = receiveSome(ring, target))
        up.push(target.subarray(0, length));
      return { received: up.received, write: refusal(() => ring.write(Buffer.of(1))) };
    },
    server({ ring, sequence, ready }) {
      sendAll(ring, sequence("up").span(0, 5000));
      ready();
      return untilKilled(ring);
    },
    check: (client) => assert.equal(client, { received: 5000, write: "ECONNRESET" }),
  },
  {
    name: "a sleeper whose peer's thread is killed with bytes unread reads every byte, then ECONNRESET",
    free: true,
    ring: { spinUs: 0 },
    client({ ring, verifier }) {
      sendAll(ring, Buffer.alloc(100));
      const up = verifier("up");
      const target = Buffer.alloc(1000);
      let code = "nothing";
      while (code === "nothing") {
        code = refusal(() => {
          const length = receiveSome(ring, target);
          if (length === END) throw new SmcError("EPROTO", "an end instead of a reset");
          up.push(target.subarray(0, length));
        });
      }
      return { received: up.received, code };
    },
    server({ ring, sequence, ready }) {
      sendAll(ring, sequence("up").span(0, 5000));
      assert.ok(ring.wait(WATCHDOG_MS, "bytes"));
      ready();
      return untilKilled(ring);
    },
    check: (client) => assert.equal(client, { received: 5000, code: "ECONNRESET" }),
  },
  {
    name: "a writer asleep for room is woken when its peer's thread is killed",
    free: true,
    ring: { spinUs: 0 },
    client({ ring, ready }) {
      let code = "nothing";
      while (code === "nothing") {
        code = refusal(() => {
          if (ring.write(Buffer.alloc(10_000)) > 0) return;
          ready();
          news(ring);
        });
      }
      return { code };
    },
    server: ({ ring }) => untilKilled(ring),
    check: (client) => assert.equal(client, { code: "ECONNRESET" }),
  },
];

/** Sends and receives 4 MiB, whichever can go on. */
function both({ ring, sequence, verifier }: SideTools, out: string, back: string): { received: number } {
  const total = 4 * MIB;
  const bytes = sequence(out);
  const incoming = verifier(back);
  const target = Buffer.alloc(20_000);
  let sent = 0;
  while (sent < total || incoming.received < total) {
    const taken = sent < total ? ring.write(bytes.span(sent, Math.min(50_000, total - sent))) : 0;
    sent += taken;
    const length = ring.read(target);
    if (length === END) break;
    incoming.push(target.subarray(0, length));
    if (taken === 0 && length === 0) news(ring);
  }
  return { received: incoming.received };
}
