/**
 * First contact: how two stacks of different processes come to share a doorbell and memory.
 *
 * Owns the unix socket that this stack answers on, the contacts under way, and the pairs this stack has entered. Nothing here
 * blocks: a contact has some milliseconds, and who is not met by then is left to TCP for a while. Trust is decided here, by
 * the peer's credentials and EIDs, before a byte of its memory is mapped.
 *
 *   stack a                                                stack b, in another process
 *   enters or makes the pair: box, bell
 *   connect ─── contact + bell, memfd of the box ────────▶ checks who it is; enters the pair: box, bell
 *   rung by its new bell ◀─── answer + bell, memfd ─────── rings a
 *   a first contact's socket stays as the pair's channel, any other is closed
 */
import { randomFillSync } from "node:crypto";
import { createServer, type Server, type Socket } from "node:net";
import { EXTENT_BOX } from "../../assembly/shared/codes.js";
import { BOX_BLOCKS, LAYOUT_VERSION } from "../../assembly/shared/layout.js";
import { closeDescriptor } from "../host/libc.js";
import {
  type Credentials,
  connectUnix,
  duplicate,
  isUnixStream,
  peerCredentials,
  receiveFrame,
  sendFrame,
} from "../host/unix-socket.js";
import { debug } from "../trace.js";
import {
  type AnswerFrame,
  CONTACT_FRAME_SIZE,
  type ContactFrame,
  decodeChannelFrame,
  encodeChannelFrame,
  REFUSAL,
} from "../wire/contact.js";
import { type Door, Pair, type PairHost } from "./pair.js";

/** Who is left to TCP after a contact failed, and for how long, ms. */
const SHUN_MS = 1000;
/** Whom so long is remembered of at most; then all are forgotten. */
const MOST_SHUNNED = 1024;
/** Sockets that have not said yet what they want; the oldest makes room for one more. */
const MOST_SILENT = 64;
/** So long a silent socket is looked at each turn, then each millisecond: what it sends was under way. */
const EAGER_MS = 2;

/** A stack of another process, as the registry names it. */
export interface Stranger {
  /** GID of its process. */
  readonly gid: bigint;
  readonly slot: number;
  readonly generation: number;
  /** Path of the socket that it answers on. */
  readonly path: string;
}

export interface ContactHost extends Omit<PairHost, "idle"> {
  /** GID of this process. */
  readonly gid: bigint;
  readonly eids: readonly string[];
  /** Time for one contact, ms. */
  readonly contactMs: number;
  /** After so long without a connection a pair is left, ms. */
  readonly idleMs: number;
  /** Whether a process with these credentials may be met. */
  trusts(peer: Credentials): boolean;
  /** A peer process has gone, perhaps killed: what it left behind may be cleared away. */
  lost(): void;
}

/** A contact that we have asked for. */
interface Asked {
  readonly stranger: Stranger;
  readonly pair: Pair;
  readonly first: boolean;
  readonly socket: number;
  readonly timer: NodeJS.Timeout;
  readonly waiting: Set<(door: Door | undefined) => void>;
  /** The answer, while it builds on gifts that another stack of this process has not taken yet. */
  early?: AnswerFrame;
}

/** A contact that builds on what another stack of this process has not read yet. */
interface Early {
  /** When it came, ms. */
  readonly since: number;
  readonly bytes: Uint8Array;
  readonly descriptors: readonly number[];
}

const nameOf = ({ gid, slot, generation }: Stranger): string => `${gid}/${slot}/${generation}`;
const randomNonce = (): bigint => randomFillSync(new BigUint64Array(1))[0]!;

/** What a peer process needs of a stack: the write end of its bell, and the memfd of its box. */
interface Gift {
  readonly bell: number;
  readonly box: number;
}

class Refusal extends Error {
  readonly code: number;
  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

export class Contacts {
  readonly #host: ContactHost & PairHost;
  #tidying: NodeJS.Timeout | undefined;
  readonly #pairs = new Map<number, Pair>();
  readonly #asked = new Map<string, Asked>();
  readonly #shunned = new Map<string, number>();
  /** Sockets whose contact has not come, oldest first, each with when it came, ms. */
  readonly #silent = new Map<number, number>();
  /** Contacts that came too early, by their sockets. */
  readonly #early = new Map<number, Early>();
  #server: Server | undefined;
  #listening = false;
  #looking = false;

  constructor(host: ContactHost) {
    this.#host = { ...host, idle: () => this.#tidyLater(0) };
  }

  /** Pairs that this stack has entered. */
  *pairs(): Iterable<Pair> {
    for (const pair of this.#pairs.values()) if (!pair.closed) yield pair;
  }

  /** Every stack of other processes that we have met, or that has met a stack of this process. */
  *doors(): Iterable<Door> {
    for (const pair of this.pairs()) yield* pair.doors();
  }

  /** The stack with this identity, if it was met and can see what we announce. */
  find(gid: bigint, slot: number, generation: number): Door | undefined {
    for (const door of this.findAll(gid, slot, generation)) if (door.pair.acknowledged) return door;
    return undefined;
  }

  /** A stack that was met, in every pair: there are several where both processes made first contact at the same time. */
  *findAll(gid: bigint, slot: number, generation: number): Iterable<Door> {
    for (const pair of this.pairs()) {
      const door = pair.gid === gid ? pair.door(slot, generation) : undefined;
      if (door !== undefined) yield door;
    }
  }

  /** Whether meeting it is worth a try now. */
  approachable(stranger: Stranger): boolean {
    const until = this.#shunned.get(nameOf(stranger));
    if (until === undefined) return true;
    if (Date.now() < until) return false;
    this.#shunned.delete(nameOf(stranger));
    return true;
  }

  /** Makes contact; `done` is called once, in a later turn, with the door or undefined. The returned function ends the wait. */
  meet(stranger: Stranger, done: (door: Door | undefined) => void): () => void {
    const name = nameOf(stranger);
    let asked = this.#asked.get(name);
    if (asked === undefined) {
      asked = this.#ask(stranger);
      if (asked === undefined) {
        this.#shun(name);
        const immediate = setImmediate(done, undefined);
        return () => clearImmediate(immediate);
      }
      this.#asked.set(name, asked);
    }
    const { waiting } = asked;
    waiting.add(done);
    return () => waiting.delete(done);
  }

  #shun(name: string): void {
    if (this.#shunned.size >= MOST_SHUNNED) this.#shunned.clear();
    this.#shunned.set(name, Date.now() + SHUN_MS);
  }

  #ask(stranger: Stranger): Asked | undefined {
    const { slot, generation, gid, eids, contactMs, table, trusts } = this.#host;
    let socket: number | undefined;
    let pair: Pair | undefined;
    let gift: Gift | undefined;
    try {
      socket = connectUnix(stranger.path);
      if (socket === undefined) return undefined;
      const peer = peerCredentials(socket);
      if (peer === undefined || !trusts(peer)) throw new RangeError(`uid ${peer?.uid} is not trusted`);
      const entered = this.#enter(stranger.gid, undefined);
      if (entered === undefined) throw new RangeError("no room for one more pair");
      pair = entered.pair;
      const wanted = { gid: stranger.gid, slot: stranger.slot, generation: stranger.generation };
      const { first } = entered;
      gift = entered.gift;
      const nonce = table.nonce(pair.index);
      const frame: ContactFrame = {
        ...{ type: "contact", gid, nonce, slot, generation, eids, first, wanted },
        gifts: gift !== undefined,
      };
      this.#send(socket, frame, gift);
      const timer = setTimeout(() => this.#expired(nameOf(stranger)), contactMs);
      return { stranger, pair, first, socket, timer, waiting: new Set() };
    } catch (error) {
      debug("no contact with %s: %s", stranger.path, (error as Error).message);
      if (socket !== undefined) closeDescriptor(socket);
      if (pair !== undefined && this.#host.table.phase(pair.index) === "contacting") pair.fail("no contact");
      else if (gift !== undefined) this.#withdraw(pair!);
      return undefined;
    } finally {
      // The write end is the receiver's alone: its end is the end of the peer process.
      if (gift !== undefined) closeDescriptor(gift.bell);
    }
  }

  /** Sends a frame and, in the same message, the gifts: they come whole or not at all. */
  #send(socket: number, frame: ContactFrame | AnswerFrame, gift: Gift | undefined): void {
    const gifts = gift === undefined ? [] : [gift.bell, gift.box];
    if (sendFrame(socket, encodeChannelFrame(frame, LAYOUT_VERSION), ...gifts) !== "sent")
      throw new RangeError("its socket is full");
  }

  /** The peer may not have got our gifts: leaves the pair, so that the next contact brings them again. */
  #withdraw(pair: Pair): void {
    if (pair.busy || [...this.#asked.values()].some((asked) => asked.pair === pair)) return;
    this.#pairs.delete(pair.index);
    pair.leave();
  }

  /**
   * Sees to it that this stack has entered a pair with the process `gid`: one it is in, one of another thread, a new one.
   *
   * Takes:   nonce, which of several, as the peer says; undefined for any, or a new one.
   * Returns: `gift`: what the peer process needs to have of this stack, unless it has it already.
   */
  #enter(
    gid: bigint,
    nonce: bigint | undefined,
    first = nonce === undefined,
  ): { pair: Pair; first: boolean; gift: Gift | undefined } | undefined {
    const { table, slot } = this.#host;
    for (const pair of this.pairs()) {
      const same = pair.gid === gid && (nonce === undefined || table.nonce(pair.index) === nonce);
      if (same && table.phase(pair.index) === "live") return { pair, first: false, gift: undefined };
    }
    const known = nonce !== undefined && first ? undefined : table.findLive(gid, nonce);
    if (known !== undefined) table.enter(known, slot);
    else if (!first) return undefined;
    const index = known ?? table.claim(gid, nonce ?? randomNonce(), slot);
    if (index === undefined) return undefined;
    const pair = new Pair(this.#host, index);
    // Whoever takes a pair down looks for users once more after it has said that it is dead.
    const gift = pair.gid === gid && table.phase(index) !== "dead" ? pair.open() : undefined;
    if (gift === undefined) {
      pair.leave();
      return undefined;
    }
    this.#pairs.set(index, pair);
    this.#tidyLater(this.#host.idleMs);
    return { pair, first: known === undefined, gift };
  }

  /** The bell rang: an answer may have come. */
  look(): void {
    for (const [name, asked] of this.#asked) {
      if (asked.early !== undefined) {
        this.#weigh(name, asked, asked.early, []);
        continue;
      }
      const frame = new Uint8Array(CONTACT_FRAME_SIZE);
      const received = receiveFrame(asked.socket, frame);
      if (received === "empty") continue;
      if (received === "closed") {
        this.#answered(name, asked, undefined, "it closed the socket");
        continue;
      }
      try {
        const answer = decodeChannelFrame(frame.subarray(0, received.length), LAYOUT_VERSION);
        this.#weigh(name, asked, answer as AnswerFrame, received.descriptors);
      } catch (error) {
        this.#answered(name, asked, undefined, (error as Error).message);
      } finally {
        for (const descriptor of received.descriptors) closeDescriptor(descriptor);
      }
    }
  }

  #weigh(name: string, asked: Asked, answer: AnswerFrame, descriptors: readonly number[]): void {
    const { table } = this.#host;
    const known = answer.gifts || table.door(asked.pair.index, answer.slot)?.generation === answer.generation;
    if (answer.type === "answer" && answer.refusal === REFUSAL.none && !known) {
      asked.early = answer;
      this.#lookSoon();
      return;
    }
    try {
      this.#answered(name, asked, this.#take(asked, answer, descriptors));
    } catch (error) {
      this.#answered(name, asked, undefined, (error as Error).message);
    }
  }

  /** No bell tells what another stack of this process takes. */
  #lookSoon(): void {
    if (this.#looking) return;
    this.#looking = true;
    setImmediate(() => {
      this.#looking = false;
      this.look();
    });
  }

  #take(asked: Asked, answer: unknown, descriptors: readonly number[]): Door | undefined {
    const { stranger, pair, first, socket } = asked;
    const { table, eids } = this.#host;
    const frame = answer as AnswerFrame;
    if (frame.type !== "answer") throw new RangeError("no answer");
    if (frame.refusal !== REFUSAL.none) throw new RangeError(`refused, code ${frame.refusal}`);
    const { gid, slot, generation, nonce } = frame;
    if (gid !== stranger.gid || slot !== stranger.slot || generation !== stranger.generation)
      throw new RangeError("somebody else answers");
    if (nonce !== table.nonce(pair.index)) throw new RangeError("it means another pair");
    if (!frame.eids.some((eid) => eids.includes(eid))) throw new RangeError("no EID in common");
    this.#admit(pair, frame, descriptors);
    if (first) {
      table.setChannel(pair.index, socket);
      if (!table.live(pair.index)) throw new RangeError("the pair is gone");
    }
    pair.acknowledge();
    return pair.door(slot, generation);
  }

  /** Enters a stack of the peer process in the table, by its gifts. Checks both before it maps one. */
  #admit(pair: Pair, { slot, generation, gifts }: ContactFrame | AnswerFrame, descriptors: readonly number[]): void {
    const { table, libc, extents } = this.#host;
    if (!gifts) {
      if (table.door(pair.index, slot)?.generation !== generation) throw new Refusal(REFUSAL.unknownStack, "no bell");
      return;
    }
    const [bell, box] = descriptors;
    if (bell === undefined || box === undefined || descriptors.length !== 2)
      throw new Refusal(REFUSAL.notAllowed, `${descriptors.length} descriptors`);
    if (!isUnixStream(bell)) throw new Refusal(REFUSAL.notAllowed, "its bell is none");
    if (!pair.lock()) throw new Refusal(REFUSAL.noRoom, "another thread is busy with this peer");
    try {
      const before = table.door(pair.index, slot);
      if (before !== undefined) {
        // Its box stays. A bell takes over the number of the one before it: who still rings that wakes nobody wrong.
        if (!libc.replaceDescriptor(bell, before.bell)) throw new Refusal(REFUSAL.noRoom, "its bell cannot be kept");
        table.setDoor(pair.index, slot, { ...before, generation });
        return;
      }
      const kept = duplicate(bell);
      const extent = extents.adopt(box, BOX_BLOCKS, { kind: EXTENT_BOX, pair: pair.index, number: slot });
      if (typeof extent === "string") {
        closeDescriptor(kept);
        throw new Refusal(REFUSAL.notAllowed, `its box: ${extent}`);
      }
      table.setDoor(pair.index, slot, { extent, generation, bell: kept });
    } finally {
      pair.unlock();
    }
  }

  /** A loop that was blocked runs its timers first: what came meanwhile still counts. */
  #expired(name: string): void {
    this.look();
    const asked = this.#asked.get(name);
    if (asked !== undefined) this.#answered(name, asked, undefined, "no answer in time");
  }

  #answered(name: string, asked: Asked, door: Door | undefined, reason = ""): void {
    const { pair, first, socket, timer, waiting } = asked;
    this.#asked.delete(name);
    clearTimeout(timer);
    const kept = first && this.#host.table.channel(pair.index) === socket;
    if (!kept) closeDescriptor(socket);
    if (door === undefined) {
      debug("no contact with %s: %s", asked.stranger.path, reason);
      this.#shun(name);
      if (first) pair.fail(reason);
      else if (!pair.acknowledged) this.#withdraw(pair);
    }
    for (const done of waiting) setImmediate(done, door);
  }

  /** Answers contacts on the unix socket `path`; false where it cannot be made. Once a stack. */
  serve(path: string): boolean {
    if (this.#server !== undefined) return true;
    const server = createServer({ pauseOnConnect: true }, (socket) => this.#accept(socket));
    server.on("error", (error) => debug("no contacts: %s", error.message));
    // exclusive: in a cluster worker the primary would listen otherwise.
    server.listen({ path, exclusive: true });
    server.unref();
    this.#server = server;
    return server.listening;
  }

  close(): void {
    this.#server?.close();
    for (const socket of this.#silent.keys()) this.#hangUp(socket);
    for (const [socket, { descriptors }] of this.#early) {
      for (const descriptor of descriptors) closeDescriptor(descriptor);
      closeDescriptor(socket);
    }
    this.#early.clear();
    for (const [name, asked] of this.#asked) this.#answered(name, asked, undefined, "this stack ends");
  }

  #accept(socket: Socket): void {
    const { fd } = (socket as unknown as { _handle: { fd: number } })._handle;
    // libuv would read, and drop the descriptors: a copy of ours goes on without it.
    let copy: number | undefined;
    try {
      copy = duplicate(fd);
    } catch (error) {
      debug("a contact is dropped: %s", (error as Error).message);
    }
    socket.on("error", () => {});
    socket.destroy();
    if (copy === undefined || this.#attend(copy)) return;
    const [oldest] = this.#silent.keys();
    if (oldest !== undefined && this.#silent.size >= MOST_SILENT) this.#hangUp(oldest);
    this.#silent.set(copy, Date.now());
    this.#listen(true);
  }

  #hangUp(socket: number): void {
    this.#silent.delete(socket);
    closeDescriptor(socket);
  }

  /** Looks at the silent sockets again, soon: a contact comes right after the connect. */
  #listen(eager: boolean): void {
    if (this.#listening || this.#silent.size + this.#early.size === 0) return;
    this.#listening = true;
    const look = (): void => {
      this.#listening = false;
      this.#listenNow();
    };
    if (eager) setImmediate(look);
    else setTimeout(look, 1).unref();
  }

  #listenNow(): void {
    const now = Date.now();
    let youngest = 0;
    for (const [socket, since] of this.#silent) {
      if (this.#attend(socket)) continue;
      if (now - since >= this.#host.contactMs) this.#hangUp(socket);
      else youngest = since;
    }
    for (const [socket, { since, bytes, descriptors }] of [...this.#early]) {
      this.#reply(socket, bytes, descriptors, since);
      youngest = Math.max(youngest, since);
    }
    this.#listen(now - youngest < EAGER_MS);
  }

  /** Takes the contact that has come over a socket; false when none has. */
  #attend(socket: number): boolean {
    const frame = new Uint8Array(CONTACT_FRAME_SIZE);
    const received = receiveFrame(socket, frame);
    if (received === "empty") return false;
    this.#silent.delete(socket);
    if (received === "closed") {
      closeDescriptor(socket);
      return true;
    }
    this.#reply(socket, frame.subarray(0, received.length), received.descriptors, Date.now());
    return true;
  }

  /** Answers a contact that came at `since`, or keeps it for a later turn. */
  #reply(socket: number, bytes: Uint8Array, descriptors: readonly number[], since: number): void {
    const room = this.#early.delete(socket) || this.#early.size < MOST_SILENT;
    let outcome: "kept" | "answered" | "early" = "answered";
    try {
      const mayWait = room && Date.now() - since < this.#host.contactMs;
      outcome = this.#answer(socket, bytes, descriptors, mayWait);
    } catch (error) {
      debug("contact refused: %s", (error as Error).message);
      this.#refuse(socket, error instanceof Refusal ? error.code : REFUSAL.layout);
    }
    if (outcome === "early") {
      this.#early.set(socket, { since, bytes, descriptors });
      this.#listen(true);
      return;
    }
    for (const descriptor of descriptors) closeDescriptor(descriptor);
    if (outcome === "answered") closeDescriptor(socket);
  }

  #refuse(socket: number, refusal: number): void {
    const { gid, slot, generation } = this.#host;
    const answer: AnswerFrame = {
      ...{ type: "answer", gid, nonce: 0n, slot, generation, eids: [], refusal, gifts: false },
    };
    sendFrame(socket, encodeChannelFrame(answer, LAYOUT_VERSION));
  }

  /** Whether a contact builds on a pair, or on gifts, that another stack of this process is about to take. */
  #isEarly({ first, gifts, gid, nonce, slot, generation }: ContactFrame): boolean {
    const { table } = this.#host;
    if (first) return false;
    const index = table.findLive(gid, nonce);
    if (index === undefined) return table.contacting(gid, nonce);
    return !gifts && table.door(index, slot)?.generation !== generation;
  }

  /** "kept": the socket stays, as the pair's channel. */
  #answer(
    socket: number,
    bytes: Uint8Array,
    descriptors: readonly number[],
    mayWait: boolean,
  ): "kept" | "answered" | "early" {
    const host = this.#host;
    const { table, gid, slot, generation, eids } = host;
    const peer = peerCredentials(socket);
    if (peer === undefined || !host.trusts(peer))
      throw new Refusal(REFUSAL.notAllowed, `uid ${peer?.uid} is not trusted`);
    const frame = decodeChannelFrame(bytes, LAYOUT_VERSION);
    if (frame.type !== "contact") throw new Refusal(REFUSAL.notAllowed, `a ${frame.type} frame`);
    const { wanted } = frame;
    if (wanted.gid !== gid || wanted.slot !== slot || wanted.generation !== generation)
      throw new Refusal(REFUSAL.unknownStack, "another stack is wanted");
    if (frame.gid === gid) throw new Refusal(REFUSAL.notAllowed, "it says that it is us");
    if (!frame.eids.some((eid) => eids.includes(eid))) throw new Refusal(REFUSAL.noCommonEid, "no EID in common");
    if (frame.first && table.findLive(frame.gid, frame.nonce) !== undefined)
      throw new Refusal(REFUSAL.unknownPair, "the pair is there already");
    if (mayWait && this.#isEarly(frame)) return "early";
    const entered = this.#enter(frame.gid, frame.nonce, frame.first);
    if (entered === undefined) throw new Refusal(REFUSAL.unknownPair, "no such pair");
    const { pair, gift } = entered;
    try {
      this.#admit(pair, frame, descriptors);
      const answer: AnswerFrame = {
        ...{ type: "answer", gid, nonce: frame.nonce, slot, generation, eids, refusal: REFUSAL.none },
        gifts: gift !== undefined,
      };
      if (frame.first) {
        table.setChannel(pair.index, socket);
        if (!table.live(pair.index)) throw new Refusal(REFUSAL.unknownPair, "the pair is gone");
      }
      this.#send(socket, answer, gift);
    } catch (error) {
      if (frame.first) {
        table.setChannel(pair.index, -1);
        pair.fail((error as Error).message);
      } else if (gift !== undefined) this.#withdraw(pair);
      throw error;
    } finally {
      if (gift !== undefined) closeDescriptor(gift.bell);
    }
    pair.door(frame.slot, frame.generation)?.ring();
    return frame.first ? "kept" : "answered";
  }

  /** Not from inside a caller, and once for many. */
  #tidyLater(delayMs: number): void {
    clearTimeout(this.#tidying);
    this.#tidying = setTimeout(() => this.#tidy(), delayMs);
    this.#tidying.unref();
  }

  /** Leaves pairs whose process is gone or that nobody has used for long, where they hold no connection of ours. */
  #tidy(): void {
    const { idleMs } = this.#host;
    const asked = new Set([...this.#asked.values()].map(({ pair }) => pair));
    for (const [index, pair] of this.#pairs) {
      const idle = Date.now() - pair.idleSince >= idleMs;
      // First: who waits for the dead keeps the pair busy.
      if (pair.gone) this.#host.lost();
      if (pair.busy || asked.has(pair) || !(pair.closed || idle)) continue;
      this.#pairs.delete(index);
      pair.leave();
    }
    if (this.#pairs.size > 0) this.#tidyLater(idleMs);
  }
}
