/**
 * When the ring pages of a connection are given back, over a pretended data plane: only what is drained, only after a quiet
 * second look, and once until something is written again.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  CDC_SIZE,
  CONN_PEER_RING,
  CONN_PEER_SIZE,
  CONN_SND,
  CONN_SND_SIZE,
  CONN_TX_PREP,
} from "../../assembly/shared/layout.js";
import { Trim } from "../../src/conn/trim.js";
import type { Abi } from "../../src/engine/abi.js";

const PEER = { at: 0x10_000 + CDC_SIZE, size: 16_384 - CDC_SIZE };
const PRIVATE = { at: 0x80_000 + CDC_SIZE, size: 65_536 - CDC_SIZE };

/** A connection whose words the test writes, and what it gave back: address, length, whether of a memfd. */
class Pretended {
  prepared = { wrap: 0, count: 0 };
  drained = true;
  /** What the system answers. */
  grants = true;
  readonly given: [number, number, boolean][] = [];
  readonly trim: Trim;

  constructor(mode: "attached" | "copy", remote = false) {
    const send = mode === "attached" ? PEER : PRIVATE;
    const words: Record<number, () => number> = {
      [CONN_TX_PREP]: () => (this.prepared.wrap | (this.prepared.count << 16)) >>> 0,
      [CONN_TX_PREP + 4]: () => this.prepared.count >>> 16,
      [CONN_PEER_RING]: () => PEER.at,
      [CONN_PEER_SIZE]: () => PEER.size,
      [CONN_SND]: () => send.at,
      [CONN_SND_SIZE]: () => send.size,
    };
    const abi = {
      connPeek: (_conn: number, offset: number) => words[offset]!(),
      connDrained: () => (this.drained ? 1 : 0),
    } as unknown as Abi;
    const discard = (address: number, length: number, shared: boolean): boolean => {
      this.given.push([address, length, shared]);
      return this.grants;
    };
    this.trim = new Trim({ abi, discard }, 1, remote);
  }

  write(bytes: number): void {
    this.prepared = { wrap: this.prepared.wrap, count: this.prepared.count + bytes };
  }
}

const peersBuffer = (shared: boolean): [number, number, boolean] => [PEER.at - CDC_SIZE, PEER.size + CDC_SIZE, shared];

const trims = suite("trim");

trims("a connection that never wrote has nothing to give back", () => {
  const pretended = new Pretended("attached");
  for (let look = 0; look < 5; look++) assert.not(pretended.trim.look());
  assert.equal(pretended.given, []);
});

trims("the second look without a byte in between trims, whole buffer, once", () => {
  const pretended = new Pretended("attached");
  pretended.write(100);
  assert.equal([pretended.trim.look(), pretended.trim.look()], [false, true]);
  for (let look = 0; look < 5; look++) assert.not(pretended.trim.look());
  assert.equal(pretended.given, [peersBuffer(false)]);
});

trims("a connection that writes between any two looks is left alone", () => {
  const pretended = new Pretended("attached");
  for (let look = 0; look < 10; look++) {
    pretended.write(1);
    assert.not(pretended.trim.look());
  }
  assert.equal(pretended.given, []);
});

trims("what the peer has not read is left; once it has, it goes", () => {
  const pretended = new Pretended("attached");
  pretended.write(100);
  pretended.drained = false;
  for (let look = 0; look < 5; look++) assert.not(pretended.trim.look());
  pretended.drained = true;
  assert.ok(pretended.trim.look());
});

trims("a whole lap written in between is seen, though the count is the same", () => {
  const pretended = new Pretended("attached");
  pretended.write(100);
  pretended.trim.look();
  pretended.prepared = { ...pretended.prepared, wrap: 1 };
  assert.not(pretended.trim.look(), "something was written");
  assert.ok(pretended.trim.look());
});

trims("after more bytes it trims again", () => {
  const pretended = new Pretended("attached");
  for (let round = 1; round <= 3; round++) {
    pretended.write(100);
    pretended.trim.look();
    assert.ok(pretended.trim.look());
    assert.is(pretended.given.length, round);
  }
});

trims("copy mode gives both rings back, the private one never as shared memory", () => {
  for (const remote of [false, true]) {
    const pretended = new Pretended("copy", remote);
    pretended.write(100);
    pretended.trim.look();
    assert.ok(pretended.trim.look());
    const own: [number, number, boolean] = [PRIVATE.at - CDC_SIZE, PRIVATE.size + CDC_SIZE, false];
    assert.equal(pretended.given, [peersBuffer(remote), own]);
  }
});

trims("between processes the peer's ring is given back for both", () => {
  const pretended = new Pretended("attached", true);
  pretended.write(100);
  pretended.trim.look();
  pretended.trim.look();
  assert.equal(pretended.given, [peersBuffer(true)]);
});

trims("a system that refuses is told of, and not asked again for the same bytes", () => {
  const pretended = new Pretended("attached");
  pretended.grants = false;
  pretended.write(100);
  for (let look = 0; look < 5; look++) assert.not(pretended.trim.look());
  assert.is(pretended.given.length, 1);
});

trims("switched off it gives nothing back: somebody writes ahead of the cursor", () => {
  const pretended = new Pretended("attached");
  pretended.write(100);
  pretended.trim.look();
  pretended.trim.off();
  for (let look = 0; look < 5; look++) assert.not(pretended.trim.look());
  assert.equal(pretended.given, []);
});

trims.run();
