/**
 * Asking: the contacts that this stack makes with stacks of other processes.
 *
 * Owns the contacts under way and who is left alone for a while after one that failed. What a contact brings is taken by
 * pairs.ts, what the other side does with it is in answer.ts.
 */
import { LAYOUT_VERSION } from "../../assembly/shared/layout.js";
import { closeDescriptor } from "../host/libc.js";
import { connectUnix, peerCredentials, receiveFrame } from "../host/unix-socket.js";
import { debug } from "../trace.js";
import {
  type AnswerFrame,
  CONTACT_FRAME_SIZE,
  type ContactFrame,
  decodeChannelFrame,
  REFUSAL,
  refusalName,
} from "../wire/contact.js";
import { type ContactHost, sendMeeting } from "./meeting.js";
import type { Door, Pair } from "./pair.js";
import type { Gift, Pairs } from "./pairs.js";
import type { Probe, Route } from "./probe.js";

/** Who is left to TCP after a contact failed, and for how long, ms. */
const SHUN_MS = 1000;
/** Whom so long is remembered of at most; then all are forgotten. */
const MOST_SHUNNED = 1024;

/** A stack of another process, as the registry names it. */
export interface Stranger {
  /** GID of its process. */
  readonly gid: bigint;
  readonly slot: number;
  readonly generation: number;
  /** Path of the socket that it answers on. */
  readonly path: string;
}

/** A stack that is left alone. */
interface Shunned {
  /** ms. */
  readonly until: number;
  /** What its contact failed of. */
  readonly reason: string;
}

/** Told what a contact came to: the stack that was met, and whether the route was seen to lead to it. */
export type Met = (door: Door | undefined, reached: boolean) => void;

/** A contact that we have asked for. */
interface Asked {
  readonly stranger: Stranger;
  readonly pair: Pair;
  readonly first: boolean;
  readonly socket: number;
  readonly timer: NodeJS.Timeout;
  readonly probe: Probe | undefined;
  readonly waiting: Set<Met>;
  /** The answer, while it builds on gifts that another stack of this process has not taken yet. */
  early?: AnswerFrame;
  /** Our probe has come to the other side. */
  reached: boolean;
}

const nameOf = ({ gid, slot, generation }: Stranger): string => `${gid}/${slot}/${generation}`;

export class Asking {
  readonly #host: ContactHost;
  readonly #pairs: Pairs;
  readonly #asked = new Map<string, Asked>();
  readonly #shunned = new Map<string, Shunned>();
  #looking = false;

  constructor(host: ContactHost, pairs: Pairs) {
    this.#host = host;
    this.#pairs = pairs;
  }

  /** Why it is left alone, in words; undefined where meeting it is worth a try now. */
  shunned(stranger: Stranger): string | undefined {
    const shunned = this.#shunned.get(nameOf(stranger));
    if (shunned === undefined) return undefined;
    if (Date.now() < shunned.until) return shunned.reason;
    this.#shunned.delete(nameOf(stranger));
    return undefined;
  }

  /**
   * Makes contact, once for all who ask for the same; `done` is called once, in a later turn. The returned function ends the wait.
   *
   * Takes: route, to be proven to lead to the stack; undefined where that is known.
   */
  meet(stranger: Stranger, route: Route | undefined, done: Met): () => void {
    const name = route === undefined ? nameOf(stranger) : `${nameOf(stranger)}@${route.address}`;
    let asked = this.#asked.get(name);
    if (asked === undefined) {
      asked = this.#ask(name, stranger, route);
      if (asked === undefined) {
        const immediate = setImmediate(done, undefined, false);
        return () => clearImmediate(immediate);
      }
      this.#asked.set(name, asked);
    }
    const { waiting } = asked;
    waiting.add(done);
    return () => waiting.delete(done);
  }

  #shun(stranger: Stranger, reason: string): void {
    debug("no contact with %s: %s", stranger.path, reason);
    if (this.#shunned.size >= MOST_SHUNNED) this.#shunned.clear();
    this.#shunned.set(nameOf(stranger), { until: Date.now() + SHUN_MS, reason });
  }

  /** Undefined where the contact has failed at once. */
  #ask(name: string, stranger: Stranger, route: Route | undefined): Asked | undefined {
    const { slot, generation, gid, eids, mostBlocks, contactMs, table, probes, trusts } = this.#host;
    let socket: number | undefined;
    let pair: Pair | undefined;
    let gift: Gift | undefined;
    let probe: Probe | undefined;
    try {
      socket = connectUnix(stranger.path);
      if (socket === undefined) throw new RangeError("nobody answers");
      const peer = peerCredentials(socket);
      if (peer === undefined || !trusts(peer)) throw new RangeError(`uid ${peer?.uid} is not trusted`);
      const entered = this.#pairs.enter(stranger.gid, undefined);
      if (entered === undefined) throw new RangeError("no room for one more pair");
      pair = entered.pair;
      const wanted = { gid: stranger.gid, slot: stranger.slot, generation: stranger.generation };
      const { first } = entered;
      gift = entered.gift;
      const nonce = table.nonce(pair.index);
      if (route !== undefined) probe = probes.send(route, contactMs);
      const frame: ContactFrame = {
        ...{ type: "contact", gid, nonce, slot, generation, eids, mostBlocks, first, wanted },
        ...{ gifts: gift !== undefined, probe: probe?.nonce ?? 0n },
      };
      sendMeeting(socket, frame, gift);
      const timer = setTimeout(() => this.#expired(name), contactMs);
      pair.stand(1);
      return { stranger, pair, first, socket, timer, probe, waiting: new Set(), reached: false };
    } catch (error) {
      this.#shun(stranger, (error as Error).message);
      probe?.stop();
      if (socket !== undefined) closeDescriptor(socket);
      if (pair !== undefined && this.#host.table.phase(pair.index) === "contacting") pair.fail("no contact");
      else if (gift !== undefined) this.#pairs.withdraw(pair!);
      return undefined;
    } finally {
      // The write end is the receiver's alone: its end is the end of the peer process.
      if (gift !== undefined) closeDescriptor(gift.bell);
    }
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
    if (frame.refusal !== REFUSAL.none) throw new RangeError(`refused: ${refusalName(frame.refusal)}`);
    const { gid, slot, generation, nonce } = frame;
    if (gid !== stranger.gid || slot !== stranger.slot || generation !== stranger.generation)
      throw new RangeError("somebody else answers");
    if (nonce !== table.nonce(pair.index)) throw new RangeError("it means another pair");
    if (!frame.eids.some((eid) => eids.includes(eid))) throw new RangeError("no EID in common");
    this.#pairs.admit(pair, frame, descriptors);
    if (first && !pair.begin(socket, frame.mostBlocks)) throw new RangeError("the pair is gone");
    pair.acknowledge();
    asked.reached = frame.reached;
    return pair.door(slot, generation);
  }

  /** A loop that was blocked runs its timers first: what came meanwhile still counts. */
  #expired(name: string): void {
    this.look();
    const asked = this.#asked.get(name);
    if (asked !== undefined) this.#answered(name, asked, undefined, "no answer in time");
  }

  #answered(name: string, asked: Asked, door: Door | undefined, reason = ""): void {
    const { pair, first, socket, timer, probe, waiting } = asked;
    this.#asked.delete(name);
    clearTimeout(timer);
    probe?.stop();
    pair.stand(-1);
    const kept = first && this.#host.table.channel(pair.index) === socket;
    if (!kept) closeDescriptor(socket);
    if (door === undefined) {
      this.#shun(asked.stranger, reason);
      if (first) pair.fail(reason);
      else if (!pair.acknowledged) this.#pairs.withdraw(pair);
    }
    // Who has ended its wait by then is not told any more: its handle may be closed.
    for (const done of waiting)
      setImmediate(() => {
        if (waiting.delete(done)) done(door, asked.reached);
      });
  }

  /** This stack ends. */
  close(): void {
    for (const [name, asked] of this.#asked) this.#answered(name, asked, undefined, "this stack ends");
  }
}
