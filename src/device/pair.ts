/**
 * One peer process as one stack of ours uses it: doorbells, boxes, and the extents that DMBs lie in.
 *
 * Owns entering and leaving; the last stack to leave takes everything down. What all threads share stands in the pair table;
 * here is only what belongs to this event loop. Does not know how contact is made, nor what a connection is.
 *
 * Every word that the peer process can write is in an extent of this pair and in no other's.
 */
import type { Socket } from "node:net";
import { CONTROL_DETACHED, EVENT_RING, EXTENT_BOX, EXTENT_OWN, EXTENT_PEER } from "../../assembly/shared/codes.js";
import {
  BLOCK_SIZE,
  BOX_BLOCKS,
  BOX_DESK,
  EXTENT_MOST_BLOCKS,
  EXTENT_NUMBERS,
  LAYOUT_VERSION,
} from "../../assembly/shared/layout.js";
import type { Abi } from "../engine/abi.js";
import type { PairTable, PeerDoor } from "../engine/pair-table.js";
import { watchBell } from "../host/bell.js";
import { closeDescriptor, type Libc } from "../host/libc.js";
import { drain, isHeard, receiveFrame, sendFrame, waitReadable } from "../host/unix-socket.js";
import { debug } from "../trace.js";
import { CONTACT_FRAME_SIZE, decodeChannelFrame, encodeChannelFrame } from "../wire/contact.js";
import type { Extents } from "./extents.js";

/** Blocks of the first extent of a pair, and of those after it. */
const FIRST_BLOCKS = 256;
const LEAST_BLOCKS = 16;

/** Looks at a lock that another thread has: it needs it for some system calls. */
const LOCK_TRIES = 1000;

/** Longest wait in one call, ms: whoever waits for longer calls again. */
const LONGEST_WAIT_MS = 1e6;

/** The stack of this thread, as its pairs need it. */
export interface PairHost {
  readonly abi: Abi;
  readonly table: PairTable;
  readonly extents: Extents;
  readonly libc: Libc;
  readonly slot: number;
  readonly generation: number;
  /** Most blocks of extents for one peer process, and most that it may make us map. */
  readonly mostBlocks: number;
  /** The bell rang: there may be news. */
  wake(): void;
  /** We have rung somebody. */
  rang(): void;
  /** A pair has lost its last connection of ours, or its process: something may be tidied. */
  idle(): void;
}

export class Pair {
  readonly index: number;
  readonly gid: bigint;
  /** Connections of this stack over it. */
  connections = 0;
  /** When the last one went, ms. */
  idleSince = Date.now();
  #acknowledged = false;
  /** Intents, claims and waits of this stack that stand on desks of the pair, and contacts under way: its memory stays for them. */
  #standing = 0;
  readonly #host: PairHost;
  readonly #generation: number;
  readonly #doors = new Map<number, Door>();
  #bell: Socket | undefined;
  #readEnd = -1;
  #ended = false;
  #failed = false;
  #left = false;

  /** The stack has entered `index` in the table already. */
  constructor(host: PairHost, index: number) {
    this.#host = host;
    this.index = index;
    this.gid = host.table.gid(index);
    this.#generation = host.table.generation(index);
  }

  /** Whether the peer process has ended, or we have left: nobody is there to ring. */
  get gone(): boolean {
    return this.#ended || this.#left;
  }

  /** Whether no new connection goes over it, for this or another thread's reason; the others go on as long as they can. */
  get closed(): boolean {
    return this.#failed || this.gone || this.#host.table.phase(this.index) === "dead";
  }

  /**
   * Readies this stack: its box, and a bell for the peer.
   *
   * Returns: write end of the bell, the caller's to send and to close, and the memfd of the box, which stays the table's;
   *          undefined where the system refuses.
   */
  open(): { bell: number; box: number } | undefined {
    const { abi, table, extents, libc, slot } = this.#host;
    let box = table.ownBox(this.index, slot);
    if (box === undefined) {
      box = extents.make(BOX_BLOCKS, { kind: EXTENT_BOX, pair: this.index, number: slot });
      if (box === undefined) return undefined;
      table.setOwnBox(this.index, slot, box);
    }
    const ends = libc.socketpair();
    if (ends === undefined) return undefined;
    const [readEnd, writeEnd] = ends;
    abi.stackSetBox(slot, this.index, abi.extentBase(box.extent));
    // Its end is the end of the peer process: nobody else has the other end.
    this.#readEnd = readEnd;
    this.#bell = watchBell(
      readEnd,
      () => this.#host.wake(),
      () => this.#end(),
    );
    return { bell: writeEnd, box: box.descriptor };
  }

  /** Blocks the thread on the bell: ConnectionPeer.wait. */
  wait(conn: number, timeoutMs: number, wanted: number): number {
    const { abi, table, slot } = this.#host;
    const box = abi.extentBase(table.ownBox(this.index, slot)!.extent);
    const events = abi.connArm(conn, box);
    if ((events & wanted) === 0 && waitReadable(this.#readEnd, Math.min(timeoutMs, LONGEST_WAIT_MS))) {
      // The loop, which cannot, would have seen that the bell has ended.
      if (!drain(this.#readEnd)) this.#end();
    }
    abi.doorDisarm(box);
    return events | abi.connSample(conn);
  }

  /** Whether the peer process is known to have our gifts: then all its stacks see what this stack announces, and attach its DMBs. */
  get acknowledged(): boolean {
    return this.#acknowledged;
  }

  acknowledge(): void {
    this.#acknowledged = true;
  }

  /** Whether something of this stack still needs it. */
  get busy(): boolean {
    return this.connections > 0 || this.#standing > 0;
  }

  /** Something stands on a desk of the pair, or builds on it (+1), or no longer (-1). */
  stand(change: 1 | -1): void {
    this.#standing += change;
    if (this.#standing === 0 && this.closed) this.#host.idle();
  }

  /**
   * Ends it where nobody of the peer process hears its bells any more: all of them have ended or left. A process ends our bell as
   * well; but a peer that is a thread of this process with an arena of its own leaves that open when it is killed.
   */
  look(): void {
    const bells = [...this.#host.table.doors(this.index)].map(({ door }) => door.bell);
    if (bells.length > 0 && !bells.some(isHeard)) this.#end();
  }

  /** Nobody has the other end of the bell. */
  #end(): void {
    if (this.gone) return;
    this.#ended = true;
    this.fail("the peer process is gone");
    this.#host.idle();
  }

  /** No new connection over this pair. */
  fail(reason: string): void {
    if (this.#failed || this.#left) return;
    debug("pair %d: %s", this.index, reason);
    this.#failed = true;
    this.#host.table.die(this.index);
    this.#host.idle();
  }

  /** This stack is through with it. The last one of the process takes the pair down. */
  leave(): void {
    if (this.#left) return;
    this.#left = true;
    const { abi, table, slot } = this.#host;
    this.#bell?.destroy();
    abi.stackSetBox(slot, this.index, 0);
    if (table.leave(this.index, slot)) takeDown(this.#host, this.index);
  }

  /** Stack `slot` of the peer process, if it is the one with this generation. */
  door(slot: number, generation: number): Door | undefined {
    if (this.closed) return undefined;
    const known = this.#doors.get(slot);
    if (known?.generation === generation) return known;
    const entry = this.#host.table.door(this.index, slot);
    if (entry?.generation !== generation) return undefined;
    const door = new Door(this, this.#host, slot, entry);
    this.#doors.set(slot, door);
    return door;
  }

  /** All stacks of the peer process that have joined. */
  *doors(): Iterable<Door> {
    if (this.closed) return;
    for (const { slot, door } of this.#host.table.doors(this.index)) {
      const known = this.door(slot, door.generation);
      if (known !== undefined) yield known;
    }
  }

  /** Whether the table still means this pair by its index. */
  get current(): boolean {
    return this.#host.table.generation(this.index) === this.#generation;
  }

  /** Desk on which this stack announces itself to the peer process. */
  get desk(): number {
    const { abi, table, slot } = this.#host;
    return abi.extentBase(table.ownBox(this.index, slot)!.extent) + BOX_DESK;
  }

  /**
   * First contact was made: the pair lives from now on, for all threads. False when it died meanwhile.
   *
   * Takes: channel, its socket; mostBlocks, what the peer wants to share at most, each way. The smaller of the two limits holds
   *        for both sides: neither sends what the other would not map.
   */
  begin(channel: number, mostBlocks: number): boolean {
    const { table } = this.#host;
    table.setMostBlocks(this.index, Math.min(mostBlocks, this.#host.mostBlocks));
    table.setChannel(this.index, channel);
    return table.live(this.index);
  }

  /** A DMB of ours in one of the pair's extents: its index, or a negative status. */
  register(sizeClass: number, connSlot: number, randomLo: number, randomHi: number): number {
    const { abi, table, slot } = this.#host;
    for (let number = 0; number < EXTENT_NUMBERS; number++) {
      const extent = table.ownExtent(this.index, number);
      if (extent === undefined) continue;
      const index = abi.dmbRegister(slot, sizeClass, connSlot, randomLo, randomHi, extent + 1);
      if (index >= 0) return index;
    }
    return -1;
  }

  /** One more extent for DMBs of at least `bytes`, told to the peer; false where the limit is reached or nothing is to be had. */
  grow(bytes: number): boolean {
    const { table, extents, slot } = this.#host;
    const number = table.takeOwnNumber(this.index, slot);
    if (number === undefined) return false;
    for (let blocks = this.#promise(number); blocks >= LEAST_BLOCKS && blocks * BLOCK_SIZE > bytes; blocks >>= 1) {
      const made = extents.make(blocks, { kind: EXTENT_OWN, pair: this.index, number });
      if (made === undefined) continue;
      const frame = encodeChannelFrame({ type: "extent", number, blocks }, LAYOUT_VERSION);
      const channel = table.channel(this.index);
      const outcome = channel < 0 ? "closed" : sendFrame(channel, frame, made.descriptor);
      closeDescriptor(made.descriptor);
      if (outcome === "sent") {
        table.setOwnExtent(this.index, number, made.extent);
        return true;
      }
      extents.giveBack(made.extent);
      break;
    }
    table.setOwnExtent(this.index, number, undefined);
    return false;
  }

  /**
   * Blocks for the extent that this stack makes under `number`. Others may do so at the same time: each says what it wants
   * before it looks at all, so that together they never take more than there is.
   */
  #promise(number: number): number {
    const { table, slot } = this.#host;
    // The promise first: what becomes an extent between the two looks is seen twice rather than not at all.
    const blocksOf = (other: number): number =>
      table.ownPromised(this.index, other) + this.#blocks(table.ownExtent(this.index, other));
    let blocks = this.#all(blocksOf) === 0 ? FIRST_BLOCKS : EXTENT_MOST_BLOCKS;
    for (; blocks > 0; blocks >>= 1) {
      table.promiseOwn(this.index, number, slot, blocks);
      if (this.#all(blocksOf) <= table.mostBlocks(this.index)) break;
    }
    return blocks;
  }

  #blocks(extent: number | undefined): number {
    return extent === undefined ? 0 : this.#host.abi.extentBlocks(extent);
  }

  /** Sum over all numbers of a side. */
  #all(blocksOf: (number: number) => number): number {
    let blocks = 0;
    for (let number = 0; number < EXTENT_NUMBERS; number++) blocks += blocksOf(number);
    return blocks;
  }

  /** Has the pair's channel and doors to this thread; false where another thread does not let go of it. */
  lock(): boolean {
    const { abi, table, libc, slot, generation } = this.#host;
    const alive = (other: number, of: number): boolean => (abi.stackGeneration(other) & 0xffffff) === of;
    for (let tries = 0; tries < LOCK_TRIES; tries++) {
      if (table.lock(this.index, slot, generation & 0xffffff, alive)) return true;
      libc.yieldCpu();
    }
    return false;
  }

  unlock(): void {
    const { table, slot, generation } = this.#host;
    table.unlock(this.index, slot, generation & 0xffffff);
  }

  /** Extent `number` of the peer, if need be after looking at what it has sent, also before it ended. */
  peerExtent(number: number): number | undefined {
    const { table } = this.#host;
    return table.peerExtent(this.index, number) ?? (this.#receive() ? table.peerExtent(this.index, number) : undefined);
  }

  /** Takes in what waits on the channel. The peer sends an extent before any token in it, so what is not there was never sent. */
  #receive(): boolean {
    const { table } = this.#host;
    if (!this.lock()) return false;
    try {
      const frame = new Uint8Array(CONTACT_FRAME_SIZE);
      for (let i = 0; i < EXTENT_NUMBERS; i++) {
        const received = receiveFrame(table.channel(this.index), frame);
        if (received === "empty" || received === "closed") break;
        try {
          this.#take(frame.subarray(0, received.length), received.descriptors);
        } finally {
          for (const descriptor of received.descriptors) closeDescriptor(descriptor);
        }
      }
      return true;
    } catch (error) {
      this.fail(`its channel: ${(error as Error).message}`);
      return false;
    } finally {
      this.unlock();
    }
  }

  #take(bytes: Uint8Array, descriptors: readonly number[]): void {
    const { table, extents } = this.#host;
    const frame = decodeChannelFrame(bytes, LAYOUT_VERSION);
    if (frame.type !== "extent") throw new RangeError(`a ${frame.type} frame`);
    const { number, blocks } = frame;
    const [descriptor] = descriptors;
    if (descriptor === undefined || descriptors.length !== 1) throw new RangeError(`${descriptors.length} descriptors`);
    if (number >= EXTENT_NUMBERS || table.peerExtent(this.index, number) !== undefined)
      throw new RangeError(`extent number ${number}`);
    if (blocks < LEAST_BLOCKS || blocks > EXTENT_MOST_BLOCKS || (blocks & (blocks - 1)) !== 0)
      throw new RangeError(`an extent of ${blocks} blocks`);
    const have = this.#all((other) => this.#blocks(table.peerExtent(this.index, other)));
    const most = table.mostBlocks(this.index);
    if (have + blocks > most) throw new RangeError(`more than ${most} blocks`);
    const extent = extents.adopt(descriptor, blocks, { kind: EXTENT_PEER, pair: this.index, number });
    if (typeof extent === "string") throw new RangeError(extent);
    table.setPeerExtent(this.index, number, extent);
  }
}

/** One stack of a peer process, as this stack sees it. */
export class Door {
  readonly remote = true;
  readonly pair: Pair;
  readonly slot: number;
  readonly generation: number;
  /** Arena address of its box. */
  readonly box: number;
  readonly #host: PairHost;
  readonly #bell: number;

  constructor(pair: Pair, host: PairHost, slot: number, { extent, generation, bell }: PeerDoor) {
    this.pair = pair;
    this.#host = host;
    this.slot = slot;
    this.generation = generation;
    this.box = host.abi.extentBase(extent);
    this.#bell = bell;
  }

  /** Its desk: where it announces itself to us. */
  get desk(): number {
    return this.box + BOX_DESK;
  }

  /** Whether that stack has ended, as far as can be told from here. */
  get gone(): boolean {
    return this.pair.gone || this.#host.table.door(this.pair.index, this.slot)?.generation !== this.generation;
  }

  /** Wakes its event loop. Never blocks; a full bell is rung already. */
  ring(): void {
    if (this.gone) return;
    this.#host.libc.ring(this.#bell);
    this.#host.rang();
  }

  wait(conn: number, timeoutMs: number, wanted: number): number {
    return this.pair.wait(conn, timeoutMs, wanted);
  }

  nudge(bits: number): void {
    if (!this.gone && (this.#host.abi.doorNudge(this.box, bits) & EVENT_RING) !== 0) this.ring();
  }

  hold(change: 1 | -1): void {
    this.pair.connections += change;
    this.pair.idleSince = Date.now();
    if (this.pair.connections === 0) this.#host.idle();
  }

  /** We have let go of a DMB that its owner gave up before. */
  detached(): void {
    this.nudge(CONTROL_DETACHED);
  }
}

/** What taking a pair down needs: also to be had by a reaper, for a stack that is no more. */
export type TakeDownHost = Pick<PairHost, "abi" | "table" | "extents" | "slot">;

/** Ends a pair that nobody uses: all its memory, descriptors and the entry. Goes on where somebody was killed in the middle of it. */
export function takeDown({ abi, table, extents, slot }: TakeDownHost, index: number): void {
  abi.dmbReclaim(slot, index + 1);
  for (const descriptor of table.takeDescriptors(index)) closeDescriptor(descriptor);
  extents.giveBackAll(index);
  table.free(index);
}
