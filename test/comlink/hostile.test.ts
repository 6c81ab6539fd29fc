/**
 * Peers that send what no endpoint sends, and programs that use an endpoint wrongly: the socket ends with a named error, the
 * process goes on, no port stays behind.
 */
import net, { type AddressInfo, type Socket } from "node:net";
import { MessageChannel, type MessagePort } from "node:worker_threads";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { writeClone } from "../../src/comlink/clone.js";
import { HEAD_BYTES, seal } from "../../src/comlink/frames.js";
import { type EndpointOptions, endpoint } from "../../src/comlink/index.js";
import type { SmcError } from "../../src/index.js";
import { prngFor } from "../support/prng.js";
import { happens, until, within } from "../support/watchdog.js";

/** A message as the other end would write it; each port in it gets the next of `numbers`. */
function frame(value: unknown, numbers: number[] = [], channel = 0): Buffer {
  return seal(
    writeClone(value, HEAD_BYTES, () => numbers.shift()!),
    channel,
  );
}

function raw(payload: string, channel = 0): Buffer {
  return seal(Buffer.concat([Buffer.alloc(HEAD_BYTES), Buffer.from(payload, "hex")]), channel);
}

interface Scene {
  readonly hostile: Socket;
  readonly victim: Socket;
  readonly heard: unknown[];
  readonly end: ReturnType<typeof endpoint>;
  close(): Promise<void>;
}

async function scene(options?: EndpointOptions): Promise<Scene> {
  const server = net.createServer();
  server.listen(0, "127.0.0.1");
  await happens(server, "listening");
  const hostile = net.connect((server.address() as AddressInfo).port, "127.0.0.1");
  hostile.on("error", () => undefined);
  const [victim] = (await happens(server, "connection")) as [Socket];
  const heard: unknown[] = [];
  const end = endpoint(victim, options);
  end.addEventListener("message", ({ data }: { data: unknown }) => {
    heard.push(data);
  });
  end.start();
  const close = async (): Promise<void> => {
    hostile.destroy();
    victim.destroy();
    const closed = happens(server, "close");
    server.close();
    await closed;
  };
  return { hostile, victim, heard, end, close };
}

/** The error with which the victim's socket ends when it gets these bytes. */
async function errorAfter(bytes: Buffer, options?: EndpointOptions): Promise<SmcError> {
  const { hostile, victim, close } = await scene(options);
  const failed = new Promise<SmcError>((resolve) => victim.once("error", resolve as (error: Error) => void));
  hostile.write(bytes);
  const error = await within(failed, "the victim's socket to fail");
  await close();
  return error;
}

const ports = (count: number): MessagePort[] =>
  Array.from({ length: count }, () => {
    const { port1, port2 } = new MessageChannel();
    port1.close();
    port2.close();
    return port2;
  });

const HOSTILE: Readonly<Record<string, Buffer>> = {
  "a length above the bound": raw("00".repeat(1_001)),
  "bytes that are no clone": raw("ffffffff"),
  "a clone of an unknown version": raw("fffe22026869"),
  "a clone that ends too early": raw("ff0f220a6869"),
  "an object of the host of an unknown kind": raw("ff0f5c6300"),
  "a view longer than its message": raw("ff0f5c01ffffff7f00"),
  "a view of half an element": raw("ff0f5c050300000000"),
  "a message for a channel that never was": raw("ff0f4905", 7),
  "the close of a channel that never was": raw("", 0x80000001),
  "the close of channel 0": raw(""),
  "a port with a number that is not the next": frame(ports(1), [2]),
  "a port with the number of another": frame(ports(2), [1, 1]),
  "one port too many": frame(ports(5), [1, 2, 3, 4, 5]),
};

const test = suite("comlink, hostile");

for (const [what, bytes] of Object.entries(HOSTILE)) {
  test(`${what} ends the socket with EPROTO`, async () => {
    const error = await errorAfter(bytes, { maxFrameBytes: 1_000, maxPorts: 4 });
    assert.is(error.code, "EPROTO", String(error));
  });
}

test("frames before the hostile one are heard, those after it are not", async () => {
  const { hostile, victim, heard, close } = await scene();
  const failed = happens(victim, "close").catch((error: unknown) => error);
  hostile.write(Buffer.concat([frame("before"), raw("ffffffff"), frame("after")]));
  await failed;
  assert.equal(heard, ["before"]);
  await close();
});

test("a stream that ends within a message ends with EPROTO", async () => {
  const { hostile, victim, close } = await scene();
  const failed = new Promise<Error>((resolve) => victim.once("error", resolve));
  hostile.end(frame("cut short").subarray(0, -1));
  assert.match((await within(failed, "the victim's socket to fail")).message, /EPROTO: the stream ended within/);
  await close();
});

test("random bytes and damaged frames never do more than end their socket", async () => {
  const random = prngFor("hostile frames");
  const good = frame({ id: "x", type: "APPLY", path: ["a"], argumentList: [{ type: "RAW", value: [1, "two", 3n] }] });
  for (let i = 0; i < 150; i++) {
    const { hostile, victim, close } = await scene({ maxFrameBytes: 10_000 });
    const closed = new Promise((resolve) => victim.once("close", resolve));
    const errors: SmcError[] = [];
    victim.on("error", (error: SmcError) => errors.push(error));
    const bytes = Buffer.from(good);
    if (random.oneIn(4)) random.fill(bytes);
    else bytes[random.below(bytes.length)] = random.u32();
    hostile.end(bytes);
    await within(closed, "the end of the socket");
    for (const { code } of errors) assert.is(code, "EPROTO");
    await close();
  }
});

test("a listener that throws ends the socket with its error", async () => {
  const { hostile, victim, end, close } = await scene();
  end.addEventListener("message", {
    handleEvent() {
      throw new RangeError("of the listener");
    },
  });
  const failed = new Promise<Error>((resolve) => victim.once("error", resolve));
  hostile.write(frame("hello"));
  assert.is((await within(failed, "the victim's socket to fail")).message, "of the listener");
  await close();
});

test("a closed channel is forgotten at both ends, and its late messages are dropped", async () => {
  const { hostile, victim, heard, close } = await scene({ maxPorts: 1 });
  const answers: Buffer[] = [];
  hostile.on("data", (chunk: Buffer) => answers.push(chunk));
  hostile.write(frame(ports(1), [1]));
  await until(() => heard.length === 1, "the port");
  const [port] = heard[0] as [MessagePort];
  // Its own numbers: 1 was made by the hostile end.
  port.close();
  await until(() => Buffer.concat(answers).length === HEAD_BYTES, "the close");
  assert.is(Buffer.concat(answers).toString("hex"), "0000000001000080");
  hostile.write(Buffer.concat([frame("late", [], 1), raw("", 1), frame(ports(1), [2])]));
  await until(() => heard.length === 2, "another port, where one is allowed");
  const gone = new Promise((resolve) => (heard[1] as [MessagePort])[0].once("close", resolve));
  victim.destroy();
  await within(gone, "the port to be closed with its socket");
  await close();
});

test("a second endpoint, a socket of strings and bad bounds are refused", async () => {
  const { victim, hostile, close } = await scene();
  assert.throws(() => endpoint(victim), /EBUSY/);
  assert.throws(() => endpoint(hostile, { maxFrameBytes: 0 }), /EINVAL/);
  assert.throws(() => endpoint(hostile, { maxPorts: -1 }), /EINVAL/);
  hostile.setEncoding("utf8");
  assert.throws(() => endpoint(hostile), /EINVAL/);
  await close();
});

test.run();
