/** A machine whose structs and constants are not known: no FFI is tried there, and what needs it says why. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { loadLibc } from "../../src/host/libc.js";
import { isLocked } from "../../src/host/lock.js";
import { createMemfd, mapOver } from "../../src/host/memfd.js";
import { connectUnix, isUnixStream } from "../../src/host/unix-socket.js";
import { errorOf } from "./descriptors.js";

// This file runs in a process of its own, and the architecture is looked at when libc is first asked for.
Object.defineProperty(process, "arch", { value: "s390x" });

const test = suite("no-libc");
const reason = `no FFI device on ${process.platform} s390x`;

test("the reason is told", () => {
  assert.equal(loadLibc(), { reason });
});

test("each call is an error that carries the reason", () => {
  const calls = [
    () => createMemfd("none", 65_536),
    () => mapOver(65_536n, 65_536, 0),
    () => connectUnix("/"),
    () => isUnixStream(0),
    () => isLocked(0),
  ];
  for (const call of calls) {
    const error = errorOf(call);
    assert.equal(error.values, { reason });
    assert.match(error.message, /no libc: no FFI device/);
  }
});

test.run();
