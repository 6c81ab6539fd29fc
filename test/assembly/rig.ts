/**
 * A bare data plane for tests: an arena, stacks, and connections over two DMBs, all in one thread.
 *
 * Owns set-up, canaries and the plain moves (write a span, read a span). Knows no oracle: what must hold is said in the
 * tests. Several instances over one memory stand for several threads; their statics are their own.
 */
import * as assert from "uvu/assert";
import { CONN_COPY, EVENT_RING } from "../../assembly/shared/codes.js";
import {
  BLOCK_SIZE,
  CDC_CONS_OFFSET,
  CDC_PROD_OFFSET,
  CDC_SIZE,
  CONN_MODE,
  CONN_PEER_SIZE,
  CONN_RX_CONFIRMED,
  CONN_RX_CONS,
  CONN_RX_PROD,
  CONN_SND_SIZE,
  CONN_TX_CONS,
  CONN_TX_PREP,
  CONN_TX_SENT,
  DMB_BASE,
  DMB_CDC,
  DMB_ENTRY_SIZE,
  DMB_STATE,
  DMB_TABLE_OFFSET,
} from "../../assembly/shared/layout.js";
import type { Abi } from "../../src/engine/abi.js";
import { compileEngine, instantiateEngine } from "../../src/engine/load.js";

/** Every event bit: for waits that end with any news. */
export const ANYTHING = 0xff;

/** The smallest arena reserveArena would make: about 62 MiB of blocks. */
export const ARENA_MIB = 220;
const CANARY = 0xc5;
const CANARY_BYTES = 512;

export class Rig {
  readonly module = compileEngine();
  readonly memory: WebAssembly.Memory;
  readonly abi: Abi;
  readonly bytes: Uint8Array;
  readonly words: DataView;
  /** Allocation blocks of the arena; all are free at first. */
  readonly blocks: number;
  #random = 1;

  constructor(mebibytes = ARENA_MIB) {
    const pages = mebibytes * 16;
    this.memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    this.abi = this.instance();
    this.bytes = new Uint8Array(this.memory.buffer);
    this.words = new DataView(this.memory.buffer);
    this.blocks = this.abi.arenaInit(0x1234, 0x5678);
  }

  /** Another thread's view of the same arena, as far as one thread can play two. */
  instance(): Abi {
    return instantiateEngine(this.module, this.memory);
  }

  u32(address: number): number {
    return this.words.getUint32(address, true);
  }

  u64(address: number): bigint {
    return this.words.getBigUint64(address, true);
  }

  setU32(address: number, value: number): void {
    this.words.setUint32(address, value, true);
  }

  setU64(address: number, value: bigint): void {
    this.words.setBigUint64(address, value, true);
  }

  /** Address of a word of a DMB's table entry. */
  entry(dmb: number, offset = DMB_STATE): number {
    return DMB_TABLE_OFFSET + dmb * DMB_ENTRY_SIZE + offset;
  }

  /** Address of a DMB. */
  base(dmb: number): number {
    return this.u32(this.entry(dmb, DMB_BASE));
  }

  /** Address of a DMB's CDC area. */
  cdc(dmb: number): number {
    return this.entry(dmb, DMB_CDC);
  }

  /** A stack of its own for a pretended thread; without an ancestor. */
  stack(thread: number): number {
    const slot = this.abi.stackAcquire(thread, 0xffffffff);
    assert.ok(slot >= 0, "a free stack slot");
    return slot;
  }

  /** Registers a DMB that must fit, with token bits that never repeat. */
  register(owner: number, sizeClass: number, connSlot = 0, abi = this.abi): number {
    const index = abi.dmbRegister(owner, sizeClass, connSlot, this.#random++, 0x5eed);
    assert.ok(index >= 0, `room for a DMB of class ${sizeClass}`);
    return index;
  }

  /** Attaches by token; the index, or a status. */
  attach(stack: number, dmb: number, abi = this.abi): number {
    return abi.dmbAttach(stack, abi.dmbTokenLo(dmb), abi.dmbTokenHi(dmb));
  }

  /** Copies `data` to a ring address. */
  put(address: number, data: Uint8Array): void {
    this.bytes.set(data, address >>> 0);
  }

  /** A private copy of `length` bytes at a ring address. */
  take(address: number, length: number): Buffer {
    return Buffer.from(this.bytes.subarray(address >>> 0, (address >>> 0) + length));
  }
}

export type Mode = "attached" | "copy";
export const MODES: readonly Mode[] = ["attached", "copy"];

/** Size classes; `snd` of the private send rings, in copy mode. */
export interface PairShape {
  readonly mode: Mode;
  readonly left?: number;
  readonly right?: number;
  readonly snd?: number;
}

/** One end of a connection. Sizes in bytes, of rings: without the CDC area. */
export class End {
  /** EVENT_RING answers seen. */
  rings = 0;

  constructor(
    readonly rig: Rig,
    readonly stack: number,
    readonly slot: number,
    readonly dmb: number,
    readonly size: number,
    readonly conn: number,
    readonly abi: Abi,
  ) {}

  peerDmb = -1;
  sndDmb = -1;
  peerSize = 0;
  sndSize = 0;

  /** Puts as much of `data` as there is space for into the send ring and publishes; bytes taken. */
  write(data: Uint8Array): number {
    const taken = this.prepare(data);
    this.note(this.abi.txPublish(this.conn));
    return taken;
  }

  /** As write, without publishing. */
  prepare(data: Uint8Array): number {
    let taken = 0;
    while (taken < data.length) {
      const run = this.abi.txRun(this.conn, data.length - taken);
      if (run === 0) break;
      this.rig.put(this.abi.txAddress(this.conn), data.subarray(taken, taken + run));
      this.abi.txPrepare(this.conn, run);
      taken += run;
    }
    return taken;
  }

  /** Receives at most `most` bytes, in as many runs as it takes. */
  read(most: number): Buffer {
    const pieces: Buffer[] = [];
    let left = most;
    while (left > 0) {
      const run = Math.min(left, this.abi.rxRun(this.conn));
      if (run === 0) break;
      pieces.push(this.rig.take(this.abi.rxAddress(this.conn), run));
      this.note(this.abi.rxConsume(this.conn, run));
      left -= run;
    }
    return Buffer.concat(pieces);
  }

  note(events: number): number {
    if ((events & EVENT_RING) !== 0) this.rings++;
    return events;
  }

  /** A word of the connection block. */
  u32(offset: number): number {
    return this.rig.u32(this.conn + offset);
  }

  /** Address of the CDC word at `offset` that the peer writes for this end. */
  cdc(offset: number): number {
    return this.rig.cdc(this.dmb) + offset;
  }
}

export interface Pair {
  readonly left: End;
  readonly right: End;
  /** Fails if a byte next to one of the buffers changed, or a byte of a CDC area that nobody writes. */
  intact(): void;
  /** Gives everything back. */
  dissolve(): void;
}

let slots = 0;

/** A connection between stacks `leftStack` and `rightStack`, with canaries around every buffer of it. */
export function connectPair(
  rig: Rig,
  shape: PairShape,
  leftStack: number,
  rightStack: number,
  abis: readonly [Abi, Abi] = [rig.abi, rig.abi],
): Pair {
  const guards: number[] = [];
  const rings: number[] = [];
  const guarded = (owner: number, sizeClass: number, slot: number): number => {
    guards.push(rig.register(owner, 0));
    const dmb = rig.register(owner, sizeClass, slot);
    rings.push(dmb);
    guards.push(rig.register(owner, 0));
    return dmb;
  };
  const end = (stack: number, sizeClass: number, abi: Abi): End => {
    const slot = slots++ % 1024;
    const dmb = guarded(stack, sizeClass, slot);
    return new End(rig, stack, slot, dmb, (BLOCK_SIZE << sizeClass) - CDC_SIZE, abi.connOpen(stack, slot, dmb), abi);
  };
  const left = end(leftStack, shape.left ?? 0, abis[0]);
  const right = end(rightStack, shape.right ?? 0, abis[1]);
  const bind = (own: End, peer: End): void => {
    own.peerDmb = rig.attach(own.stack, peer.dmb, own.abi);
    assert.is(own.peerDmb, peer.dmb);
    if (shape.mode === "copy") own.sndDmb = guarded(own.stack, shape.snd ?? 0, own.slot);
    assert.is(own.abi.connAttach(own.stack, own.conn, own.peerDmb, own.sndDmb), 0);
    own.peerSize = own.u32(CONN_PEER_SIZE);
    own.sndSize = own.u32(CONN_SND_SIZE);
    assert.is((own.u32(CONN_MODE) & CONN_COPY) !== 0, shape.mode === "copy");
  };
  bind(left, right);
  bind(right, left);
  const fences = rings.flatMap((dmb) => {
    const base = rig.base(dmb);
    return [base - CANARY_BYTES, base + rig.abi.dmbLength(dmb)];
  });
  for (const fence of fences) rig.bytes.fill(CANARY, fence, fence + CANARY_BYTES);
  const unwritten = [left, right].flatMap((own) => [own.cdc(1), own.cdc(CDC_CONS_OFFSET + 8)]);
  return {
    left,
    right,
    intact() {
      for (const fence of fences) {
        const changed = rig.bytes.subarray(fence, fence + CANARY_BYTES).findIndex((byte) => byte !== CANARY);
        assert.is(changed, -1, `a byte outside the buffer was written, at ${fence + changed}`);
      }
      for (const address of unwritten)
        assert.ok(
          rig.bytes.subarray(address, address + 7).every((byte) => byte === 0),
          "reserved bytes of the CDC area",
        );
    },
    dissolve() {
      for (const fence of fences) rig.bytes.fill(0, fence, fence + CANARY_BYTES);
      for (const own of [left, right]) {
        rig.abi.connTouched(own.conn, own.peerDmb);
        assert.is(rig.abi.dmbDetach(own.stack, own.peerDmb), 0);
        assert.is(rig.abi.dmbUnregister(own.stack, own.dmb), 0);
        if (own.sndDmb >= 0) assert.is(rig.abi.dmbUnregister(own.stack, own.sndDmb), 0);
      }
      for (const guard of guards) rig.abi.dmbUnregister(rig.abi.dmbOwner(guard), guard);
    },
  };
}

/** {wrap, count} as the CDC words have it. */
export function cursor(wrap: number, count: number): bigint {
  return BigInt(wrap) | (BigInt(count) << 16n);
}

/** Moves an idle connection to the given cursors, both directions: as if it had carried that much. */
export function ageCursors(pair: Pair, wrap: number, count: number): void {
  for (const end of [pair.left, pair.right]) end.abi.rxFlush(end.conn);
  for (const end of [pair.left, pair.right]) {
    end.abi.connSample(end.conn);
    assert.is(end.abi.connDrained(end.conn), 1, "idle");
  }
  for (const [from, to] of [
    [pair.left, pair.right],
    [pair.right, pair.left],
  ] as const) {
    const { rig } = from;
    const at = cursor(wrap, count % from.peerSize);
    const prep = from.sndDmb < 0 ? at : cursor(wrap, count % from.sndSize);
    rig.setU64(from.conn + CONN_TX_PREP, prep);
    for (const word of [CONN_TX_SENT, CONN_TX_CONS]) rig.setU64(from.conn + word, at);
    for (const word of [CONN_RX_PROD, CONN_RX_CONS, CONN_RX_CONFIRMED]) rig.setU64(to.conn + word, at);
    rig.setU64(to.cdc(CDC_PROD_OFFSET), at);
    rig.setU64(from.cdc(CDC_CONS_OFFSET), at);
  }
}
