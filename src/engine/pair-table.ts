/**
 * The pair table: peer processes as all threads of this process know them. Words in the arena's private part; no peer sees it.
 *
 * Owns the entries' words and their atomic steps. Knows numbers (descriptors, addresses, extents), not what they are for.
 * Every thread may find itself killed between two steps, so an entry names its users bit by bit, and whoever claims it or takes
 * it down in the same word as its phase: a reaper can finish.
 *
 *   free ──claim──▶ contacting ──live──▶ live ──die──▶ dead ──(last user leaves)──▶ free
 */
import {
  EXTENT_NUMBERS,
  PAIR_CAPACITY,
  PAIR_SIZE,
  PAIR_TABLE_OFFSET,
  STACK_CAPACITY,
} from "../../assembly/shared/layout.js";

export type PairPhase = "free" | "contacting" | "live" | "dead";
const PHASES: readonly PairPhase[] = ["free", "contacting", "live", "dead"];
/** Behind the phases, with a stack slot in the low bits: dead, and that stack takes it down; dead, and that stack begins anew. */
const OVER = 0x40;
const CLAIMED = 0x80;

// Words of an entry, in u32.
const STATE = 0; // phase | generation << 8
const LOCK = 1; // stack slot + 1 of whoever reads the channel, | stack generation << 8
const GID = 2; // low and high half
const NONCE = 4; // likewise
const CHANNEL = 6; // descriptor + 1
const MOST_BLOCKS = 7; // blocks of extents that each side may have
const USERS = 8; // [2]: one bit a stack slot
const OWN_BOXES = 16; // [64 × 2]: extent + 1, descriptor of its memfd + 1
const DOORS = 144; // [64 × 3]: extent + 1 of the peer's box, generation, descriptor of its bell + 1
const OWN_EXTENTS = 336; // [64]: extent + 1
const PEER_EXTENTS = 400; // [64]: extent + 1

/** In OWN_EXTENTS: the number is taken by stack slot << 16, its extent of so many blocks is being made. */
const TAKEN = 0x80000000;

/** A memfd and the extent that it is mapped over. */
export interface MappedFile {
  readonly extent: number;
  readonly descriptor: number;
}

/** A stack of the peer process. */
export interface PeerDoor {
  /** Extent of its box. */
  readonly extent: number;
  readonly generation: number;
  /** Write end of the bell that the peer gave to this process. */
  readonly bell: number;
}

export class PairTable {
  readonly #words: Int32Array<SharedArrayBuffer>;

  constructor(memory: WebAssembly.Memory) {
    const length = (PAIR_SIZE * PAIR_CAPACITY) / 4;
    this.#words = new Int32Array(memory.buffer as unknown as SharedArrayBuffer, PAIR_TABLE_OFFSET, length);
  }

  #at(pair: number, word: number): number {
    return (pair * PAIR_SIZE) / 4 + word;
  }

  #get(pair: number, word: number): number {
    return Atomics.load(this.#words, this.#at(pair, word)) >>> 0;
  }

  #set(pair: number, word: number, value: number): void {
    Atomics.store(this.#words, this.#at(pair, word), value | 0);
  }

  #swap(pair: number, word: number, before: number, after: number): boolean {
    return Atomics.compareExchange(this.#words, this.#at(pair, word), before | 0, after | 0) === (before | 0);
  }

  #get64(pair: number, low: number): bigint {
    return (BigInt(this.#get(pair, low + 1)) << 32n) | BigInt(this.#get(pair, low));
  }

  #set64(pair: number, low: number, value: bigint): void {
    this.#set(pair, low, Number(value & 0xffffffffn));
    this.#set(pair, low + 1, Number(value >> 32n));
  }

  phase(pair: number): PairPhase {
    return PHASES[this.#get(pair, STATE) & 0xff] ?? "dead";
  }

  /** Tells one use of the entry from the next. */
  generation(pair: number): number {
    return this.#get(pair, STATE) >>> 8;
  }

  gid(pair: number): bigint {
    return this.#get64(pair, GID);
  }

  nonce(pair: number): bigint {
    return this.#get64(pair, NONCE);
  }

  /** Pairs in use, whatever their phase. */
  *used(): Iterable<number> {
    for (let pair = 0; pair < PAIR_CAPACITY; pair++) if (this.phase(pair) !== "free") yield pair;
  }

  /** A living pair with the process `gid`; `nonce` narrows it to one of several. */
  findLive(gid: bigint, nonce?: bigint): number | undefined {
    for (const pair of this.used()) {
      if (this.phase(pair) !== "live" || this.gid(pair) !== gid) continue;
      if (nonce === undefined || this.nonce(pair) === nonce) return pair;
    }
    return undefined;
  }

  /** Whether a stack of this process is making first contact for this very pair. */
  contacting(gid: bigint, nonce: bigint): boolean {
    for (const pair of this.used())
      if (this.phase(pair) === "contacting" && this.gid(pair) === gid && this.nonce(pair) === nonce) return true;
    return false;
  }

  /** A free entry for the process `gid`, contacting, with stack `slot` as its first user; undefined when the table is full. */
  claim(gid: bigint, nonce: bigint, slot: number): number | undefined {
    for (let pair = 0; pair < PAIR_CAPACITY; pair++) {
      const state = this.#get(pair, STATE);
      if ((state & 0xff) !== 0) continue;
      const fresh = ((((state >>> 8) + 1) << 8) | CLAIMED | slot) >>> 0;
      // As good as dead while its words are written: nobody joins before it is contacting.
      if (!this.#swap(pair, STATE, state, fresh)) continue;
      this.enter(pair, slot);
      this.#set64(pair, GID, gid);
      this.#set64(pair, NONCE, nonce);
      this.#set(pair, STATE, (fresh & ~0xff) | PHASES.indexOf("contacting"));
      return pair;
    }
    return undefined;
  }

  /** Contact was made. False when it died meanwhile. */
  live(pair: number): boolean {
    return this.#step(pair, this.generation(pair), "contacting", "live");
  }

  /** No new connection over this pair. */
  die(pair: number): void {
    this.#end(pair, this.generation(pair));
  }

  #end(pair: number, generation: number): void {
    if (!this.#step(pair, generation, "live", "dead")) this.#step(pair, generation, "contacting", "dead");
  }

  /** Takes: generation, so that a step that comes late never hits the entry's next use. */
  #step(pair: number, generation: number, from: PairPhase, to: PairPhase): boolean {
    return this.#change(pair, generation, PHASES.indexOf(from), PHASES.indexOf(to));
  }

  #change(pair: number, generation: number, from: number, to: number): boolean {
    return this.#swap(pair, STATE, (generation << 8) | from, (generation << 8) | to);
  }

  /** Stack `slot` uses the pair from now on. */
  enter(pair: number, slot: number): void {
    Atomics.or(this.#words, this.#at(pair, USERS + (slot >> 5)), 1 << (slot & 31));
  }

  uses(pair: number, slot: number): boolean {
    return (this.#get(pair, USERS + (slot >> 5)) & (1 << (slot & 31))) !== 0;
  }

  /**
   * Stack `slot` uses it no more. True when it was the last: the caller, stack `taker`, takes everything down, then calls free().
   * Exactly one caller gets true.
   */
  leave(pair: number, slot: number, taker = slot): boolean {
    if (!this.uses(pair, slot)) return false;
    // Read while our bit keeps the entry from being used again.
    const generation = this.generation(pair);
    Atomics.and(this.#words, this.#at(pair, USERS + (slot >> 5)), ~(1 << (slot & 31)));
    return this.#endUnused(pair, generation, taker);
  }

  #endUnused(pair: number, generation: number, taker: number): boolean {
    if (this.#inUse(pair)) return false;
    // Whoever enters after this sees it dead and leaves again, so the second look decides between us.
    this.#end(pair, generation);
    return !this.#inUse(pair) && this.#change(pair, generation, PHASES.indexOf("dead"), OVER | taker);
  }

  /**
   * Pairs that stack `dead` was claiming, taking down, or leaving as the last one: `taker` takes them down, then calls free(). To
   * exactly one of several takers, also where the last one that leaves is alive.
   */
  *inherit(dead: number, taker: number): Iterable<number> {
    for (const pair of this.used()) {
      const generation = this.generation(pair);
      const left = [OVER | dead, CLAIMED | dead].some((phase) => this.#change(pair, generation, phase, OVER | taker));
      if (left || this.#endUnused(pair, generation, taker)) yield pair;
    }
  }

  /** All descriptors of a pair, each out of the table before it is told: a taker that is killed may lose one, and none is closed twice. */
  *takeDescriptors(pair: number): Iterable<number> {
    const words = [CHANNEL];
    for (let slot = 0; slot < STACK_CAPACITY; slot++) words.push(DOORS + 3 * slot + 2, OWN_BOXES + 2 * slot + 1);
    for (const word of words) {
      const descriptor = this.#get(pair, word) - 1;
      this.#set(pair, word, 0);
      if (descriptor >= 0) yield descriptor;
    }
  }

  #inUse(pair: number): boolean {
    return this.#get(pair, USERS) !== 0 || this.#get(pair, USERS + 1) !== 0;
  }

  /** By whom leave() told to, after taking down: nothing of this use stays. */
  free(pair: number): void {
    const state = this.#get(pair, STATE);
    for (let word = LOCK; word < PAIR_SIZE / 4; word++) this.#set(pair, word, 0);
    this.#set(pair, STATE, state & ~0xff);
  }

  channel(pair: number): number {
    return this.#get(pair, CHANNEL) - 1;
  }

  setChannel(pair: number, descriptor: number): void {
    this.#set(pair, CHANNEL, descriptor + 1);
  }

  /** Blocks of extents that each side may have; 0 before first contact. */
  mostBlocks(pair: number): number {
    return this.#get(pair, MOST_BLOCKS);
  }

  /** By whoever makes first contact, before the pair lives. */
  setMostBlocks(pair: number, blocks: number): void {
    this.#set(pair, MOST_BLOCKS, blocks);
  }

  /** Takes the right to read the channel; false while another living stack has it. `alive` tells of a holder's stack. */
  lock(pair: number, slot: number, generation: number, alive: (slot: number, generation: number) => boolean): boolean {
    const mine = ((generation << 8) | (slot + 1)) >>> 0;
    const holder = this.#get(pair, LOCK);
    if ((this.#get(pair, STATE) & 0xff) >= OVER) return false;
    if (holder !== 0) {
      if (alive((holder & 0xff) - 1, holder >>> 8)) return false;
      // Killed while it read: a message may be lost with it.
      this.die(pair);
    }
    return this.#swap(pair, LOCK, holder, mine);
  }

  unlock(pair: number, slot: number, generation: number): void {
    this.#swap(pair, LOCK, ((generation << 8) | (slot + 1)) >>> 0, 0);
  }

  /** The own box of stack `slot`, which stays for later stacks of the slot; undefined before there is one. */
  ownBox(pair: number, slot: number): MappedFile | undefined {
    const extent = this.#get(pair, OWN_BOXES + 2 * slot);
    return extent === 0 ? undefined : { extent: extent - 1, descriptor: this.#get(pair, OWN_BOXES + 2 * slot + 1) - 1 };
  }

  /** By the stack in `slot` alone. */
  setOwnBox(pair: number, slot: number, { extent, descriptor }: MappedFile): void {
    this.#set(pair, OWN_BOXES + 2 * slot + 1, descriptor + 1);
    this.#set(pair, OWN_BOXES + 2 * slot, extent + 1);
  }

  /** Stack `slot` of the peer process, if it has joined. */
  door(pair: number, slot: number): PeerDoor | undefined {
    const at = DOORS + 3 * slot;
    const generation = this.#get(pair, at + 1);
    if (generation === 0) return undefined;
    return { extent: this.#get(pair, at) - 1, generation, bell: this.#get(pair, at + 2) - 1 };
  }

  /** Order: the generation last, so that a door is seen whole. */
  setDoor(pair: number, slot: number, { extent, generation, bell }: PeerDoor): void {
    const at = DOORS + 3 * slot;
    this.#set(pair, at, extent + 1);
    this.#set(pair, at + 2, bell + 1);
    this.#set(pair, at + 1, generation);
  }

  /** Doors of all stacks of the peer process that have joined. */
  *doors(pair: number): Iterable<{ readonly slot: number; readonly door: PeerDoor }> {
    for (let slot = 0; slot < STACK_CAPACITY; slot++) {
      const door = this.door(pair, slot);
      if (door !== undefined) yield { slot, door };
    }
  }

  /** Extent with this number on our side, or undefined. */
  ownExtent(pair: number, number: number): number | undefined {
    const extent = this.#get(pair, OWN_EXTENTS + number);
    return extent === 0 || extent >= TAKEN ? undefined : extent - 1;
  }

  /** Blocks of the extent that is being made under this number; 0 where none is. */
  ownPromised(pair: number, number: number): number {
    const extent = this.#get(pair, OWN_EXTENTS + number);
    return extent >= TAKEN ? extent & 0xffff : 0;
  }

  /** The lowest free number of our side, now taken by stack `slot`; undefined when all are. Fill it by setOwnExtent. */
  takeOwnNumber(pair: number, slot: number): number | undefined {
    const word = TAKEN + (slot << 16);
    for (let number = 0; number < EXTENT_NUMBERS; number++)
      if (this.#swap(pair, OWN_EXTENTS + number, 0, word)) return number;
    return undefined;
  }

  /** Says how many blocks the extent will have that stack `slot` makes: seen by all before any of them looks what is left. */
  promiseOwn(pair: number, number: number, slot: number, blocks: number): void {
    this.#set(pair, OWN_EXTENTS + number, TAKEN + (slot << 16) + blocks);
  }

  /** undefined gives the number back. */
  setOwnExtent(pair: number, number: number, extent: number | undefined): void {
    this.#set(pair, OWN_EXTENTS + number, extent === undefined ? 0 : extent + 1);
  }

  peerExtent(pair: number, number: number): number | undefined {
    const extent = this.#get(pair, PEER_EXTENTS + number);
    return extent === 0 ? undefined : extent - 1;
  }

  setPeerExtent(pair: number, number: number, extent: number): void {
    this.#set(pair, PEER_EXTENTS + number, extent + 1);
  }
}
