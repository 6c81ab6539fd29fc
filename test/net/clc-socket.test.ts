/**
 * The clcSocket on a real TCP connection: what comes before anybody waits for CLC is there for whoever does.
 */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { engineBinding, type TcpHandle } from "../../src/net/binding.js";
import { ClcSocket } from "../../src/net/clc-socket.js";
import { within } from "../support/watchdog.js";

interface Scene {
  server: Server;
  /** The accepted end. */
  peer: Socket;
  handle: TcpHandle;
  clcSocket: ClcSocket;
}

const test = suite<Scene>("clcSocket");
test.before.each(async (scene) => {
  scene.server = createServer().listen(0, "127.0.0.1");
  await once(scene.server, "listening");
  const accepted = once(scene.server, "connection");
  const socket = connect((scene.server.address() as AddressInfo).port, "127.0.0.1");
  await once(socket, "connect");
  [scene.peer] = (await accepted) as [Socket];
  scene.handle = (socket as unknown as { _handle: TcpHandle })._handle;
  scene.clcSocket = new ClcSocket(engineBinding().engine!, scene.handle);
});
test.after.each(({ server, peer, handle }) => {
  handle.close();
  peer.destroy();
  server.close();
});

/** What a reader is told: text, or the status of the end. */
function reads(clcSocket: ClcSocket, until: string | number): Promise<unknown> {
  const told = new Promise((resolve) => {
    clcSocket.startReading({
      bytes: (data) => Buffer.from(data).toString() === until && resolve(until),
      ended: (status) => status === until && resolve(status),
    });
  });
  return within(told, `the reader to be told ${JSON.stringify(until)}`);
}

test("who starts reading after an end was seen is told of it as well", async ({ clcSocket, peer }) => {
  peer.end();
  assert.is(await reads(clcSocket, 0), 0);
  assert.is(await reads(clcSocket, 0), 0);
});

test("bytes go to whoever reads when they come", async ({ clcSocket, peer }) => {
  const first = reads(clcSocket, "one");
  peer.write("one");
  assert.is(await first, "one");
  const second = reads(clcSocket, "two");
  peer.end("two");
  assert.is(await second, "two");
  assert.is(await reads(clcSocket, 0), 0);
});

test("a message is one write", async ({ clcSocket, handle, peer }) => {
  let writes = 0;
  const { writeBuffer } = handle;
  handle.writeBuffer = function (this: TcpHandle, ...args) {
    writes++;
    return writeBuffer.apply(this, args);
  };
  const message = Buffer.alloc(652, 0x5a);
  const arrived = new Promise<Buffer>((resolve) => {
    let got = Buffer.alloc(0);
    peer.on("data", (chunk: Buffer) => {
      got = Buffer.concat([got, chunk]);
      if (got.length >= message.length) resolve(got);
    });
  });
  assert.is(clcSocket.send(message), 0);
  assert.equal(await within(arrived, "the message to arrive"), message);
  assert.is(writes, 1);
});

test.run();
