/** One side of the data-plane stress: a counting stream, sent or verified, in a thread of its own. */
import { parentPort, workerData } from "node:worker_threads";
import { EVENT_ILLEGAL, STATE_DONE_WRITING } from "../../assembly/shared/codes.js";
import { instantiateEngine } from "../../src/engine/load.js";
import { Prng } from "../support/prng.js";
import { Sequence, Verifier } from "../support/sequence.js";
import type { SideOrder, SideReport } from "./dataplane.js";

const order = workerData as SideOrder;
const { stack, conn } = order;
const abi = instantiateEngine(order.module, order.memory);
const bytes = new Uint8Array(order.memory.buffer);
const prng = new Prng(order.seed);
let waits = 0;
/** Every event bit. */
const ANYTHING = 0xff;

/** Until there is news. A wake-up that is lost hangs here, and the parent's watchdog tells. */
function pause(): void {
  waits++;
  const events =
    order.patience === "wait" ? abi.connWait(stack, conn, -1, ANYTHING) : abi.connSpin(conn, 1000, ANYTHING);
  if ((events & EVENT_ILLEGAL) !== 0) throw new Error("the connection was poisoned");
}

function send(): number {
  const sequence = new Sequence(order.seed);
  let sent = 0;
  while (sent < order.total) {
    const wanted = Math.min(prng.between(1, order.most), order.total - sent);
    const run = abi.txRun(conn, wanted);
    if (run === 0) {
      // In copy mode the look for space may have seen the window open: then the move is what is missing, not the peer.
      const unsent = abi.txUnsent(conn);
      abi.txPublish(conn);
      if (abi.txUnsent(conn) === unsent) pause();
      continue;
    }
    bytes.set(sequence.span(sent, run), abi.txAddress(conn));
    abi.txSend(conn, run);
    sent += run;
  }
  while (abi.txUnsent(conn) > 0) {
    pause();
    abi.txPublish(conn);
  }
  abi.connSignal(conn, STATE_DONE_WRITING << 8);
  return sent;
}

function receive(): number {
  const verifier = new Verifier(order.seed);
  const chunk = Buffer.alloc(order.most);
  // Done is told before the last look at the producer word: nothing can follow it.
  const over = (): boolean => (abi.connPeerState(conn) & STATE_DONE_WRITING) !== 0 && abi.rxReadable(conn) === 0;
  for (;;) {
    if (order.waitFirst && !over()) pause();
    const run = Math.min(abi.rxRun(conn), prng.between(1, order.most));
    if (run === 0) {
      if (over()) return verifier.received;
      if (!order.waitFirst) pause();
      continue;
    }
    const address = abi.rxAddress(conn);
    chunk.set(bytes.subarray(address, address + run));
    verifier.push(chunk.subarray(0, run));
    abi.rxConsume(conn, run);
    if (order.patience === "spin") abi.rxFlush(conn);
  }
}

const report: SideReport = { bytes: order.role === "send" ? send() : receive(), waits };
parentPort!.postMessage(report);
