/**
 * Frames over unix sockets: they and their descriptors cross whole or not at all, and no peer can leave a descriptor
 * with us. Skipped where libc is missing.
 */
import { closeSync, openSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { addressOf, libcFunction, loadLibc } from "../../src/host/libc.js";
import { checkMemfd, createMemfd, mapAnonymous, mapOver } from "../../src/host/memfd.js";
import { receiveFrame, sendFrame } from "../../src/host/unix-socket.js";
import { skip } from "../support/missing.js";
import { closeAll, errorOf, isCloseOnExec, openDescriptors } from "./descriptors.js";

const test = suite("unix-socket");
const loaded = loadLibc();

const RANGE = 65_536;

/** What is received, as text and number of descriptors; closes them. */
function received(descriptor: number, room = 100): [string, number] | string {
  const frame = Buffer.alloc(room);
  const got = receiveFrame(descriptor, frame);
  if (typeof got === "string") return got;
  closeAll(got.descriptors);
  return [frame.toString("latin1", 0, got.length), got.descriptors.length];
}

if ("reason" in loaded) {
  skip(test, "all of it", `no libc: ${loaded.reason}`);
} else {
  const pair = (): [number, number] => loaded.libc.socketpair()!;
  const sendRaw = libcFunction<(descriptor: number, message: Uint8Array, flags: number) => number | bigint>(
    "intptr_t sendmsg(int fd, const void *message, int flags)",
  );

  /** One byte with `count` descriptors, more than `sendFrame` ever sends. */
  const sendMany = (socket: number, descriptor: number, count: number): void => {
    const byte = Buffer.from("m");
    const vector = Buffer.alloc(16);
    const control = Buffer.alloc(16 + Math.ceil(count / 2) * 8);
    const header = Buffer.alloc(56);
    vector.writeBigUInt64LE(addressOf(byte), 0);
    vector.writeBigUInt64LE(1n, 8);
    control.writeBigUInt64LE(BigInt(16 + 4 * count), 0);
    control.writeInt32LE(1, 8);
    control.writeInt32LE(1, 12);
    for (let i = 0; i < count; i++) control.writeInt32LE(descriptor, 16 + 4 * i);
    header.writeBigUInt64LE(addressOf(vector), 16);
    header.writeBigUInt64LE(1n, 24);
    header.writeBigUInt64LE(addressOf(control), 32);
    header.writeBigUInt64LE(BigInt(control.length), 40);
    assert.is(Number(sendRaw(socket, header, 0)), 1);
    assert.is([byte, vector, control].length, 3, "reachable until here");
  };

  test("a frame crosses; then nothing is there; after the other end closed, the stream is closed", () => {
    const [one, other] = pair();
    assert.is(received(other), "empty");
    assert.is(sendFrame(one, Buffer.from("hello")), "sent");
    assert.equal(received(other), ["hello", 0]);
    assert.is(received(other), "empty");
    assert.is(sendFrame(other, Buffer.from("back")), "sent");
    closeSync(other);
    assert.equal(received(one), ["back", 0]);
    assert.is(received(one), "closed");
    assert.is(sendFrame(one, Buffer.from("late")), "closed");
    closeSync(one);
  });

  test("a reset is the end of the stream too", () => {
    const [one, other] = pair();
    assert.is(sendFrame(one, Buffer.from("unread")), "sent");
    closeSync(other);
    assert.is(received(one), "closed");
    closeSync(one);
  });

  test("a frame may be a part of larger memory, and shared; nothing beside it is sent or written", () => {
    const [one, other] = pair();
    const source = Buffer.from("abcdefgh").subarray(2, 5);
    const memory = new Uint8Array(new SharedArrayBuffer(16));
    assert.is(sendFrame(one, source), "sent");
    const got = receiveFrame(other, memory.subarray(4, 12));
    assert.equal(got, { length: 3, descriptors: [] });
    assert.equal([...memory], [0, 0, 0, 0, 99, 100, 101, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    closeAll([one, other]);
  });

  test("a memfd crosses: the receiver's descriptor is its own, close-on-exec, passes the check and maps the same bytes", () => {
    const [one, other] = pair();
    const memory = new WebAssembly.Memory({ initial: 2, maximum: 2, shared: true });
    const bytes = new Uint8Array(memory.buffer);
    const descriptor = createMemfd("passed", RANGE);
    assert.is(sendFrame(one, Buffer.from("dmb"), descriptor), "sent");
    assert.ok(mapOver(addressOf(bytes), RANGE, descriptor));
    closeSync(descriptor);
    const got = receiveFrame(other, Buffer.alloc(10));
    if (typeof got === "string") throw new Error(got);
    const [copy] = got.descriptors as [number];
    assert.equal([got.length, got.descriptors.length], [3, 1]);
    assert.ok(isCloseOnExec(copy));
    assert.is(checkMemfd(copy, RANGE), undefined);
    assert.ok(mapOver(addressOf(bytes.subarray(RANGE)), RANGE, copy));
    bytes[7] = 77;
    assert.is(bytes[RANGE + 7], 77);
    assert.ok(mapAnonymous(addressOf(bytes), 2 * RANGE));
    closeAll([copy, one, other]);
  });

  test("bytes after a descriptor's frame do not come with it", () => {
    const [one, other] = pair();
    assert.is(sendFrame(one, Buffer.from("a")), "sent");
    assert.is(sendFrame(one, Buffer.from("b"), one), "sent");
    assert.is(sendFrame(one, Buffer.from("c")), "sent");
    assert.is(sendFrame(one, Buffer.from("d")), "sent");
    assert.equal(received(other), ["ab", 1]);
    assert.equal(received(other), ["cd", 0]);
    closeAll([one, other]);
  });

  test("a frame read in parts brings its descriptor once", () => {
    const [one, other] = pair();
    assert.is(sendFrame(one, Buffer.from("abc"), one), "sent");
    assert.equal(received(other, 2), ["ab", 1]);
    assert.equal(received(other, 2), ["c", 0]);
    closeAll([one, other]);
  });

  test("four descriptors at once are taken", () => {
    const [one, other] = pair();
    sendMany(one, one, 4);
    assert.equal(received(other), ["m", 4]);
    closeAll([one, other]);
  });

  test("more descriptors than there is room for close the stream, and none of them stays", () => {
    const [one, other] = pair();
    const before = openDescriptors();
    for (const count of [5, 6, 253]) {
      sendMany(one, one, count);
      assert.is(received(other), "closed", `${count}`);
      assert.is(openDescriptors(), before, `${count}`);
    }
    closeAll([one, other]);
  });

  test("a full socket takes frames of 32 KiB whole or not at all, and goes on when there is room", () => {
    const [one, other] = pair();
    const frame = Buffer.alloc(32_768, 1);
    const before = openDescriptors();
    let sent = 0;
    let outcome = sendFrame(one, frame, one);
    for (; outcome === "sent"; outcome = sendFrame(one, frame, one)) assert.ok(++sent < 10_000, "a socket is finite");
    assert.is(outcome, "full");
    assert.is(openDescriptors(), before, "the descriptor stays the sender's");
    const target = Buffer.alloc(frame.length);
    let got = 0;
    for (;;) {
      const part = receiveFrame(other, target);
      if (typeof part === "string") break;
      closeAll(part.descriptors);
      got += part.length;
    }
    assert.is(got, sent * frame.length);
    assert.is(sendFrame(one, frame), "sent");
    closeAll([one, other]);
  });

  test("a frame taken in part has broken the stream", () => {
    const [one, other] = pair();
    assert.is(sendFrame(one, Buffer.alloc(4 << 20)), "closed");
    closeAll([one, other]);
  });

  test("a frame without a byte, and room for none, are refused", () => {
    const [one, other] = pair();
    assert.is(errorOf(() => sendFrame(one, Buffer.alloc(0), one)).code, "EINVAL");
    assert.is(errorOf(() => receiveFrame(other, Buffer.alloc(0))).code, "EINVAL");
    closeAll([one, other]);
  });

  test("a wrong descriptor is the caller's error, which names the call", () => {
    const [one, other] = pair();
    const frame = Buffer.from("x");
    const file = openSync(process.execPath, "r");
    assert.equal(errorOf(() => sendFrame(-1, frame)).values, { call: "sendmsg", errno: "EBADF" });
    assert.equal(errorOf(() => receiveFrame(-1, frame)).values, { call: "recvmsg", errno: "EBADF" });
    assert.equal(errorOf(() => sendFrame(file, frame)).values, { call: "sendmsg", errno: "ENOTSOCK" });
    assert.equal(errorOf(() => sendFrame(one, frame, -1)).values, { call: "sendmsg", errno: "EBADF" });
    assert.is(received(other), "empty");
    closeAll([one, other, file]);
  });
}

test.run();
