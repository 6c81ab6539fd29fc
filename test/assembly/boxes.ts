/**
 * Boxes for tests of the bare data plane: a stack with some, and strangers that write into them.
 *
 * The stacks of other processes are played by stacks of this arena that hold foreign DMBs: a box and a foreign DMB are all that
 * the data plane knows of another process. Knows no oracle: what must hold is said in the tests.
 */
import * as assert from "uvu/assert";
import { EXTENT_BOX, STATUS_OK } from "../../assembly/shared/codes.js";
import { BOX_BITS, BOX_BLOCKS, BOX_SUMMARY, PENDING_BYTES, STACK_ARMED } from "../../assembly/shared/layout.js";
import { stackWord } from "../../src/engine/memory.js";
import { Extent, peerExtent } from "./extents.js";
import { Poller } from "./poller.js";

/** Every bit of a summary word. */
export const ALL = 0xffff_ffff_ffff_ffffn;

/** A stack with boxes. The stacks of other processes that write into them are stacks of this arena that hold foreign DMBs. */
export class Board extends Poller {
  #thread = 2;

  /** The owner's box for the process of pair `n`, and a stack of that process. */
  meet(n: number): Stranger {
    const box = new Extent(this.rig, EXTENT_BOX, BOX_BLOCKS, n);
    this.abi.stackSetBox(this.owner, n, box.base);
    return new Stranger(this, n, box.base, this.rig.stack(this.#thread++));
  }

  armed(): number {
    return this.rig.u32(stackWord(this.owner, STACK_ARMED));
  }
}

export class Stranger {
  readonly #conns = new Map<number, number>();
  readonly #extent: Extent;

  constructor(
    readonly board: Board,
    readonly pair: number,
    readonly box: number,
    readonly stack: number,
  ) {
    this.#extent = peerExtent(board.rig, 16, pair);
  }

  word(offset: number): number {
    return this.box + offset;
  }

  armed(): number {
    return this.board.rig.u32(this.word(STACK_ARMED));
  }

  /** Signals to the owner's slot `slot`; the events of the signal. */
  post(slot: number): number {
    const { abi, rig } = this.board;
    let conn = this.#conns.get(slot);
    if (conn === undefined) {
      const dmb = this.#extent.attach(this.stack, this.#extent.offer(5, { slot, stack: this.board.owner }));
      assert.ok(dmb >= 0);
      conn = abi.connOpen(this.stack, slot, rig.register(this.stack, 0));
      assert.is(abi.connAttach(this.stack, conn, dmb, -1, this.box), STATUS_OK);
      this.#conns.set(slot, conn);
    }
    return abi.connSignal(conn, 0);
  }

  nudge(bits: number): number {
    return this.board.abi.doorNudge(this.box, bits);
  }

  /** Sets every pending bit and every summary bit. */
  flood(): void {
    const bits = this.word(BOX_BITS);
    this.board.rig.bytes.fill(0xff, bits, bits + PENDING_BYTES);
    this.board.rig.setU64(this.word(BOX_SUMMARY), ALL);
  }
}
