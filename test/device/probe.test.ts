/** Probes of one stack heard by another, over real sockets of the loopback; and that what nobody sent is heard by nobody. */
import { createSocket } from "node:dgram";
import { networkInterfaces } from "node:os";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Probes } from "../../src/device/probe.js";
import { decodeProbe, encodeProbe } from "../../src/wire/probe.js";
import { happens, until } from "../support/watchdog.js";

interface Scene {
  one: Probes;
  other: Probes;
  /** Sends any bytes to `one`. */
  throwAt(datagram: Uint8Array): void;
}

const LOCAL = "127.0.0.1";
/** Time for a contact, ms. */
const CONTACT_MS = 20;
const addresses = Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map(({ address }) => address));

const test = suite<Scene>("probes");
test.before.each((scene) => {
  scene.one = new Probes();
  scene.other = new Probes();
  scene.throwAt = (datagram) => {
    const socket = createSocket("udp4");
    socket.send(datagram, scene.one.port, LOCAL, () => socket.close());
  };
});
test.after.each(({ one, other }) => {
  one.close();
  other.close();
});

for (const address of [LOCAL, ...(addresses.includes("::1") ? ["::1"] : [])]) {
  test(`a probe is heard where it was sent to, and nowhere else · ${address}`, async ({ one, other }) => {
    const nonce = one.send({ address, port: other.port }, CONTACT_MS).nonce;
    assert.is.not(nonce, 0n);
    await until(() => other.heard(nonce), "the probe");
    assert.not(one.heard(nonce));
    assert.not(other.heard(nonce + 1n));
  });
}

test("each probe has a nonce of its own, each stack a port of its own for as long as it is there", ({ one, other }) => {
  const route = { address: LOCAL, port: other.port };
  assert.is(new Set(Array.from({ length: 100 }, () => one.send(route, CONTACT_MS).nonce)).size, 100);
  assert.ok(one.port > 0);
  assert.is(one.port, one.port);
  assert.is.not(one.port, other.port);
});

test("what is no probe is not heard", async ({ one, throwAt }) => {
  const nonce = 0x1234_5678n;
  const right = encodeProbe(nonce);
  const wrong = Uint8Array.from(right);
  wrong[0]! ^= 1;
  for (const datagram of [right.subarray(1), new Uint8Array([...right, 0]), wrong, new Uint8Array(0), encodeProbe(0n)])
    throwAt(datagram);
  throwAt(encodeProbe(1n));
  await until(() => one.heard(1n), "the probe behind them");
  assert.not(one.heard(nonce));
  assert.not(one.heard(0n));
});

test("of many the last 256 are remembered", async ({ one, other }) => {
  const route = { address: LOCAL, port: other.port };
  const nonces: bigint[] = [];
  while (nonces.length < 300) {
    const { nonce, stop } = one.send(route, CONTACT_MS);
    nonces.push(nonce);
    await until(() => other.heard(nonce), `probe ${nonces.length}`);
    stop();
  }
  assert.equal(
    nonces.map((nonce) => other.heard(nonce)),
    nonces.map((_, i) => i >= 300 - 256),
  );
});

test("a nonce is forgotten in time", async ({ one, other }) => {
  const nonce = one.send({ address: LOCAL, port: other.port }, CONTACT_MS).nonce;
  await until(() => other.heard(nonce), "the probe");
  const now = performance.now();
  performance.now = () => now + 5001;
  try {
    assert.not(other.heard(nonce));
  } finally {
    Reflect.deleteProperty(performance, "now");
  }
});

/** Passes datagrams on to `port`, but for the first `lost` of each nonce. */
async function lossy(port: number, lost: number) {
  const socket = createSocket("udp4");
  const came = new Map<string, number>();
  socket.on("message", (datagram) => {
    const nonce = String(decodeProbe(datagram));
    const before = came.get(nonce) ?? 0;
    came.set(nonce, before + 1);
    if (before >= lost) socket.send(datagram, port, LOCAL);
  });
  socket.bind(0, LOCAL);
  await happens(socket, "listening");
  return { route: { address: LOCAL, port: socket.address().port }, came, close: () => socket.close() };
}

for (const lost of [1, 2, 3]) {
  test(`a probe is heard although ${lost} of its datagrams are lost`, async ({ one, other }) => {
    const { route, close } = await lossy(other.port, lost);
    const { nonce } = one.send(route, CONTACT_MS);
    await until(() => other.heard(nonce), "one of its datagrams");
    close();
  });
}

test("it is sent four times at most, and no more once it is stopped", async ({ one, other }) => {
  const { route, came, close } = await lossy(other.port, 0);
  const stopped = one.send(route, CONTACT_MS);
  stopped.stop();
  const first = one.send(route, CONTACT_MS);
  await until(() => came.get(String(first.nonce)) === 4, "all that is sent of the first");
  const second = one.send(route, CONTACT_MS);
  await until(() => came.get(String(second.nonce)) === 4, "all that is sent of the second");
  assert.equal([came.get(String(first.nonce)), came.get(String(stopped.nonce))], [4, 1]);
  close();
});

test("a nonce that comes again is one of the last from then on, and takes one place", async ({ one, throwAt }) => {
  for (let nonce = 1n; nonce <= 256n; nonce++) {
    throwAt(encodeProbe(nonce));
    await until(() => one.heard(nonce), `nonce ${nonce}`);
  }
  for (const nonce of [2n, 257n, 258n]) throwAt(encodeProbe(nonce));
  await until(() => one.heard(257n) && one.heard(258n), "two more");
  assert.equal([one.heard(1n), one.heard(2n), one.heard(3n), one.heard(4n)], [false, true, false, true]);
});

test("an address that cannot be reached costs nothing", async ({ one, other }) => {
  for (const address of ["255.255.255.255", "fe80::1%nowhere", "no address"])
    assert.is.not(one.send({ address, port: 1 }, CONTACT_MS).nonce, 0n);
  const nonce = one.send({ address: LOCAL, port: other.port }, CONTACT_MS).nonce;
  await until(() => other.heard(nonce), "the probe behind them");
});

test("it keeps no process alive; once closed it takes and sends nothing", ({ one, other }) => {
  const { port } = other;
  assert.ok(one.port > 0);
  assert.not(process.getActiveResourcesInfo().includes("UDPWrap"));
  one.close();
  one.close();
  assert.is(one.port, 0);
  assert.is(one.send({ address: LOCAL, port }, CONTACT_MS).nonce, 0n);
});

test.run();
