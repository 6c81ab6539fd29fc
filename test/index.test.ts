/**
 * The public API beside the sockets' behaviour: the shape of `node:net`, and that what it makes are the engine's own objects.
 */
import { mkdtempSync, rmSync } from "node:fs";
import net, { type AddressInfo, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as smc from "../src/index.js";
import { checkNothingLeft } from "./net/stage.js";
import { testUnless } from "./support/missing.js";
import { closed, shut } from "./support/pair.js";
import { happens } from "./support/watchdog.js";

const test = suite("the shape of net");
let pagesBefore = 0;
test.before(() => {
  pagesBefore = smc.poolFreePages();
});

test("everything public of node:net is there, of the same kind and with as many parameters", () => {
  const ours = smc as unknown as Record<string, unknown>;
  const own = ["connect", "createConnection", "createServer", "Socket", "Stream", "Server"];
  for (const [name, theirs] of Object.entries(net)) {
    if (name.startsWith("_") || name === "default") continue;
    assert.is(typeof ours[name], typeof theirs, name);
    if (!own.includes(name)) assert.is(ours[name], theirs, `${name} is net's own`);
  }
  assert.is(smc.Stream, smc.Socket);
  assert.is(smc.createConnection, smc.connect);
});

test("sockets and servers are net's: by class, and without a method of their own in front of net's", () => {
  const socket = new smc.Socket();
  const server = smc.createServer();
  assert.ok(socket instanceof net.Socket && server instanceof net.Server);
  const methods = (prototype: object): string[] =>
    Object.entries(Object.getOwnPropertyDescriptors(prototype)).flatMap(([name, { value }]) =>
      typeof value === "function" ? name : [],
    );
  assert.equal(methods(smc.Socket.prototype), ["constructor"]);
  assert.equal(methods(smc.Server.prototype), ["constructor"]);
  socket.destroy();
});

test("a socket shows nothing more of itself than net's does", () => {
  const [ours, theirs] = [new smc.Socket(), new net.Socket()];
  assert.equal(Object.keys(ours).sort(), Object.keys(theirs).sort());
  for (const socket of [ours, theirs]) socket.destroy();
});

/** A server of smcnet that says "hello" and ends. */
async function greeting(...listen: unknown[]): Promise<net.Server> {
  const server = smc.createServer((socket) => socket.end("hello"));
  (server.listen as (...args: unknown[]) => unknown).apply(server, listen);
  await happens(server, "listening");
  return server;
}

async function heard(socket: Socket): Promise<string> {
  let text = "";
  socket.setEncoding("utf8").on("data", (part: string) => {
    text += part;
  });
  await happens(socket, "end");
  await closed(socket);
  return text;
}

test("every form of connect: options, port, port and host, by function and by method, with and without a callback", async () => {
  const server = await greeting(0, "localhost");
  const { port } = server.address() as AddressInfo;
  let called = 0;
  const connected = () => called++;
  const connects: [string, () => Socket][] = [
    ["connect(options)", () => smc.connect({ port })],
    ["connect(options, callback)", () => smc.connect({ port, host: "localhost" }, connected)],
    ["connect(port, host)", () => smc.connect(port, "localhost")],
    ["connect(port, host, callback)", () => smc.connect(port, "localhost", connected)],
    ["connect(port, callback)", () => smc.connect(port, connected)],
    ["createConnection(options)", () => smc.createConnection({ port })],
    ["new Socket().connect(options)", () => new smc.Socket().connect({ port })],
    ["new Socket().connect(port, host, callback)", () => new smc.Socket().connect(port, "localhost", connected)],
  ];
  for (const [name, connect] of connects) {
    const socket = connect();
    assert.is(await heard(socket), "hello", name);
    assert.is(socket.smc?.mode, "SMCD", name);
  }
  assert.is(called, 4);
  await shut(server);
});

const { BoundSocket } = smc as unknown as {
  BoundSocket?: new (options: { host: string }) => { address(): AddressInfo };
};
testUnless(BoundSocket === undefined ? "this Node has no net.BoundSocket" : undefined, test)(
  "a socket that was bound before negotiates as any other, from the address that it has",
  async () => {
    const server = await greeting(0, "127.0.0.1");
    const bound = new BoundSocket!({ host: "127.0.0.1" });
    const { port } = bound.address();
    const socket = new smc.Socket({ handle: bound } as unknown as net.SocketConstructorOpts);
    socket.connect((server.address() as AddressInfo).port, "127.0.0.1");
    await happens(socket, "connect");
    assert.is(socket.localPort, port);
    assert.is(await heard(socket), "hello");
    assert.is(socket.smc?.mode, "SMCD");
    await shut(server);
  },
);

test("a socket that has closed is used again, whatever carried it before", async () => {
  const [ours, plain] = [await greeting(0, "127.0.0.1"), net.createServer((socket) => socket.end("hello"))];
  plain.listen(0, "127.0.0.1");
  await happens(plain, "listening");
  const socket = new smc.Socket();
  for (const server of [ours, plain, ours]) {
    socket.connect((server.address() as AddressInfo).port, "127.0.0.1");
    await happens(socket, "connect");
    assert.is(await heard(socket), "hello");
  }
  await Promise.all([shut(ours), shut(plain)]);
});

test("paths of unix sockets stay net's: no SMC, and nothing of ours in the way", async () => {
  const folder = mkdtempSync(join(tmpdir(), "smcnet-test-"));
  try {
    const path = join(folder, "socket");
    const server = await greeting(path);
    for (const socket of [smc.connect(path), smc.connect({ path })]) {
      assert.is(await heard(socket), "hello");
      assert.is(socket.smc?.mode, "TCP");
    }
    await shut(server);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("attach works before listen and after it, twice is once, and gives the server back", async () => {
  for (const when of ["before", "after"]) {
    const server = net.createServer((socket) => socket.end("hello"));
    if (when === "before") assert.is(smc.attach(server), server);
    server.listen(0, "127.0.0.1");
    await happens(server, "listening");
    smc.attach(smc.attach(server));
    const socket = smc.connect((server.address() as AddressInfo).port, "127.0.0.1");
    assert.is(await heard(socket), "hello");
    assert.is(socket.smc?.mode, "SMCD", when);
    await shut(server);
  }
});

test("a wrong option is refused where it is given, by name", async () => {
  const wrong = { smc: { rmem: 1 } };
  for (const make of [
    () => smc.connect({ port: 1, ...wrong }),
    () => new smc.Socket(wrong),
    () => smc.createServer(wrong),
    () => smc.attach(net.createServer(), wrong.smc),
  ])
    assert.throws(make, (error: smc.SmcError) => error.code === "EINVAL" && /rmem/.test(error.message));
});

test("no doorbell was rescued and every page came back", () => checkNothingLeft(pagesBefore));

test.run();
