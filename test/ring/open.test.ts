/** Taking the ring of a socket: who gets it, who is refused; and a ring at one end with a plain smcnet socket at the other. */
import net, { type Socket } from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { SmcError } from "../../src/errors.js";
import * as smc from "../../src/index.js";
import { END, openRing, type Ring } from "../../src/ring/index.js";
import { journal, readAll } from "../net/scenario.js";
import { checkNothingLeft } from "../net/stage.js";
import { closed, connectPair, dial, listen, type Pair } from "../support/pair.js";
import { type TransportName, transport } from "../support/transports.js";
import { happens, until } from "../support/watchdog.js";
import { drain, refusal } from "./verbs.js";

const test = suite("ring opening");
let pagesBefore = 0;
test.before(() => {
  pagesBefore = smc.poolFreePages();
});

/** A pair for the length of `body`. */
async function withPair(carrier: TransportName, body: (pair: Pair) => Promise<void>): Promise<void> {
  const pair = await connectPair(transport(carrier));
  for (const socket of [pair.client, pair.accepted]) socket.on("error", () => undefined);
  try {
    await body(pair);
  } finally {
    await pair.close();
  }
}

/** Reads until `count` bytes are there or the stream ends; the loop turns in between. */
async function take(ring: Ring, count: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  await until(() => {
    const chunk = drain(ring);
    chunks.push(chunk);
    length += chunk.length;
    return length >= count || ring.ended;
  }, `${count} bytes`);
  return Buffer.concat(chunks);
}

test("a socket that SMC does not carry: SMC_NOT_SMC, and what carries it", async () => {
  assert.is(
    refusal(() => openRing(new net.Socket())),
    "SMC_NOT_SMC",
  );
  assert.is(
    refusal(() => openRing(new smc.Socket())),
    "SMC_NOT_SMC",
    "not connected yet",
  );
  for (const carrier of ["net", "fallback: plain server", "fallback: plain client"] as const)
    await withPair(carrier, async ({ client, accepted }) => {
      for (const socket of [client, accepted])
        assert.is(
          refusal(() => openRing(socket)),
          "SMC_NOT_SMC",
          carrier,
        );
    });
  await withPair("fallback: plain server", async ({ client }) => {
    try {
      openRing(client);
      assert.unreachable();
    } catch (error) {
      assert.is(((error as SmcError).values["status"] as smc.SmcStatus).mode, "TCP");
    }
  });
});

test("a socket that is closed: SMC_NOT_SMC", () =>
  withPair("smcd", async ({ client }) => {
    client.destroy();
    await closed(client);
    assert.is(
      refusal(() => openRing(client)),
      "SMC_NOT_SMC",
    );
  }));

test("a ring is taken once: EBUSY, also after it was closed; the other end is another one", () =>
  withPair("smcd", async ({ client, accepted }) => {
    const ring = openRing(client);
    assert.is(ring.socket, client);
    assert.is(
      refusal(() => openRing(client)),
      "EBUSY",
    );
    openRing(accepted);
    assert.is(
      refusal(() => openRing(accepted)),
      "EBUSY",
    );
    ring.close();
    assert.ok(["EBUSY", "SMC_NOT_SMC"].includes(refusal(() => openRing(client))));
  }));

test("a socket with writes under way: EBUSY, and a ring once they have gone", () =>
  withPair("smcd", async ({ client, accepted }) => {
    const written = new Promise((resolve) => client.write(Buffer.alloc(1_000_000), resolve));
    assert.is(
      refusal(() => openRing(client)),
      "EBUSY",
    );
    accepted.resume();
    await written;
    assert.ok(openRing(client));
  }));

test("bytes that came before the ring was opened are its bytes", async () => {
  const [server, port] = await listen(transport("smcd"));
  server.on("connection", (socket: Socket) => socket.end("220 the server speaks first"));
  const socket = dial(transport("smcd"), port);
  await happens(socket, "connect");
  const ring = openRing(socket);
  assert.is(String(await take(ring, 27)), "220 the server speaks first");
  ring.close();
  await closed(socket);
  server.close();
});

test("bytes that the socket has already taken in are not lost without a word", () =>
  withPair("smcd", async ({ client, accepted }) => {
    accepted.write("early");
    await until(() => client.readableLength === 5, "the socket to take them in");
    const outcome = refusal(() => openRing(client));
    assert.ok(outcome === "EBUSY" || client.readableLength === 5, outcome);
    assert.is(String(client.read()), "early", "they are the socket's to give");
  }));

for (const carrier of ["smcd", "smcd-copy"] as const) {
  test(`bytes go both ways between a ring and a plain socket · ${carrier}`, () =>
    withPair(carrier, async ({ client, accepted }) => {
      const ring = openRing(client);
      ring.write(Buffer.from("from the ring"));
      const [chunk] = (await happens(accepted, "data")) as [Buffer];
      assert.is(String(chunk), "from the ring");
      accepted.write("from the socket");
      assert.is(String(await take(ring, 15)), "from the socket");
    }));

  test(`ring.close() is an end for the plain socket, after every byte · ${carrier}`, () =>
    withPair(carrier, async ({ client, accepted }) => {
      const seen = journal(accepted);
      const got = readAll(accepted);
      const ring = openRing(client);
      ring.write(Buffer.from("last words"));
      ring.close();
      assert.is(String(await got), "last words");
      await seen.closed();
      assert.equal([seen.events, seen.error], [["end", "finish", "close(false)"], undefined]);
      await closed(client);
    }));

  test(`ring.abort() is ECONNRESET for the plain socket · ${carrier}`, () =>
    withPair(carrier, async ({ client, accepted }) => {
      accepted.resume();
      const seen = journal(accepted);
      openRing(client).abort();
      await seen.closed();
      assert.equal([seen.events, seen.error?.["code"]], [["error", "close(true)"], "ECONNRESET"]);
      await closed(client);
    }));

  test(`socket.end(data) is END for the ring, after every byte; the ring may still write · ${carrier}`, async () => {
    const pair = await connectPair(transport(carrier), { server: { allowHalfOpen: true } });
    const ring = openRing(pair.client);
    pair.accepted.end("the end of the socket");
    assert.is(String(await take(ring, 1_000)), "the end of the socket");
    assert.equal([ring.read(Buffer.alloc(1)), ring.ended], [END, true]);
    const got = readAll(pair.accepted);
    assert.is(ring.write(Buffer.from("an answer")), 9);
    ring.close();
    assert.is(String(await got), "an answer");
    await pair.close();
  });

  test(`socket.resetAndDestroy() is ECONNRESET for the ring, after every byte · ${carrier}`, () =>
    withPair(carrier, async ({ client, accepted }) => {
      const ring = openRing(client);
      accepted.write("before the reset");
      accepted.resetAndDestroy();
      await closed(accepted);
      const target = Buffer.alloc(16);
      assert.equal([ring.read(target), String(target)], [16, "before the reset"]);
      assert.is(
        refusal(() => ring.read(target)),
        "ECONNRESET",
      );
      assert.is(
        refusal(() => ring.write(target)),
        "ECONNRESET",
      );
    }));

  test(`socket.destroy() with bytes of the ring unread is ECONNRESET, without is END · ${carrier}`, async () => {
    for (const unread of [true, false])
      await withPair(carrier, async ({ client, accepted }) => {
        const ring = openRing(client);
        accepted.pause();
        if (unread) ring.write(Buffer.alloc(100_000));
        accepted.destroy();
        await closed(accepted);
        const outcome = refusal(() => assert.is(ring.read(Buffer.alloc(1)), END));
        assert.is(outcome, unread ? "ECONNRESET" : "nothing");
      });
  });
}

test("no doorbell was rescued and every page came back", () => checkNothingLeft(pagesBefore));

test.run();
