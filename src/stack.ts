/**
 * The stack: one for each event loop. Owns the GID, the CQ, devices, link groups and connections of its thread.
 *
 * Composes the layers below `net`; nothing is shared between stacks but the pages two peers agreed on. However often
 * smcnet is loaded in a thread, there is one stack.
 */
import { writeSync } from "node:fs";
import { availableParallelism } from "node:os";
import { threadId } from "node:worker_threads";
import { CONTROL_DETACHED, CONTROL_RENDEZVOUS, EVENT_RING, STATUS_TELL } from "../assembly/shared/codes.js";
import { BLOCK_SIZE, CONN_CAPACITY, STACK_ARMED, STACK_CAPACITY, STACK_KEY } from "../assembly/shared/layout.js";
import type { SmcOptions } from "./config.js";
import type { Connection } from "./conn/connection.js";
import type { ConnectionHost } from "./conn/host.js";
import type { ConnectionPeer, ConnectionPlace } from "./conn/terms.js";
import type { SmcdDevice } from "./device/device.js";
import { Extents } from "./device/extents.js";
import { LoDevice } from "./device/lo.js";
import { Counters } from "./diag/counters.js";
import type { Abi } from "./engine/abi.js";
import type { Arena } from "./engine/arena.js";
import { AliasCopy, AlignedCopy, aliasWorks, type RingCopy } from "./engine/copy.js";
import { arenaGid, keyView, readyView, sharedView, stackWord, wordView } from "./engine/memory.js";
import { PairTable } from "./engine/pair-table.js";
import { makeBell } from "./host/bell.js";
import { type Libc, loadLibc } from "./host/libc.js";
import { releaseShared } from "./host/memfd.js";
import { LinkGroups } from "./lgr/link-group.js";
import { Neighbours, openNeighbours } from "./neighbours.js";
import { IdlePolicy } from "./poller/idle.js";
import { PollLoop } from "./poller/loop.js";
import { Reaper } from "./reaper.js";
import { ArenaRendezvous } from "./rendezvous/arena.js";

/** Size class of the staging buffer where there is no plain alias: 64 KiB. */
const STAGE_CLASS = 2;
/** When dead threads are looked for after the end of a connection, ms; once for many. A thread takes its time to end. */
const SWEEP_AFTER_MS = [250, 1000, 4000, 16_000];
const ONE_BYTE = Buffer.alloc(1, 1);

/** Buffers to let go of, -1 for none, and whom to tell. */
interface GivenBack extends Pick<ConnectionPlace, "localDmb" | "peerDmb" | "sndDmb"> {
  readonly peer: ConnectionPeer | undefined;
}

export class Stack implements ConnectionHost {
  readonly options: SmcOptions;
  readonly slot: number;
  readonly abi: Abi;
  readonly copy: RingCopy;
  readonly counters = new Counters();
  readonly lo: LoDevice;
  /** In order of preference. */
  readonly devices: readonly SmcdDevice[];
  /** Why there is no way to other processes; undefined where there is one. */
  readonly shmReason: string | undefined;
  readonly linkGroups = new LinkGroups();
  readonly rendezvous: ArenaRendezvous;
  /** Why there is no plain alias and no bell; undefined where FFI works. */
  readonly ffiReason: string | undefined;
  /** By slot. */
  readonly #connections: (Connection | undefined)[] = [];
  readonly #freeSlots: number[] = [];
  readonly #reserved = new Set<number>();
  #taken = 0;
  readonly #loop: PollLoop;
  readonly #libc: Libc | undefined;
  readonly #base: bigint;
  readonly #shared: Uint8Array<SharedArrayBuffer>;
  readonly #pairs: PairTable;
  readonly #neighbours: Neighbours | undefined;
  readonly #reaper: Reaper;
  #sweeping: NodeJS.Timeout | undefined;
  /** Of those in SWEEP_AFTER_MS, how many were before the one that is set. */
  #looks = 0;

  /** Whether looking again pays on this machine, as configured; else only sleeping does. */
  readonly maySpin: boolean;

  private constructor(arena: Arena, options: SmcOptions, slot: number) {
    const { abi, reservation } = arena;
    const { memory } = reservation;
    const policy = new IdlePolicy(options.busyPoll, availableParallelism());
    this.maySpin = policy.budgetUs > 0;
    this.options = options;
    this.slot = slot;
    this.abi = abi;
    const shared = sharedView(memory);
    this.#shared = shared;
    const ffi = options.ffi ? loadLibc() : { reason: "FFI is switched off" };
    const libc = "libc" in ffi ? ffi.libc : undefined;
    const alias = libc?.alias(shared);
    const aliased = alias !== undefined && aliasWorks(alias, shared, stackWord(slot, STACK_KEY));
    this.ffiReason = "reason" in ffi ? ffi.reason : aliased ? undefined : "the plain alias does not alias";
    this.#libc = libc;
    this.#base = libc === undefined ? 0n : libc.address(shared);
    this.copy = aliased ? new AliasCopy(alias) : this.#alignedCopy(shared);
    const gid = arenaGid(memory);
    const generation = abi.stackGeneration(slot);
    this.lo = new LoDevice(abi, gid, slot, generation, (other) => this.ring(other));
    this.#pairs = new PairTable(memory);
    const bell = libc === undefined ? -1 : makeBell(libc, abi.stackBell(slot) - 1, () => this.#loop.bell());
    if (bell >= 0) abi.stackSetBell(slot, bell + 1);
    this.#loop = new PollLoop({
      abi,
      stack: slot,
      readyList: readyView(memory, slot),
      word: wordView(memory, stackWord(slot, STACK_ARMED)),
      hasBell: bell >= 0,
      port: {
        ready: (ready) => this.#connections[ready]?.turn(),
        control: (bits) => this.#control(bits),
        yieldCpu: () => libc?.yieldCpu(),
        leaveCpu: () => libc?.leaveCpu(),
        housekeeping: () => this.#trim(),
      },
      counters: this.counters,
      policy,
    });
    const neighbours = this.#openNeighbours(gid, generation);
    this.shmReason = neighbours instanceof Neighbours ? undefined : neighbours.reason;
    this.#neighbours = neighbours instanceof Neighbours ? neighbours : undefined;
    this.devices = [this.lo, ...(this.#neighbours === undefined ? [] : [this.#neighbours.device])];
    this.rendezvous = new ArenaRendezvous({
      abi,
      stack: slot,
      key: keyView(memory, slot),
      neighbourhood: this.#neighbours,
      nudge: (other) => this.#nudge(other),
      hold: (change) => this.#loop.hold(change),
    });
    this.#reaper = new Reaper({
      abi,
      pairs: this.#pairs,
      extents: libc === undefined ? undefined : new Extents(abi, this.#base),
      slot,
      reaped: () => this.#bereaved(),
    });
    this.#reaper.sweep();
    process.on("exit", () => this.#farewell());
  }

  #openNeighbours(gid: bigint, generation: number): Neighbours | { readonly reason: string } {
    const { abi, options, slot } = this;
    if (!options.shm) return { reason: "the shm device is switched off" };
    if (this.#libc === undefined || abi.stackBell(slot) === 0) return { reason: this.ffiReason ?? "no bell" };
    return openNeighbours({
      abi,
      table: this.#pairs,
      extents: new Extents(abi, this.#base),
      libc: this.#libc,
      slot,
      generation,
      gid,
      options,
      wake: () => this.#loop.bell(),
      lost: () => this.rendezvous.look(),
      rang: () => {
        this.counters.doorbellRung++;
        this.#loop.rang();
      },
    });
  }

  /** A stack for this thread, or undefined when all stack slots are taken. */
  static open(arena: Arena, options: SmcOptions): Stack | undefined {
    let slot = arena.abi.stackAcquire(threadId, arena.parentThread);
    if (slot < 0) {
      makeRoom(arena, options);
      slot = arena.abi.stackAcquire(threadId, arena.parentThread);
    }
    return slot < 0 ? undefined : new Stack(arena, options, slot);
  }

  /** A staging range is a private DMB that is never attached; without one, copies are slow but right. */
  #alignedCopy(shared: Uint8Array): AlignedCopy {
    const stage = this.abi.dmbRegister(this.slot, STAGE_CLASS, 0, 0, 0);
    return new AlignedCopy(shared, this.abi, stage < 0 ? 0 : this.abi.dmbBase(stage), BLOCK_SIZE << STAGE_CLASS);
  }

  /** Every connection that is not over. */
  connections(): Connection[] {
    return this.#connections.filter((connection) => connection !== undefined);
  }

  /** A free connection slot, or undefined when all are taken. Give it back by dropSlot, or fill it by connect. */
  takeSlot(): number | undefined {
    const slot = this.#freeSlots.pop() ?? this.#reserved.size + this.#taken;
    if (slot >= CONN_CAPACITY) return undefined;
    this.#reserved.add(slot);
    return slot;
  }

  dropSlot(slot: number): void {
    if (this.#reserved.delete(slot)) this.#freeSlots.push(slot);
  }

  /** Puts a live connection into its slot: from here on its posts reach it. */
  connect(connection: Connection): void {
    const { slot } = connection.place;
    this.#reserved.delete(slot);
    this.#taken++;
    this.#connections[slot] = connection;
    this.#loop.hold(1);
  }

  /** What peers ask of us beside connections. */
  #control(bits: number): void {
    if ((bits & CONTROL_RENDEZVOUS) !== 0) this.rendezvous.look();
    if ((bits & CONTROL_DETACHED) !== 0) this.abi.dmbReclaim(this.slot, 0);
  }

  /** Tells a stack of this process that rendezvous words changed. */
  #nudge(slot: number): void {
    if ((this.abi.doorNudge(this.abi.stackDoor(slot), CONTROL_RENDEZVOUS) & EVENT_RING) !== 0) this.ring(slot);
  }

  /** Rings the bell of a stack of this process. */
  ring(slot: number): void {
    const descriptor = this.abi.stackBell(slot) - 1;
    if (descriptor < 0) return;
    if (this.#libc !== undefined) this.#libc.ring(descriptor);
    else {
      try {
        writeSync(descriptor, ONE_BYTE);
      } catch {
        // Full: rung already. Broken: the sleeper is gone.
      }
    }
    this.counters.doorbellRung++;
    this.#loop.rang();
  }

  expect(): void {
    this.#loop.expect();
  }

  ref(change: 1 | -1): void {
    this.#loop.ref(change);
  }

  /** A handshake began (+1) or ended (-1): its messages come soon after each other, so the loop turns for them as for data. */
  engage(change: 1 | -1): void {
    this.#loop.hold(change);
    this.#loop.ref(change);
    if (change === 1) this.#loop.expect();
  }

  /** A message of a handshake came. */
  arrived(): void {
    this.#loop.arrived();
  }

  /** After a blocking ring used the doorbell word. */
  recheck(): void {
    this.#loop.recheck();
  }

  release(connection: Connection): void {
    const { abi, counters } = this;
    const { slot, conn, peerDmb, peer } = connection.place;
    const { group, rcvbufSize, sndbufSize } = connection.terms;
    abi.connTouched(conn, peerDmb);
    this.giveBack(connection.place);
    peer.hold(-1);
    this.#connections[slot] = undefined;
    this.#taken--;
    this.#freeSlots.push(slot);
    this.#loop.hold(-1);
    this.linkGroups.leave(group);
    counters.rxInUse -= rcvbufSize;
    counters.txInUse -= sndbufSize;
    if (!peer.remote) this.#sweepLater();
  }

  /** Lets go of the buffers of a connection, or of one that came to nothing; -1 for none. */
  giveBack({ localDmb, peerDmb, sndDmb, peer }: GivenBack): void {
    const { abi, slot } = this;
    if (peerDmb >= 0 && abi.dmbDetach(slot, peerDmb) === STATUS_TELL) peer?.detached();
    if (localDmb >= 0) abi.dmbUnregister(slot, localDmb);
    if (sndDmb >= 0) abi.dmbUnregister(slot, sndDmb);
  }

  /**
   * The `length` bytes at an arena address as a buffer of their own, for the zero-copy interface: posting a view of it
   * clones that range and not the arena. Without FFI it is the shared memory, which a post shares.
   */
  window(address: number, length: number): { buffer: ArrayBufferLike; offset: number } {
    if (address + length > this.#shared.length) throw new RangeError(`${address} + ${length} lies outside the arena`);
    if (this.#libc === undefined) return { buffer: this.#shared.buffer, offset: address };
    return { buffer: this.#libc.window(this.#base + BigInt(address), length), offset: 0 };
  }

  /**
   * Gives whole pages of a range of the arena back to the system; they read as zero afterwards. Needs FFI.
   *
   * Takes: shared, whether the range lies in a memfd, whose pages go for both processes.
   */
  discard(address: number, length: number, shared: boolean): boolean {
    const at = this.#base + BigInt(address);
    return shared ? releaseShared(at, length) : (this.#libc?.discard(at, length) ?? false);
  }

  /** Idle connections give back what their rings do not need. */
  #trim(): void {
    if (this.#libc === undefined || this.options.idleTrim === false) return;
    for (const connection of this.#connections) connection?.trim.look();
  }

  /** As Reaper.reap. */
  reap(thread: number): void {
    this.#reaper.reap(thread);
  }

  /** A thread may have died of which nobody is told: looks for it soon, and some times more. Who is idle never wakes up for it. */
  #sweepLater(looks = 0): void {
    const delayMs = SWEEP_AFTER_MS[looks];
    // What is set already comes before it, but for a late look.
    if (delayMs === undefined || (looks === 0 && this.#looks === 0 && this.#sweeping !== undefined)) return;
    clearTimeout(this.#sweeping);
    this.#looks = looks;
    const sweep = (): void => {
      this.#sweeping = undefined;
      this.#reaper.sweep();
      this.#sweepLater(looks + 1);
    };
    this.#sweeping = setTimeout(sweep, delayMs).unref();
  }

  /** A stack was reaped: an acceptor may be waiting for an intent of the dead. */
  #bereaved(): void {
    for (let other = 0; other < STACK_CAPACITY; other++) if (this.abi.stackGeneration(other) !== 0) this.#nudge(other);
    for (const neighbour of this.#neighbours?.clients() ?? []) neighbour.nudge(CONTROL_RENDEZVOUS | CONTROL_DETACHED);
    this.#neighbours?.bereaved();
  }

  #farewell(): void {
    for (const connection of this.connections()) connection.farewell();
    this.#neighbours?.close();
  }
}

/** All stack slots are taken: reaps those of dead threads. The living hear of it when they look for themselves. */
function makeRoom({ abi, reservation }: Arena, options: SmcOptions): void {
  const ffi = options.ffi ? loadLibc() : { reason: "FFI is switched off" };
  if ("reason" in ffi) return;
  const extents = new Extents(abi, ffi.libc.address(sharedView(reservation.memory)));
  const pairs = new PairTable(reservation.memory);
  new Reaper({ abi, pairs, extents, slot: undefined, reaped: () => undefined }).sweep();
}
