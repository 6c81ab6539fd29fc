/**
 * The `shm` device: DMBs in memfds shared with one other process. What an inter-VM or emulated ISM is to a kernel.
 *
 * CHID 0xFF00, the process's GID with the stack in its extension, so version 1 of CLC cannot name it. Nocopy and copy mode use it
 * alike. Owns the path to each peer process; which pairs there are belongs to pairs.ts, the memory to pair.ts.
 */
import type { Abi } from "../engine/abi.js";
import type { PeerStack, RegisteredDmb, SmcdDevice, SmcdPath } from "./device.js";
import { Randomness, registerLargest, SMALLEST_DMB, sizeClassFor } from "./dmb-size.js";
import type { Door } from "./pair.js";
import type { Pairs } from "./pairs.js";

/** Source: smc-protocol §5.6: the range of emulated devices is 0xFF00 to 0xFFFE. */
export const SHM_CHID = 0xff00;

/** Where a token names the extent, above the block. Source: assembly/dmb.ts. */
const NUMBER_SHIFT = 10;
const NUMBER_MASK = 63;

/** A stack of a peer process, as the two GIDs name it. */
interface PeerName {
  readonly gid: bigint;
  readonly gidExt: bigint;
  readonly slot: number;
  readonly generation: number;
}

export class ShmDevice implements SmcdDevice {
  readonly name = "shm";
  readonly chid = SHM_CHID;
  readonly v1 = false;
  readonly gid: bigint;
  readonly gidExt: bigint;
  readonly #abi: Abi;
  readonly #stack: number;
  readonly #pairs: Pairs;
  readonly #mostConnections: number;
  readonly #random = new Randomness();
  #lastNamed: PeerName | undefined;

  /** Takes: gid, of the process; stack, slot and generation of this stack in it; most connections with one process. */
  constructor(abi: Abi, pairs: Pairs, gid: bigint, stack: number, generation: number, mostConnections: number) {
    this.#abi = abi;
    this.#pairs = pairs;
    this.#stack = stack;
    this.#mostConnections = mostConnections;
    this.gid = gid;
    this.gidExt = (BigInt(generation) << 8n) | BigInt(stack);
  }

  toward(gid: bigint, gidExt: bigint | undefined): SmcdPath | undefined {
    if (gidExt === undefined) return undefined;
    const stack = this.#named(gid, gidExt);
    const doors = this.#doorsOf(stack);
    // What lies in a pair that the peer has acknowledged, it can attach.
    const door = doors.find(({ pair }) => pair.acknowledged) ?? doors[0];
    if (door === undefined) return undefined;
    const now = (): readonly Door[] => this.#doorsOf(stack);
    return new ShmPath(this.#abi, this.#stack, door, now, this.#random, this.#mostConnections);
  }

  /** Most connections are with the peer of the one before. */
  #named(gid: bigint, gidExt: bigint): PeerName {
    const last = this.#lastNamed;
    if (last?.gid === gid && last.gidExt === gidExt) return last;
    const [slot, generation] = [Number(gidExt & 0xffn), Number((gidExt >> 8n) & 0xffffffn)];
    this.#lastNamed = { gid, gidExt, slot, generation };
    return this.#lastNamed;
  }

  #doorsOf({ gid, slot, generation }: PeerName): readonly Door[] {
    return this.#pairs.findAll(gid, slot, generation);
  }
}

/**
 * To one stack of one peer process.
 *
 * Where the two processes share several pairs, each side chooses for itself in which its buffers lie: it waits where its own
 * buffer is, and rings where the peer's is. The connection holds both.
 */
class ShmPath implements SmcdPath {
  readonly #abi: Abi;
  readonly #stack: number;
  /** The stack in every pair of now that is not over. */
  readonly #doors: () => readonly Door[];
  /** In the pair of our own buffers. */
  readonly #door: Door;
  /** In the pair of the attached buffer, once it is another. */
  #other: Door | undefined;
  /** Until the peer's buffer is attached, every pair it may lie in: a peer that ends right after its Confirm leaves it there. */
  #kept: readonly Door[] = [];
  readonly #random: Randomness;
  readonly #mostConnections: number;

  constructor(
    abi: Abi,
    stack: number,
    door: Door,
    doors: () => readonly Door[],
    random: Randomness,
    mostConnections: number,
  ) {
    this.#abi = abi;
    this.#stack = stack;
    this.#doors = doors;
    this.#door = door;
    this.#random = random;
    this.#mostConnections = mostConnections;
  }

  get full(): boolean {
    return this.#door.pair.connections >= this.#mostConnections;
  }

  hold(change: 1 | -1): void {
    this.#door.hold(change);
    this.#other?.hold(change);
    if (change === 1) this.#keep(this.#doors());
    else this.#keep([]);
  }

  #keep(doors: readonly Door[]): void {
    for (const { pair } of doors) pair.stand(1);
    for (const { pair } of this.#kept) pair.stand(-1);
    this.#kept = doors;
  }

  register(slot: number, bytes: number): RegisteredDmb | undefined {
    const wanted = sizeClassFor(bytes);
    return registerLargest(this.#abi, wanted, (sizeClass) =>
      sizeClass === wanted ? this.#makeRoom(sizeClass, slot) : this.#try(sizeClass, slot),
    );
  }

  /** In what there is, in what the peer has let go of, in one more extent. */
  #makeRoom(sizeClass: number, slot: number): number {
    const { pair } = this.#door;
    let index = this.#try(sizeClass, slot);
    if (index < 0) {
      this.#abi.dmbReclaim(this.#stack, 0);
      index = this.#try(sizeClass, slot);
    }
    if (index < 0 && pair.grow(SMALLEST_DMB << sizeClass)) index = this.#try(sizeClass, slot);
    return index;
  }

  #try(sizeClass: number, slot: number): number {
    return this.#door.pair.register(sizeClass, slot, this.#random.word(), this.#random.word());
  }

  attach(token: bigint): number | undefined {
    const index = this.#attachAny(token);
    this.#keep([]);
    return index;
  }

  #attachAny(token: bigint): number | undefined {
    for (const door of this.#kept) {
      const index = this.#attachIn(door, token);
      if (index !== undefined) return index;
    }
    // A pair may have come while the handshake went on.
    for (const door of this.#doors()) {
      const index = this.#kept.includes(door) ? undefined : this.#attachIn(door, token);
      if (index !== undefined) return index;
    }
    return undefined;
  }

  #attachIn(door: Door, token: bigint): number | undefined {
    const low = Number(BigInt.asUintN(32, token));
    const extent = door.pair.peerExtent((low >>> NUMBER_SHIFT) & NUMBER_MASK);
    const index = extent === undefined ? undefined : this.#attach(door, extent, low, Number(token >> 32n));
    if (index === undefined || door === this.#door) return index;
    this.#other = door;
    door.hold(1);
    return index;
  }

  #attach(door: Door, extent: number, low: number, high: number): number | undefined {
    const index = this.#abi.dmbAttachPeer(this.#stack, extent, low, high);
    if (index < 0) return undefined;
    // The owner that its head names must be the stack we are talking to: its box and no other is rung.
    if (this.#abi.dmbOwner(index) === door.slot) return index;
    this.#abi.dmbDetach(this.#stack, index);
    return undefined;
  }

  peerOf(_dmb: number): PeerStack {
    return this.#other === undefined ? this.#door : new Crossing(this.#door, this.#other);
  }
}

/** A stack that is reached through two pairs: ours for its bytes to us, its own for ours to it. */
class Crossing implements PeerStack {
  readonly remote = true;
  readonly box: number;
  readonly #own: Door;
  readonly #its: Door;

  constructor(own: Door, its: Door) {
    this.#own = own;
    this.#its = its;
    this.box = its.box;
  }

  get gone(): boolean {
    return this.#own.gone || this.#its.gone;
  }

  ring(): void {
    this.#its.ring();
  }

  wait(conn: number, timeoutMs: number, wanted: number): number {
    return this.#own.wait(conn, timeoutMs, wanted);
  }

  detached(): void {
    this.#its.detached();
  }

  hold(change: 1 | -1): void {
    this.#own.hold(change);
    this.#its.hold(change);
  }
}
