/** The completion queue: what is posted is polled, once, by its owner; nothing is lost when the ready list is full. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { STATUS_OK } from "../../assembly/shared/codes.js";
import {
  CONN_CAPACITY,
  DMB_SLOT,
  PENDING_BYTES,
  STACK_BITS,
  STACK_CAPACITY,
  STACK_CONNS,
  STACK_PEERS,
  STACK_READY,
  STACK_SUMMARY,
} from "../../assembly/shared/layout.js";
import { stackWord } from "../../src/engine/memory.js";
import { prngFor } from "../support/prng.js";
import { Poller } from "./poller.js";

/** A stack that polls and peers with connections to any of its slots. All posts go over one DMB for each peer. */
class Board extends Poller {
  #thread = 2;

  /** A peer stack; connections of it post to the owner's slots. */
  peer(): Peer {
    const stack = this.rig.stack(this.#thread++);
    const own = this.rig.register(stack, 0);
    const dmb = this.rig.register(this.owner, 0);
    assert.is(this.rig.attach(stack, dmb), dmb);
    // The owner learns of a peer by attaching a buffer of it.
    const conn = this.rig.abi.connOpen(this.owner, stack, dmb);
    assert.is(this.rig.attach(this.owner, own), own);
    assert.is(this.rig.abi.connAttach(this.owner, conn, own, -1), STATUS_OK);
    return new Peer(this, stack, own, dmb);
  }
}

class Peer {
  readonly #conns = new Map<number, number>();

  constructor(
    readonly board: Board,
    readonly stack: number,
    readonly own: number,
    readonly dmb: number,
  ) {}

  /** Signals to the owner's slot `slot`. */
  post(slot: number): void {
    const { rig } = this.board;
    let conn = this.#conns.get(slot);
    if (conn === undefined) {
      conn = rig.abi.connOpen(this.stack, slot, this.own);
      rig.setU32(rig.entry(this.dmb, DMB_SLOT), slot);
      assert.is(rig.abi.connAttach(this.stack, conn, this.dmb, -1), STATUS_OK);
      this.#conns.set(slot, conn);
    }
    rig.abi.connSignal(conn, 0);
  }

  /** What a hostile peer can do: sets every pending bit and summary bit it has at the owner. */
  flood(): void {
    const { rig, owner } = this.board;
    const bits = stackWord(owner, STACK_BITS) + this.stack * PENDING_BYTES;
    rig.bytes.fill(0xff, bits, bits + PENDING_BYTES);
    rig.setU64(stackWord(owner, STACK_SUMMARY) + this.stack * 64, 0xffff_ffff_ffff_ffffn);
  }
}

const sorted = (slots: Iterable<number>): number[] => [...slots].sort((a, b) => a - b);

const cq = suite("completion queue");

cq("empty: nothing to poll", () => {
  assert.equal(new Board().poll(), []);
});

cq("a slot posted many times before a poll is ready once, and again after the next post", () => {
  const board = new Board();
  const peer = board.peer();
  for (let i = 0; i < 100; i++) peer.post(77);
  assert.equal(board.poll(), [77]);
  assert.equal(board.poll(), []);
  peer.post(77);
  assert.equal(board.poll(), [77]);
});

cq("posts go to the owner of the buffer and to nobody else", () => {
  const board = new Board();
  const peer = board.peer();
  const bystander = board.peer();
  peer.post(5);
  assert.is(board.rig.abi.cqPoll(peer.stack), 0);
  assert.is(board.rig.abi.cqPoll(bystander.stack), 0);
  assert.equal(board.poll(), [5]);
});

cq("first and last slot, and every slot at the edge of a word and of a summary group", () => {
  const board = new Board();
  const peer = board.peer();
  const edges = [
    0,
    1,
    63,
    64,
    127,
    128,
    255,
    256,
    257,
    511,
    512,
    CONN_CAPACITY - 257,
    CONN_CAPACITY - 256,
    CONN_CAPACITY - 1,
  ];
  for (const slot of edges) {
    peer.post(slot);
    assert.equal(board.poll(), [slot]);
  }
  for (const slot of edges) peer.post(slot);
  assert.equal(board.drain(), edges);
});

cq("thousands of slots of several peers at random: each is polled exactly as often as it was posted anew", () => {
  const prng = prngFor("cq random");
  const board = new Board();
  const peers = [board.peer(), board.peer(), board.peer()];
  for (let round = 0; round < 20; round++) {
    const posted: number[] = [];
    for (const peer of peers) {
      const slots = new Set(Array.from({ length: prng.below(3000) }, () => prng.below(CONN_CAPACITY)));
      for (const slot of slots) {
        peer.post(slot);
        if (prng.oneIn(4)) peer.post(slot);
        posted.push(slot);
      }
    }
    assert.equal(board.drain(), sorted(posted));
  }
});

cq("more is pending than the ready list holds: the list ends where it ends, the rest comes with the next polls", () => {
  const board = new Board();
  const peers = [board.peer(), board.peer(), board.peer()];
  const untouched = stackWord(board.owner, STACK_READY) + CONN_CAPACITY * 4;
  assert.is(untouched, stackWord(board.owner, STACK_BITS), "the bits of peer 0 follow the list");
  board.rig.bytes.fill(0x5a, untouched, untouched + 64);
  for (const peer of peers) peer.flood();
  const slots = board.drain();
  assert.is(slots.length, 3 * CONN_CAPACITY);
  for (let i = 0; i < slots.length; i++) assert.is(slots[i], Math.floor(i / 3), "each slot once for each peer");
  assert.ok(board.rig.take(untouched, 64).every((byte) => byte === 0x5a));
});

cq("a peer that floods its bits keeps no other peer from being served", () => {
  const board = new Board();
  const flooder = board.peer();
  const honest = board.peer();
  honest.post(9);
  const pending = stackWord(board.owner, STACK_SUMMARY) + honest.stack * 64;
  for (let poll = 0; poll < 8; poll++) {
    flooder.flood();
    board.poll();
  }
  assert.is(board.rig.u64(pending), 0n, "the honest peer's post has been taken");
});

cq("pending bits without a summary are left alone; a summary without bits is ready with nothing", () => {
  const board = new Board();
  const peer = board.peer();
  const summary = stackWord(board.owner, STACK_SUMMARY) + peer.stack * 64;
  board.rig.setU64(summary, 0xffff_ffff_ffff_ffffn);
  assert.equal(board.poll(), []);
  assert.is(board.rig.u64(summary), 0n);
  peer.flood();
  board.rig.setU64(summary, 0n);
  assert.equal(board.poll(), []);
});

cq("words of stacks the owner has no connection with are never looked at", () => {
  const board = new Board();
  board.peer();
  const peers = board.rig.u64(stackWord(board.owner, STACK_PEERS));
  for (let stack = 0; stack < STACK_CAPACITY; stack++) {
    if ((peers >> BigInt(stack)) & 1n) continue;
    board.rig.setU64(stackWord(board.owner, STACK_SUMMARY) + stack * 64, 0xffff_ffff_ffff_ffffn);
    const bits = stackWord(board.owner, STACK_BITS) + stack * PENDING_BYTES;
    board.rig.bytes.fill(0xff, bits, bits + PENDING_BYTES);
  }
  assert.equal(board.poll(), []);
  assert.ok(STACK_BITS + STACK_CAPACITY * PENDING_BYTES <= STACK_CONNS);
});

cq.run();
