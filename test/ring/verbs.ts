/**
 * The scenarios of the ring's verbs: what each of them answers when there is room, when there is none, at the wrap, at the end.
 *
 * Owns the scenarios. Knows nothing of where the sides run. RING is the room in one direction over nocopy; in copy mode the private
 * send ring holds as much again.
 */
import * as assert from "uvu/assert";
import { SmcError } from "../../src/errors.js";
import { END, type Ring } from "../../src/ring/index.js";
import { type Mode, RING, type RingScenario } from "./sides.js";

const roomOf = (mode: Mode): number => (mode === "copy" ? 2 * RING : RING);

/** Code of the SmcError that `call` throws. */
export function refusal(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    assert.instance(error, SmcError, `${error}`);
    return (error as SmcError).code;
  }
  return "nothing";
}

/** Writes `data` until nothing more goes in; bytes taken. */
function pour(ring: Ring, data: Uint8Array): number {
  let taken = 0;
  for (let more = ring.write(data); more > 0; more = ring.write(data.subarray(taken))) taken += more;
  return taken;
}

/** Reads all there is now. */
export function drain(ring: Ring): Buffer {
  const chunks: Buffer[] = [];
  const target = Buffer.alloc(50_000);
  for (let length = ring.read(target); length > 0; length = ring.read(target))
    chunks.push(Buffer.from(target.subarray(0, length)));
  return Buffer.concat(chunks);
}

/** Moves both cursors of client → server to `offset` of the ring. */
const forward = (ring: Ring, offset: number): void => assert.is(ring.write(Buffer.alloc(offset)), offset);

export const VERBS: readonly RingScenario[] = [
  {
    name: "write and read move bytes; read gives what is there, at most what was asked for, then 0",
    *client({ ring, sequence }) {
      const bytes = sequence("up");
      assert.is(ring.write(bytes.span(0, 1000)), 1000);
      assert.is(ring.write(bytes.span(1000, 24)), 24);
      assert.is(ring.write(new Uint8Array(0)), 0);
      yield;
      const answer = drain(ring);
      return { answer: answer.toString() };
    },
    server({ ring, verifier }) {
      const up = verifier("up");
      const target = Buffer.alloc(1001, 0xee);
      const lengths = [300, 300, 300, 300].map((most) => {
        const length = ring.read(target.subarray(0, most));
        up.push(target.subarray(0, length));
        return length;
      });
      assert.is(target[300], 0xee, "nothing beyond the target");
      lengths.push(ring.read(target));
      assert.is(ring.read(new Uint8Array(0)), 0);
      ring.write(Buffer.from("got it"));
      return { lengths };
    },
    check(client, server) {
      assert.equal([client["answer"], server["lengths"]], ["got it", [300, 300, 300, 124, 0]]);
    },
  },
  {
    name: "write takes what fits and then 0; what was taken is what arrives; room comes back with reading",
    *client({ ring, sequence, mode }) {
      const bytes = sequence("up");
      const first = pour(ring, bytes.span(0, 300_000));
      assert.is(first, roomOf(mode));
      assert.is(ring.write(bytes.span(first, 1)), 0, "full");
      assert.is(ring.reserve(1).length, 0, "full");
      let total = first;
      for (let i = 0; i < 20; i++) {
        yield;
        total += pour(ring, bytes.span(total, 300_000));
      }
      return { total };
    },
    *server({ ring, verifier }) {
      const up = verifier("up");
      for (let i = 0; i < 21; i++) {
        up.push(drain(ring));
        yield;
      }
      return { received: up.received };
    },
    check(client, server) {
      assert.ok((client["total"] as number) >= 20 * RING, `${client["total"]}`);
      assert.ok((server["received"] as number) >= (client["total"] as number) - 2 * RING);
    },
  },
  {
    name: "reserve is shorter at the ring's end; commit publishes the first part and no more",
    *client({ ring, sequence }) {
      const bytes = sequence("up");
      forward(ring, RING - 100);
      yield;
      const view = ring.reserve(1000);
      assert.is(view.length, 100, "up to the end of the ring");
      view.set(bytes.span(0, 100));
      ring.commit(60);
      const rest = ring.reserve(1000);
      assert.is(rest.length, 40);
      rest.set(bytes.span(60, 40));
      ring.commit(40);
      const wrapped = ring.reserve(1000);
      assert.is(wrapped.length, 1000, "from the ring's beginning");
      wrapped.set(bytes.span(100, 1000));
      ring.commit(1000);
      yield;
      return {};
    },
    *server({ ring, verifier }) {
      drain(ring);
      yield;
      const up = verifier("up");
      up.push(drain(ring));
      return { received: up.received };
    },
    check: (_client, server) => assert.is(server["received"], 1100),
  },
  {
    name: "commit beyond what was reserved is EINVAL and publishes nothing",
    client({ ring }) {
      const codes = [refusal(() => ring.commit(1)), refusal(() => ring.commit(-1))];
      assert.is(ring.reserve(100).length, 100);
      codes.push(refusal(() => ring.commit(101)));
      ring.commit(0);
      codes.push(refusal(() => ring.commit(1)));
      ring.reserve(8).set(Buffer.from("reserved"));
      ring.commit(8);
      codes.push(refusal(() => ring.commit(1)));
      return { codes };
    },
    server({ ring }) {
      return { got: drain(ring).toString() };
    },
    check(client, server) {
      assert.equal(client["codes"], ["EINVAL", "EINVAL", "EINVAL", "EINVAL", "EINVAL"]);
      assert.is(server["got"], "reserved");
    },
  },
  {
    name: "a write between reserve and commit takes the reservation",
    client({ ring, mode }) {
      const reserved = ring.reserve(RING).length;
      const taken = pour(ring, Buffer.alloc(2 * RING, "w"));
      assert.equal([reserved, taken], [RING, roomOf(mode)]);
      return { code: refusal(() => ring.commit(reserved)) };
    },
    server({ ring }) {
      return { foreign: drain(ring).findIndex((byte) => byte !== 0x77) };
    },
    check: (client, server) => assert.equal([client["code"], server["foreign"]], ["EINVAL", -1]),
  },
  {
    name: "peek shows two spans at the wrap, in order, and stays until consume",
    *client({ ring, sequence }) {
      forward(ring, RING - 50);
      yield;
      assert.is(pour(ring, sequence("up").span(0, 200)), 200);
      return {};
    },
    *server({ ring, verifier, sequence }) {
      assert.equal([drain(ring).length, ring.peek()], [RING - 50, []]);
      yield;
      const lengths = () => ring.peek().map((view) => view.length);
      const copy = () => Buffer.concat(ring.peek());
      const seen: unknown[] = [lengths(), lengths()];
      sequence("up").check(copy(), 0);
      ring.consume(0);
      ring.consume(20);
      seen.push(lengths());
      sequence("up").check(copy(), 20);
      ring.consume(40);
      seen.push(lengths());
      const rest = verifier("up");
      rest.received = 60;
      rest.push(copy());
      ring.consume(140);
      seen.push(lengths());
      return { seen };
    },
    check: (_client, server) => assert.equal(server["seen"], [[50, 150], [50, 150], [30, 150], [140], []]),
  },
  {
    name: "consume beyond what has arrived is EINVAL and gives nothing back",
    client({ ring }) {
      ring.write(Buffer.from("0123456789"));
      return {};
    },
    server({ ring }) {
      const codes = [refusal(() => ring.consume(11)), refusal(() => ring.consume(-1))];
      ring.consume(4);
      codes.push(refusal(() => ring.consume(7)));
      const rest = drain(ring).toString();
      codes.push(refusal(() => ring.consume(1)));
      return { codes, rest };
    },
    check: (_client, server) =>
      assert.equal(server, { codes: ["EINVAL", "EINVAL", "EINVAL", "EINVAL"], rest: "456789" }),
  },
  {
    name: "wait says false when nothing is new, and true when there is something to read",
    *client({ ring }) {
      const before = [ring.wait(0), ring.wait(5)];
      yield;
      return { before, after: ring.wait(1000), got: drain(ring).toString(), again: ring.wait(0) };
    },
    server({ ring }) {
      ring.write(Buffer.from("news"));
      return {};
    },
    check: (client) => assert.equal(client, { before: [false, false], after: true, got: "news", again: false }),
  },
  {
    name: "wait says true for room that a full sender has waited for",
    *client({ ring, mode }) {
      assert.is(pour(ring, Buffer.alloc(200_000)), roomOf(mode));
      const full = ring.wait(0);
      yield;
      return { full, room: ring.wait(1000), more: pour(ring, Buffer.alloc(200_000)) > 0 };
    },
    server({ ring }) {
      drain(ring);
      return {};
    },
    check: (client) => assert.equal(client, { full: false, room: true, more: true }),
  },
  {
    name: "room that came while a writer looked for something to read is news for its next wait",
    *client({ ring, mode }) {
      assert.is(pour(ring, Buffer.alloc(200_000)), roomOf(mode));
      yield;
      const read = ring.read(Buffer.alloc(1));
      return { read, wait: ring.wait(1000), more: pour(ring, Buffer.alloc(10)) };
    },
    server({ ring }) {
      drain(ring);
      return {};
    },
    check: (client) => assert.equal(client, { read: 0, wait: true, more: 10 }),
  },
  {
    name: "after close everything written still arrives, then END again and again; writing is over on both sides",
    client({ ring, sequence }) {
      ring.write(sequence("up").span(0, 5000));
      ring.close();
      ring.close();
      return { write: refusal(() => ring.write(Buffer.of(1))), reserve: refusal(() => ring.reserve(1)) };
    },
    server({ ring, verifier }) {
      const up = verifier("up");
      assert.ok(ring.wait(1000));
      assert.not(ring.ended, "there is something left to read");
      up.push(drain(ring));
      const target = Buffer.alloc(10);
      const ends = [ring.read(target), ring.read(target), ring.peek().length];
      return {
        received: up.received,
        ends,
        ended: ring.ended,
        wait: ring.wait(0),
        write: refusal(() => ring.write(target)),
      };
    },
    check(client, server) {
      assert.equal(client, { write: "EPIPE", reserve: "EPIPE" });
      assert.equal(server, { received: 5000, ends: [END, END, 0], ended: true, wait: true, write: "ECONNRESET" });
    },
  },
  {
    name: "close with bytes unread resets the peer, as TCP does",
    *client({ ring }) {
      ring.write(Buffer.from("never read"));
      yield;
      assert.ok(ring.wait(1000));
      return { read: refusal(() => ring.read(Buffer.alloc(10))), write: refusal(() => ring.write(Buffer.alloc(10))) };
    },
    server({ ring }) {
      ring.close();
      return {};
    },
    check: (client) => assert.equal(client, { read: "ECONNRESET", write: "ECONNRESET" }),
  },
  {
    name: "abort: the peer reads what had arrived, then ECONNRESET",
    client({ ring, sequence }) {
      ring.write(sequence("up").span(0, 3000));
      ring.abort();
      ring.abort();
      return { write: refusal(() => ring.write(Buffer.of(1))) };
    },
    server({ ring, verifier }) {
      assert.ok(ring.wait(1000));
      const up = verifier("up");
      const target = Buffer.alloc(3000);
      up.push(target.subarray(0, ring.read(target)));
      return { received: up.received, codes: [1, 2].map(() => refusal(() => ring.read(target))), ended: ring.ended };
    },
    check(client, server) {
      assert.is(client["write"], "EPIPE");
      assert.equal(server, { received: 3000, codes: ["ECONNRESET", "ECONNRESET"], ended: true });
    },
  },
  {
    name: "an end that comes while the ring is full is not lost on the writer",
    *client({ ring, mode }) {
      assert.is(pour(ring, Buffer.alloc(200_000)), roomOf(mode));
      yield;
      // Looking for room is what takes in the peer's words here.
      const write = refusal(() => ring.write(Buffer.of(1)));
      return { write, wait: ring.wait(1000), read: refusal(() => ring.read(Buffer.alloc(1))) };
    },
    server({ ring }) {
      ring.close();
      return {};
    },
    check: (client) => assert.equal(client, { write: "ECONNRESET", wait: true, read: "ECONNRESET" }),
  },
  {
    name: "a view that is cloned elsewhere takes its ring along, never the arena",
    client({ ring, sequence, ffi }) {
      const view = ring.reserve(100);
      view.set(sequence("up").span(0, 100));
      ring.commit(100);
      return { shared: view.buffer instanceof SharedArrayBuffer, ffi, bytes: structuredClone(view).buffer.byteLength };
    },
    server({ ring, verifier }) {
      const [view] = ring.peek();
      const shared = view!.buffer instanceof SharedArrayBuffer;
      if (shared) return { shared };
      const clone = structuredClone(view!);
      const up = verifier("up");
      up.push(clone);
      return { shared, received: up.received, bytes: clone.buffer.byteLength };
    },
    check(client, server) {
      assert.is(client["shared"], !client["ffi"], "without FFI the views are over shared memory");
      if (client["shared"]) return;
      assert.equal(server, { shared: false, received: 100, bytes: RING });
      assert.is(client["bytes"], RING);
    },
  },
];
