/** The rings, attached and copying, against a FIFO: what goes in comes out, once, in order, and nowhere else. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { EVENT_READABLE, EVENT_WRITABLE } from "../../assembly/shared/codes.js";
import { CDC_PROD_OFFSET, CDC_SIZE } from "../../assembly/shared/layout.js";
import { type Prng, prngFor } from "../support/prng.js";
import { Sequence, SPAN_MAX, Verifier } from "../support/sequence.js";
import { ANYTHING, ageCursors, connectPair, type End, MODES, type Pair, type PairShape, Rig } from "./rig.js";

const rig = new Rig();
const leftStack = rig.stack(1);
const rightStack = rig.stack(2);

/** The stream from one end to the other and what is known of it. */
class Flow {
  written = 0;
  readonly #sequence: Sequence;
  readonly #verifier: Verifier;

  constructor(
    readonly from: End,
    readonly to: End,
    seed: number,
  ) {
    this.#sequence = new Sequence(seed);
    this.#verifier = new Verifier(seed);
  }

  get read(): number {
    return this.#verifier.received;
  }

  get inFlight(): number {
    return this.written - this.read;
  }

  send(length: number): number {
    const taken = this.from.write(this.#sequence.span(this.written, length));
    this.written += taken;
    return taken;
  }

  receive(most: number): number {
    const chunk = this.to.read(most);
    this.#verifier.push(chunk);
    return chunk.length;
  }

  /** Bytes that fit between the two ends. */
  get capacity(): number {
    return this.from.sndDmb < 0 ? this.from.peerSize : this.from.peerSize + this.from.sndSize;
  }

  /** Lets the sender see the newest cursor and move what waits in its private ring. */
  settle(): void {
    const { abi, conn } = this.to;
    abi.rxFlush(conn);
    this.from.abi.txRefresh(this.from.conn);
    this.from.abi.txPublish(this.from.conn);
  }

  drain(): void {
    while (this.inFlight > 0) {
      this.settle();
      assert.ok(this.receive(1 << 20) > 0, `stuck with ${this.inFlight} bytes in flight`);
    }
    this.settle();
  }
}

/** Sizes as applications have them: single bytes, small messages, and more than a ring. */
function someLength(prng: Prng, ring: number): number {
  const kind = prng.below(10);
  if (kind < 3) return prng.between(1, 64);
  if (kind < 7) return prng.between(1, Math.ceil(ring / 4));
  if (kind < 9) return prng.between(1, ring);
  return Math.min(prng.between(ring - 2, ring + 4096), SPAN_MAX);
}

/** Random writes and reads in both directions until `from` has gone round `wraps` times. */
function traffic(pair: Pair, prng: Prng, wraps: number): void {
  const flows = [new Flow(pair.left, pair.right, 7), new Flow(pair.right, pair.left, 8)] as const;
  const goal = wraps * flows[0].from.peerSize;
  let blocked = 0;
  for (let step = 0; flows[0].written < goal; step++) {
    const flow = prng.pick(flows);
    const ring = flow.from.peerSize;
    if (prng.oneIn(2)) {
      const wanted = someLength(prng, ring);
      if (flow.send(wanted) < wanted) blocked++;
    } else flow.receive(someLength(prng, ring));
    if (prng.oneIn(8)) flow.settle();
    if (prng.oneIn(8)) flow.to.abi.connSample(flow.to.conn);
    assert.ok(flow.inFlight >= 0 && flow.inFlight <= flow.capacity, "never more in flight than there is room");
    if (step % 64 === 0) {
      pair.intact();
      flow.settle();
      const room = flow.from.abi.txSpace(flow.from.conn, 1 << 20);
      if (flow.from.sndDmb < 0) assert.is(room, ring - flow.inFlight, "the whole ring is usable, no more and no less");
      else assert.is(room, flow.from.sndSize - flow.from.abi.txUnsent(flow.from.conn));
    }
  }
  // A few wraps may pass without; a long run may not.
  assert.ok(blocked > wraps / 10 || wraps < 100, `the writer met a full ring, ${blocked} times`);
  for (const flow of flows) flow.drain();
  pair.intact();
}

const shapes: readonly (PairShape & { readonly what: string; readonly wraps: number })[] = [
  { what: "attached, 16 KiB", mode: "attached", wraps: 400 },
  { what: "attached, 64 KiB against 16 KiB", mode: "attached", left: 2, right: 0, wraps: 300 },
  { what: "attached, 1 MiB", mode: "attached", left: 6, right: 6, wraps: 12 },
  { what: "copy, send ring as large as the peer's", mode: "copy", snd: 0, wraps: 400 },
  { what: "copy, send ring larger than the peer's", mode: "copy", snd: 2, wraps: 300 },
  { what: "copy, send ring smaller than the peer's", mode: "copy", left: 2, right: 2, snd: 0, wraps: 200 },
];

const fifo = suite("ring, FIFO");
for (const { what, wraps, ...shape } of shapes) {
  fifo(`${what}: random writes and reads over ${wraps} wraps`, () => {
    const before = rig.abi.arenaFreeBlocks();
    const pair = connectPair(rig, shape, leftStack, rightStack);
    traffic(pair, prngFor(what), wraps);
    pair.dissolve();
    assert.is(rig.abi.arenaFreeBlocks(), before);
  });

  fifo(`${what}: cursors go on through the 65,536th wrap`, () => {
    const pair = connectPair(rig, shape, leftStack, rightStack);
    ageCursors(pair, 65_533, 5);
    traffic(pair, prngFor(`${what} rollover`), 8);
    const wrap = rig.words.getUint16(pair.right.cdc(CDC_PROD_OFFSET), true);
    assert.ok(wrap >= 4 && wrap < 32, `the wrap counter started again, it is ${wrap}`);
    pair.dissolve();
  });
}

const edges = suite("ring, edges");
for (const mode of MODES) {
  edges(`${mode}: a full ring holds every byte of it and takes no more until some are consumed`, () => {
    const pair = connectPair(rig, { mode }, leftStack, rightStack);
    const { left, right } = pair;
    const whole = new Sequence(3).span(0, left.peerSize);
    assert.is(left.write(whole), left.peerSize);
    assert.is(right.abi.rxReadable(right.conn), right.size);
    if (mode === "copy") assert.is(left.write(whole), left.sndSize, "the private ring takes one more ring");
    assert.is(left.abi.txSpace(left.conn, 1), 0);
    assert.is(left.write(whole.subarray(0, 1)), 0);
    assert.ok(right.read(1 << 20).equals(whole));
    right.abi.rxFlush(right.conn);
    assert.is(left.abi.txRefresh(left.conn), EVENT_WRITABLE);
    pair.intact();
    pair.dissolve();
  });

  edges(`${mode}: runs stop at the ring's end and go on at its start`, () => {
    const pair = connectPair(rig, { mode }, leftStack, rightStack);
    const { left, right } = pair;
    const { abi } = left;
    const ring = left.peerSize;
    const start = (mode === "attached" ? rig.base(right.dmb) : rig.base(left.sndDmb)) + CDC_SIZE;
    assert.is(abi.txAddress(left.conn), start);
    left.write(Buffer.alloc(ring - 10, 1));
    right.read(ring - 10);
    right.abi.rxFlush(right.conn);
    assert.is(abi.txSpace(left.conn, ring), ring);
    assert.is(abi.txRun(left.conn, 25), 10, "a piece that does not fit before the end is offered in part");
    assert.is(abi.txAddress(left.conn), start + ring - 10);
    rig.put(abi.txAddress(left.conn), Buffer.from("0123456789"));
    abi.txPrepare(left.conn, 10);
    assert.is(right.abi.rxReadable(right.conn), 0, "what is prepared and not published cannot be read");
    assert.is(abi.txAddress(left.conn), start);
    assert.is(abi.txRun(left.conn, 15), 15);
    rig.put(abi.txAddress(left.conn), Buffer.from("abcdefghijklmno"));
    abi.txSend(left.conn, 15);
    assert.is(right.abi.rxReadable(right.conn), 25);
    assert.is(right.abi.rxRun(right.conn), 10);
    assert.is(right.abi.rxAddress(right.conn), rig.base(right.dmb) + CDC_SIZE + ring - 10);
    assert.is(right.read(25).toString(), "0123456789abcdefghijklmno");
    assert.is(right.abi.rxAddress(right.conn), rig.base(right.dmb) + CDC_SIZE + 15);
    pair.intact();
    pair.dissolve();
  });

  edges(`${mode}: consuming or preparing more than there is traps`, () => {
    const pair = connectPair(rig, { mode }, leftStack, rightStack);
    const { left, right } = pair;
    left.write(Buffer.alloc(10));
    assert.is(right.abi.rxReadable(right.conn), 10);
    assert.throws(
      () => right.abi.rxConsume(right.conn, 11),
      (error: unknown) => error instanceof WebAssembly.RuntimeError,
    );
    assert.throws(
      () => left.abi.txPrepare(left.conn, left.sndSize + 1),
      (error: unknown) => error instanceof WebAssembly.RuntimeError,
    );
    assert.is(right.read(10).length, 10, "and changes nothing");
    pair.dissolve();
  });
}

edges("copy: bytes wait in the private ring while the peer's window is closed, and follow once it opens", () => {
  const pair = connectPair(rig, { mode: "copy" }, leftStack, rightStack);
  const { left, right } = pair;
  const sequence = new Sequence(9);
  left.write(sequence.span(0, left.peerSize));
  left.write(sequence.span(left.peerSize, 5000));
  assert.is(left.abi.txUnsent(left.conn), 5000);
  assert.is(left.abi.connDrained(left.conn), 0);
  const verifier = new Verifier(9);
  verifier.push(right.read(3000));
  assert.is(left.abi.txUnsent(left.conn), 5000, "the peer's reading moves nothing by itself");
  assert.ok((left.abi.connSample(left.conn) & EVENT_WRITABLE) !== 0);
  left.note(left.abi.txPublish(left.conn));
  assert.is(left.abi.txUnsent(left.conn), 2000);
  verifier.push(right.read(1 << 20));
  left.abi.txRefresh(left.conn);
  left.abi.txPublish(left.conn);
  verifier.push(right.read(1 << 20));
  right.abi.rxFlush(right.conn);
  assert.is(verifier.received, left.peerSize + 5000);
  assert.is(left.abi.connDrained(left.conn), 1);
  pair.intact();
  pair.dissolve();
});

edges("spinning reports what came, and nothing while nothing came", () => {
  const pair = connectPair(rig, { mode: "attached" }, leftStack, rightStack);
  const { left, right } = pair;
  assert.is(right.abi.connSpin(right.conn, 100, ANYTHING), 0);
  left.write(Buffer.from("x"));
  assert.is(right.abi.connSpin(right.conn, 1, EVENT_WRITABLE), EVENT_READABLE);
  assert.is(right.abi.connSpin(right.conn, 1, ANYTHING), EVENT_READABLE);
  pair.dissolve();
});

fifo.run();
edges.run();
