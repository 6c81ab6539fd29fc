/**
 * A thread that registers, attaches, writes, detaches and unregisters without end: to be killed at any moment.
 *
 * Two of them trade tokens over a board, so that each holds buffers of the other when it dies.
 */
import { threadId, workerData } from "node:worker_threads";
import { instantiateEngine } from "../../src/engine/load.js";
import { Prng } from "../support/prng.js";
import type { ChurnOrder } from "./dataplane.js";

const { memory, module, board, which, seed } = workerData as ChurnOrder;
const abi = instantiateEngine(module, memory);
const bytes = new Uint8Array(memory.buffer);
const prng = new Prng(seed);
const stack = abi.stackAcquire(threadId, 0xffffffff);
const own: number[] = [];
const attached: { dmb: number; conn: number; slot: number }[] = [];
const slots = Array.from({ length: 64 }, (_, slot) => slot);

/** Takes a random item out of a list. */
function draw<T>(list: T[]): T {
  return list.splice(prng.below(list.length), 1)[0]!;
}

function register(): void {
  const dmb = abi.dmbRegister(stack, prng.below(4), prng.below(64), prng.u32(), prng.u32());
  if (dmb < 0) return;
  own.push(dmb);
  Atomics.store(board, which * 3, abi.dmbTokenLo(dmb));
  Atomics.store(board, which * 3 + 1, abi.dmbTokenHi(dmb));
}

function attach(): void {
  const from = prng.oneIn(4) ? which : 1 - which;
  const dmb = abi.dmbAttach(stack, Atomics.load(board, from * 3), Atomics.load(board, from * 3 + 1));
  if (dmb < 0) return;
  const slot = slots.pop()!;
  const conn = abi.connOpen(stack, slot, dmb);
  if (abi.connAttach(stack, conn, dmb, -1) !== 0) throw new Error("an attached buffer cannot be bound");
  attached.push({ dmb, conn, slot });
  const run = abi.txRun(conn, prng.between(1, 20_000));
  bytes.fill(0xee, abi.txAddress(conn), abi.txAddress(conn) + run);
  abi.txSend(conn, run);
}

function detach(): void {
  const { dmb, conn, slot } = draw(attached);
  abi.connTouched(conn, dmb);
  abi.dmbDetach(stack, dmb);
  slots.push(slot);
}

for (;;) {
  const step = prng.below(8);
  if (step < 3 && own.length < 40) register();
  else if (step < 5 && attached.length < 40) attach();
  else if (step === 5 && attached.length > 0) detach();
  else if (own.length > 0) abi.dmbUnregister(stack, draw(own));
  Atomics.add(board, which * 3 + 2, 1);
}
