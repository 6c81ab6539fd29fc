/**
 * A peer that breaks the protocol: it connects as everybody does, fills its peer's ring with a byte of its own if it is told to, and then overwrites the
 * words by which that peer is told what there is to read, what was read, and how the connection stands.
 *
 * Owns the damage and its seed. Ends when it has made its tries; what the peer makes of them is hostile.test.ts.
 */
import type { Socket } from "node:net";
import { parentPort, workerData } from "node:worker_threads";
import { CDC_CONS_OFFSET, CDC_PROD_OFFSET } from "../../assembly/shared/layout.js";
import { dial } from "../support/pair.js";
import { type Prng, prngFor } from "../support/prng.js";
import { type TransportName, transport } from "../support/transports.js";
import { HostileView, type Target } from "./hostile-arena.js";

export interface HostileData {
  readonly port: number;
  readonly transport: TransportName;
  readonly tries: number;
  /** Connections attacked at a time. */
  readonly atOnce: number;
  /** Whether every byte of the ring is written past the protocol, so that each one tells whose ring it was. */
  readonly fill: boolean;
}

const task = workerData as HostileData;
const carrier = transport(task.transport);
const view = new HostileView();
const random = prngFor(`hostile ${task.transport}`);
let left = task.tries;
let open = 0;

const anyWord = (prng: Prng): bigint => (BigInt(prng.u32()) << 32n) | BigInt(prng.u32());

/** A word that says { wrap, count } and flags; each part likely or not, as the seed has it. */
function likelyWord(prng: Prng, ringSize: number): bigint {
  const wrap = BigInt(prng.pick([0, 0, 1, 2, 0xffff, prng.below(0x10000)]));
  const count = BigInt(prng.pick([0, 1, prng.below(ringSize), ringSize - 1, ringSize, ringSize + 1, prng.u32()]));
  const flags = BigInt(prng.pick([0, 0, 0x80, 0x10, 0xf8, prng.below(256)]));
  const state = BigInt(prng.pick([0, 0, 0x80, 0x40, 0x20, 0xe0, 0x01, prng.below(256)]));
  return wrap | (count << 16n) | (flags << 48n) | (state << 56n);
}

function damage({ cdc, ringSize }: Target): void {
  const prod = (cdc + CDC_PROD_OFFSET) / 8;
  const cons = (cdc + CDC_CONS_OFFSET) / 8;
  const word = random.oneIn(3) ? anyWord(random) : likelyWord(random, ringSize);
  const cursor = word & 0xffff_ffff_ffffn;
  switch (random.below(6)) {
    case 0:
      Atomics.store(view.words, prod, cursor);
      break;
    case 1:
      Atomics.store(view.words, cons, cursor);
      break;
    case 2:
      Atomics.store(view.words, cons, word);
      break;
    case 3:
      Atomics.store(view.words, prod, word);
      Atomics.store(view.words, cons, random.oneIn(2) ? word : anyWord(random));
      break;
    case 4:
      // Flags alone, above an honest cursor.
      Atomics.or(view.words, cons, word & ~0xffff_ffff_ffffn);
      break;
    default:
      // Not even a word: bytes anywhere in the CDC area.
      for (let i = 0; i < 8; i++) view.bytes[cdc + random.below(32)] = random.below(256);
  }
}

function attack(): void {
  open++;
  left--;
  const tag = 1 + (left % 255);
  const socket: Socket = dial(carrier, task.port);
  socket.on("error", () => undefined);
  socket.resume();
  socket.once("connect", () => {
    const token = BigInt(`0x${socket.smc!.peerToken}`);
    const target = view.byToken(token);
    if (target === undefined) throw new Error("the peer's buffer is not in the table");
    if (task.fill) view.bytes.fill(tag, target.ring, target.ring + target.ringSize);
    socket.write(Buffer.alloc(random.between(1, 5_000), tag));
    if (random.oneIn(2)) damage(target);
    setImmediate(() => {
      if (view.byToken(token) !== undefined) damage(target);
      // News, so that the peer looks.
      if (socket.writable) socket.write(Buffer.of(tag));
      setImmediate(() => (random.oneIn(2) ? socket.end() : socket.destroy()));
      setImmediate(() => setImmediate(() => socket.destroy()));
    });
  });
  socket.once("close", () => {
    open--;
    if (left > 0) attack();
    else if (open === 0) parentPort!.postMessage("done");
  });
}

for (let i = 0; i < Math.min(task.atOnce, task.tries); i++) attack();
