/**
 * Answering: the contacts that stacks of other processes make with this one.
 *
 * Owns the unix socket that this stack answers on, and the sockets whose contact has not come or came too early. Who it is, and
 * what it brings, is checked before anything is entered. Does not know why somebody comes.
 */
import { chmodSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { LAYOUT_VERSION } from "../../assembly/shared/layout.js";
import { closeDescriptor } from "../host/libc.js";
import { duplicate, peerCredentials, receiveFrame, sendFrame } from "../host/unix-socket.js";
import { debug } from "../trace.js";
import {
  type AnswerFrame,
  CONTACT_FRAME_SIZE,
  type ContactFrame,
  decodeChannelFrame,
  encodeChannelFrame,
  REFUSAL,
} from "../wire/contact.js";
import { type ContactHost, sendMeeting } from "./meeting.js";
import { type Pairs, Refusal } from "./pairs.js";

/**
 * Whoever may not write to a socket cannot connect to it, and a usual umask takes that from the group. The directory says who
 * gets as far as this: nobody but the user, or a group that shares it.
 */
const SOCKET_MODE = 0o660;

/** Sockets that have not said yet what they want; the oldest makes room for one more. */
const MOST_SILENT = 64;
/** So long a silent socket is looked at each turn, then each millisecond: what it sends was under way. */
const EAGER_MS = 2;

/** A contact that builds on what has not come yet: its probe, or what another stack of this process is about to read. */
interface Early {
  /** When it came, ms. */
  readonly since: number;
  readonly bytes: Uint8Array;
  readonly descriptors: readonly number[];
}

export class Answering {
  readonly #host: ContactHost;
  readonly #pairs: Pairs;
  /** Sockets whose contact has not come, oldest first, each with when it came, ms. */
  readonly #silent = new Map<number, number>();
  /** Contacts that came too early, by their sockets. */
  readonly #early = new Map<number, Early>();
  #server: Server | undefined;
  #listening = false;

  constructor(host: ContactHost, pairs: Pairs) {
    this.#host = host;
    this.#pairs = pairs;
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
    if (server.listening) chmodSync(path, SOCKET_MODE);
    return server.listening;
  }

  /** This stack ends. */
  close(): void {
    this.#server?.close();
    for (const socket of this.#silent.keys()) this.#hangUp(socket);
    for (const [socket, { descriptors }] of this.#early) {
      for (const descriptor of descriptors) closeDescriptor(descriptor);
      closeDescriptor(socket);
    }
    this.#early.clear();
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
    const ageMs = Date.now() - since;
    let outcome: "kept" | "answered" | "early" = "answered";
    try {
      outcome = this.#answer(socket, bytes, descriptors, room ? this.#host.contactMs - ageMs : 0);
    } catch (error) {
      debug("contact refused: %s", (error as Error).message);
      this.#refuse(socket, error instanceof Refusal ? error.code : REFUSAL.layout);
    }
    if (outcome === "early") {
      this.#early.set(socket, { since, bytes, descriptors });
      this.#listen(ageMs < EAGER_MS);
      return;
    }
    for (const descriptor of descriptors) closeDescriptor(descriptor);
    if (outcome === "answered") closeDescriptor(socket);
  }

  #refuse(socket: number, refusal: number): void {
    const { gid, slot, generation } = this.#host;
    const answer: AnswerFrame = {
      ...{ type: "answer", gid, nonce: 0n, slot, generation, eids: [], mostBlocks: 0 },
      ...{ refusal, gifts: false, reached: false },
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

  /**
   * Answers a contact that may wait for `waitMs` more.
   *
   * Returns: "kept": the socket stays, as the pair's channel; "early": nothing has been done yet.
   */
  #answer(
    socket: number,
    bytes: Uint8Array,
    descriptors: readonly number[],
    waitMs: number,
  ): "kept" | "answered" | "early" {
    const host = this.#host;
    const { table, gid, slot, generation, eids, mostBlocks, contactMs, probes } = host;
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
    if (waitMs > 0 && this.#isEarly(frame)) return "early";
    const reached = frame.probe !== 0n && probes.heard(frame.probe);
    // A probe that is lost must not cost the contact: the other half of the time is for the answer.
    if (frame.probe !== 0n && !reached && waitMs > contactMs / 2) return "early";
    const entered = this.#pairs.enter(frame.gid, frame.nonce, frame.first);
    if (entered === undefined) throw new Refusal(REFUSAL.unknownPair, "no such pair");
    const { pair, gift } = entered;
    try {
      this.#pairs.admit(pair, frame, descriptors);
      const answer: AnswerFrame = {
        ...{ type: "answer", gid, nonce: frame.nonce, slot, generation, eids, mostBlocks },
        ...{ refusal: REFUSAL.none, gifts: gift !== undefined, reached },
      };
      if (frame.first && !pair.begin(socket, frame.mostBlocks))
        throw new Refusal(REFUSAL.unknownPair, "the pair is gone");
      sendMeeting(socket, answer, gift);
    } catch (error) {
      if (frame.first) {
        table.setChannel(pair.index, -1);
        pair.fail((error as Error).message);
      } else if (gift !== undefined) this.#pairs.withdraw(pair);
      throw error;
    } finally {
      if (gift !== undefined) closeDescriptor(gift.bell);
    }
    pair.door(frame.slot, frame.generation)?.ring();
    return frame.first ? "kept" : "answered";
  }
}
