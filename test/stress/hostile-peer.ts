/**
 * A peer process by hand: it speaks the channel protocol with the real codecs and real memory, and lies where it is told to.
 *
 * Owns no more than its descriptors, none of them known to a stack; `closeMade` is its death.
 * It reads and writes shared memory as a file: nothing that the victim does can touch the test.
 */
import { randomBytes } from "node:crypto";
import { closeSync, readdirSync, readSync, writeSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { HEAD_ATTACHED, HEAD_REGISTERED, HEAD_STATE } from "../../assembly/shared/codes.js";
import {
  BLOCK_SIZE,
  BOX_BITS,
  BOX_BLOCKS,
  BOX_SUMMARY,
  CDC_CONS_OFFSET,
  CDC_PROD_OFFSET,
  CDC_SIZE,
  HEAD_LENGTH,
  HEAD_LINK,
  HEAD_SIZE,
  HEAD_SLOT,
  HEAD_STACK,
  HEAD_TOKEN,
  LAYOUT_VERSION,
  SUMMARY_SPAN,
} from "../../assembly/shared/layout.js";
import type { LocalDevice } from "../../src/clc/agreement.js";
import { type ClientAction, type ClientState, clientHandshake, reduceClient } from "../../src/clc/client.js";
import { ClcFraming } from "../../src/clc/framing.js";
import { SHM_CHID } from "../../src/device/shm.js";
import { connectUnix, receiveFrame } from "../../src/host/unix-socket.js";
import {
  type AnswerFrame,
  CONTACT_FRAME_SIZE,
  type ContactFrame,
  decodeChannelFrame,
  encodeChannelFrame,
} from "../../src/wire/contact.js";
import { closed } from "../support/pair.js";
import { happens, until, within } from "../support/watchdog.js";
import type { Seen } from "./hostile.js";
import { bellPair, made, sealedMemfd, sendRaw } from "./hostile-descriptors.js";

/** A stack as the names of the runtime directory tell of it. */
export interface Target {
  readonly gid: bigint;
  readonly slot: number;
  readonly generation: number;
  readonly path: string;
}

/** Stacks that answer contacts. */
export function targetsIn(directory: string): Target[] {
  return readdirSync(join(directory, "s"))
    .filter((name) => /^[0-9a-f]{32}$/.test(name))
    .map((name) => {
      const stack = BigInt(`0x${name.slice(16)}`);
      return {
        gid: BigInt(`0x${name.slice(0, 16)}`),
        slot: Number(stack & 0xffn),
        generation: Number(stack >> 8n),
        path: join(directory, "s", name),
      };
    });
}

export const anyU64 = (): bigint => randomBytes(8).readBigUInt64LE();

export const BOX_BYTES = BOX_BLOCKS * BLOCK_SIZE;

/** Source: the blocks that heads take, assembly/extent.ts. */
const headBlocks = (blocks: number): number => Math.ceil((blocks * HEAD_SIZE) / BLOCK_SIZE);

/** What a contact came to: an answer with what came with it, or the end of the socket. */
export interface Told {
  readonly answer: AnswerFrame | undefined;
  readonly descriptors: readonly number[];
}

/** A DMB in one of our extents, or of the victim. */
export interface Dmb {
  readonly memfd: number;
  readonly block: number;
  readonly token: bigint;
}

function send(socket: Socket, actions: readonly ClientAction[]): void {
  for (const action of actions) if (action.type === "send") socket.write(action.bytes);
}

export type ContactChange = Partial<Omit<ContactFrame, "type">>;

export class HostilePeer {
  readonly gid = anyU64();
  readonly nonce = anyU64();
  readonly slot = 5;
  readonly generation = 9;
  readonly target: Target;
  readonly ownBox = sealedMemfd(BOX_BYTES);
  /** The bell that we give away, and where we would hear it. */
  readonly #bell = bellPair();
  /** After `meet`: channel, the victim's bell and box. */
  channel = -1;
  bell = -1;
  box = -1;
  /** Extents of ours and of the victim, by number. */
  readonly own = new Map<number, number>();
  readonly theirs = new Map<number, number>();

  constructor(target: Target) {
    this.target = target;
  }

  connect(): number {
    const socket = connectUnix(this.target.path);
    if (socket === undefined) throw new Error("the victim does not listen");
    return socket;
  }

  /** The frame of an honest first contact but for `change`. */
  contactFrame(change: ContactChange = {}): Uint8Array {
    const { gid, nonce, slot, generation, target } = this;
    const { gid: ofProcess, slot: ofStack, generation: since } = target;
    const wanted = { gid: ofProcess, slot: ofStack, generation: since };
    const frame: ContactFrame = {
      ...{ type: "contact", gid, nonce, slot, generation, eids: ["SMCNET"], first: true, gifts: true, wanted },
      ...{ mostBlocks: 16384, probe: 0n },
      ...change,
    };
    return encodeChannelFrame(frame, LAYOUT_VERSION);
  }

  /** Rings our own bell, as somebody who hears nothing would leave it. */
  fillOwnBell(): void {
    while (sendRaw(this.#bell[0], Buffer.alloc(4096)) > 0);
  }

  /** What an honest contact brings. */
  get gifts(): number[] {
    return [this.#bell[0], this.ownBox];
  }

  /** What the victim says on a socket, once it says something or closes it. */
  async told(socket: number, what = "the victim to say something"): Promise<Told> {
    const frame = new Uint8Array(CONTACT_FRAME_SIZE);
    let received: ReturnType<typeof receiveFrame> = "empty";
    await until(() => (received = receiveFrame(socket, frame)) !== "empty", what);
    if (typeof received === "string") return { answer: undefined, descriptors: [] };
    const { length, descriptors } = received as { length: number; descriptors: readonly number[] };
    for (const descriptor of descriptors) made(descriptor);
    const answer = decodeChannelFrame(frame.subarray(0, length), LAYOUT_VERSION);
    if (answer.type !== "answer") throw new Error(`a ${answer.type} came`);
    return { answer, descriptors };
  }

  /** One contact of any bytes with any descriptors, on a socket of its own, and what became of it. */
  async attempt(
    bytes: Uint8Array,
    descriptors: readonly number[],
    what: string,
    socket = this.connect(),
  ): Promise<Told> {
    try {
      sendRaw(socket, bytes, descriptors);
      return await this.told(socket, what);
    } finally {
      closeSync(socket);
    }
  }

  /** First contact, honest but for `change`. */
  async meet(change: ContactChange = {}): Promise<this> {
    const channel = made(this.connect());
    sendRaw(channel, this.contactFrame(change), this.gifts);
    const { answer, descriptors } = await this.told(channel);
    if (answer?.refusal !== 0 || descriptors.length !== 2) throw new Error(`refused: ${answer?.refusal}`);
    [this.bell, this.box] = descriptors as [number, number];
    this.channel = channel;
    return this;
  }

  /** Sends an extent of ours over the channel: an honest one but for what is given. */
  sendExtent(number: number, blocks: number, memfd = sealedMemfd(blocks * BLOCK_SIZE)): number {
    this.own.set(number, memfd);
    sendRaw(this.channel, encodeChannelFrame({ type: "extent", number, blocks }, LAYOUT_VERSION), [memfd]);
    return memfd;
  }

  /** A DMB in extent `number` of ours, its head as its owner would write it but for `change`. */
  dmb(number: number, blocks: number, change: { length?: number; slot?: number; stack?: number; link?: number } = {}) {
    const memfd = this.own.get(number)!;
    const block = headBlocks(blocks);
    const token = (anyU64() & ~0xffffn) | BigInt((number << 10) | block);
    const head = Buffer.alloc(HEAD_SIZE);
    const bits = Number(token >> 32n) & ~HEAD_STATE;
    head.writeUInt32LE((bits | (change.link ?? HEAD_REGISTERED)) >>> 0, HEAD_LINK);
    head.writeUInt32LE(change.slot ?? 3, HEAD_SLOT);
    head.writeBigUInt64LE(token, HEAD_TOKEN);
    head.writeUInt32LE(change.stack ?? this.slot, HEAD_STACK);
    head.writeUInt32LE(change.length ?? BLOCK_SIZE, HEAD_LENGTH);
    writeSync(memfd, head, 0, HEAD_SIZE, block * HEAD_SIZE);
    return { memfd, block, token } satisfies Dmb;
  }

  /** Takes in the extents that the victim has sent. */
  takeExtents(): void {
    if (this.channel < 0) return;
    const frame = new Uint8Array(CONTACT_FRAME_SIZE);
    for (;;) {
      const received = receiveFrame(this.channel, frame);
      if (typeof received === "string") return;
      for (const descriptor of received.descriptors) made(descriptor);
      const message = decodeChannelFrame(frame.subarray(0, received.length), LAYOUT_VERSION);
      if (message.type === "extent") this.theirs.set(message.number, received.descriptors[0]!);
    }
  }

  get #device(): LocalDevice {
    const gidExt = (BigInt(this.generation) << 8n) | BigInt(this.slot);
    return { name: "shm", kind: "D", gid: this.gid, gidExt, chid: SHM_CHID, v1: false, reaches: () => true };
  }

  /** A Proposal to a server that always negotiates, and what it makes of the answer: "attaching" when that is an Accept. */
  async propose(port: number): Promise<{ socket: Socket; state: ClientState }> {
    const socket = connect(port, "127.0.0.1");
    socket.on("error", () => undefined);
    await happens(socket, "connect");
    const offer = {
      ...{ devices: [this.#device], ueids: ["SMCNET"], version: 2 as const, peerId: new Uint8Array(8) },
      ...{ prefixes: undefined, hostName: "hostile" },
    };
    const framing = new ClcFraming();
    let { actions, state } = reduceClient(clientHandshake(offer), { type: "start" });
    send(socket, actions);
    while (state.name === "awaitAccept") {
      const [data] = (await happens(socket, "data", "the victim's answer")) as [Buffer];
      framing.push(data);
      const framed = framing.next();
      if (framed.type === "message")
        ({ actions, state } = reduceClient(state, { type: "message", bytes: framed.bytes }));
    }
    return { socket, state };
  }

  /**
   * A handshake with a server that always negotiates, up to the Confirm, which names `token`.
   *
   * Returns: the TCP connection, its port on our side, and the victim's buffer unless it declined.
   */
  async shake(port: number, token: bigint): Promise<{ socket: Socket; port: number; theirs: Dmb | undefined }> {
    const { socket, state } = await this.propose(port);
    const own = socket.localPort!;
    if (state.name !== "attaching") return { socket, port: own, theirs: undefined };
    const { peer } = state;
    const local = { token, dmbeSize: 0, linkId: peer.linkId, firstContact: peer.firstContact };
    send(socket, reduceClient(state, { type: "attached", local }).actions);
    this.takeExtents();
    const place = Number(peer.token & 0xffffn);
    const memfd = this.theirs.get(place >> 10) ?? -1;
    return { socket, port: own, theirs: { memfd, block: place & 1023, token: peer.token } };
  }

  /** One connection by hand that works: the check that lies fail for what is wrong with them. */
  async converse(victim: { open: number; outcome(port: number): Promise<Seen> }, dmb: Dmb): Promise<void> {
    const { socket, port, theirs } = await this.shake(victim.open, dmb.token);
    await this.attached(dmb);
    this.writeRing(theirs!, Buffer.from("hello"));
    this.writeCdc(theirs!, "prod", 5n << 16n);
    this.post(this.word(theirs!, HEAD_SLOT));
    await until(() => this.readRing(dmb, 5).toString() === "hello", "the echo");
    socket.destroy();
    const { mode, bytes } = await victim.outcome(port);
    assert.equal([mode, bytes], ["SMCD", 5]);
  }

  /** The victim has taken hold of our buffer. */
  attached(dmb: Dmb): Promise<void> {
    return until(() => (this.word(dmb, HEAD_LINK) & HEAD_STATE) === HEAD_ATTACHED, "the victim to attach");
  }

  /**
   * A handshake with a token that the victim does not attach: it drops the connection, as it does when memory is short.
   *
   * Returns: "declined" where it got no further than the victim's answer, and goes on as TCP.
   */
  async dropped(port: number, token: bigint, what: string): Promise<"dropped" | "declined"> {
    const { socket, theirs } = await this.shake(port, token);
    if (theirs === undefined) {
      socket.destroy();
      return "declined";
    }
    await within(closed(socket.resume()), `${what}: the victim to drop the connection`);
    return "dropped";
  }

  /** A word of a buffer's head. */
  word({ memfd, block }: Dmb, offset: number): number {
    const word = Buffer.alloc(4);
    readSync(memfd, word, 0, 4, block * HEAD_SIZE + offset);
    return word.readUInt32LE();
  }

  /** Writes one of the two CDC words of a buffer: wrap u16, count u32, flags u16. */
  writeCdc({ memfd, block }: Dmb, which: "prod" | "cons", word: bigint): void {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(BigInt.asUintN(64, word));
    writeSync(memfd, bytes, 0, 8, block * HEAD_SIZE + (which === "prod" ? CDC_PROD_OFFSET : CDC_CONS_OFFSET));
  }

  writeRing({ memfd, block }: Dmb, bytes: Uint8Array, at = 0): void {
    writeSync(memfd, bytes, 0, bytes.length, block * BLOCK_SIZE + CDC_SIZE + at);
  }

  readRing({ memfd, block }: Dmb, length: number, at = 0): Buffer {
    const bytes = Buffer.alloc(length);
    readSync(memfd, bytes, 0, length, block * BLOCK_SIZE + CDC_SIZE + at);
    return bytes;
  }

  /** Says that there is news for connection slot `slot` of the victim, and rings. */
  post(slot: number): void {
    const word = slot >> 6;
    this.writeBox(BOX_BITS + word * 8, 1n << BigInt(slot & 63));
    this.writeBox(BOX_SUMMARY, 1n << BigInt(Math.floor(word / SUMMARY_SPAN)));
    this.ring();
  }

  /** Writes 8 bytes of the victim's box. */
  writeBox(offset: number, word: bigint): void {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(BigInt.asUintN(64, word));
    writeSync(this.box, bytes, 0, 8, offset);
  }

  /** Returns: what sendRaw does. */
  ring(): number {
    return sendRaw(this.bell, Buffer.of(1));
  }
}
