/**
 * Completion queue of a stack: which of its connections have news.
 *
 * One bit a connection in a bitmap for each peer, and one summary word over each bitmap. The peer ors, the owner
 * exchanges with 0: nothing can overflow, no index has to be validated, posting twice costs one load, and idle
 * connections cost nothing. Owns the bitmaps; does not know what a connection is.
 */
import {
  BOX_BITS,
  BOX_SUMMARY,
  CONN_CAPACITY,
  CONN_PEER_BIT,
  CONN_PEER_BITS,
  CONN_PEER_SUMMARY,
  CONN_SUMMARY_BIT,
  PENDING_BYTES,
  STACK_ARMED,
  STACK_BITS,
  STACK_BOX_MASK,
  STACK_BOXES,
  STACK_CONTROL,
  STACK_PEERS,
  STACK_READY,
  STACK_SUMMARY,
  SUMMARY_SPAN,
} from "./shared/layout";

/** Address of the summary word that `peer` writes in `stack`. */
@inline
export function summaryOf(stack: usize, peer: u32): usize {
  return stack + <usize>(STACK_SUMMARY + peer * 64);
}

/** Address of the pending bits that `peer` writes in `stack`. */
@inline
export function bitsOf(stack: usize, peer: u32): usize {
  return stack + <usize>(STACK_BITS + peer * PENDING_BYTES);
}

/**
 * Marks the connection pending at its peer.
 *
 * Order: SYNC POINT cq-post: cursors and flags before the pending bit, the bit before its summary.
 * Cost:  one load when it is pending already.
 */
@inline
export function cqPost(conn: usize): void {
  const word = <usize>load<u32>(conn + CONN_PEER_BITS);
  const mask = <u64>1 << <u64>load<u32>(conn + CONN_PEER_BIT);
  if ((atomic.load<u64>(word) & mask) != 0) return;
  atomic.or<u64>(word, mask);
  const summary = <usize>load<u32>(conn + CONN_PEER_SUMMARY);
  const bit = <u64>1 << <u64>load<u32>(conn + CONN_SUMMARY_BIT);
  if ((atomic.load<u64>(summary) & bit) == 0) atomic.or<u64>(summary, bit);
}

/** Box `n` of a stack: what it shares with the stacks of one peer process. */
@inline
export function boxOf(stack: usize, n: u32): usize {
  return <usize>load<u32>(stack + STACK_BOXES + n * 4);
}

/** Writes the slots behind the set bits of one word to the ready list; the new length of the list. */
function drainWord(word: usize, firstSlot: u32, ready: usize, count: u32): u32 {
  if (atomic.load<u64>(word) == 0) return count;
  let bits = atomic.xchg<u64>(word, 0);
  while (bits != 0) {
    store<u32>(ready + <usize>(count * 4), firstSlot + <u32>ctz(bits));
    count++;
    bits &= bits - 1;
  }
  return count;
}

/** Which peer the next poll begins with: one that found no room in the list goes first, so that nobody starves. */
let firstPeer: u64 = 0;
let firstBox: u64 = 0;

/** No room in the ready list for one more group. */
const FULL: u32 = 0x80000000;

/** Takes one peer's pending connections; the new length of the list, with FULL when the rest stays for the next poll. */
function drainPeer(summary: usize, bits: usize, ready: usize, count: u32): u32 {
  if (atomic.load<u64>(summary) == 0) return count;
  let groups = atomic.xchg<u64>(summary, 0);
  while (groups != 0) {
    const group = <u32>ctz(groups);
    if (count > CONN_CAPACITY - SUMMARY_SPAN * 64) {
      atomic.or<u64>(summary, groups);
      return count | FULL;
    }
    groups &= groups - 1;
    for (let i: u32 = 0; i < SUMMARY_SPAN; i++) {
      const index = group * SUMMARY_SPAN + i;
      count = drainWord(bits + <usize>(index * 8), index * 64, ready, count);
    }
  }
  return count;
}

/**
 * Takes the pending connections of all peers of `stack`: other stacks of this process, then boxes of other processes.
 *
 * Returns: number of slots in the ready list [n × u32 at STACK_READY]; a slot is < CONN_CAPACITY but may be unused or
 *          belong to another peer: what a peer may do is wake a connection for nothing.
 * Order:   SYNC POINT cq-post: cursors and flags before the pending bit, the bit before its summary.
 */
export function cqPoll(stack: usize): u32 {
  const ready = stack + STACK_READY;
  let count: u32 = 0;
  let peers = rotr<u64>(load<u64>(stack + STACK_PEERS), firstPeer);
  while (peers != 0) {
    const peer = <u32>((ctz(peers) + firstPeer) & 63);
    peers &= peers - 1;
    count = drainPeer(summaryOf(stack, peer), bitsOf(stack, peer), ready, count);
    if ((count & FULL) != 0) {
      firstPeer = <u64>peer;
      return count & ~FULL;
    }
  }
  let boxes = rotr<u64>(load<u64>(stack + STACK_BOX_MASK), firstBox);
  while (boxes != 0) {
    const n = <u32>((ctz(boxes) + firstBox) & 63);
    boxes &= boxes - 1;
    const box = boxOf(stack, n);
    count = drainPeer(box + BOX_SUMMARY, box + BOX_BITS, ready, count);
    if ((count & FULL) != 0) {
      firstBox = <u64>n;
      return count & ~FULL;
    }
  }
  return count;
}

/** Whether cqPoll or the control word would have news of stacks of this process. */
function pendingHere(stack: usize): bool {
  if (atomic.load<u32>(stack + STACK_CONTROL) != 0) return true;
  let peers = load<u64>(stack + STACK_PEERS);
  while (peers != 0) {
    if (atomic.load<u64>(summaryOf(stack, <u32>ctz(peers))) != 0) return true;
    peers &= peers - 1;
  }
  return false;
}

/** Whether a box has news. */
@inline
function pendingIn(box: usize): bool {
  return atomic.load<u32>(box + STACK_CONTROL) != 0 || atomic.load<u64>(box + BOX_SUMMARY) != 0;
}

/** Whether cqPoll or a control word would have news; the re-check between arming and sleeping. */
export function cqPending(stack: usize): bool {
  if (pendingHere(stack)) return true;
  for (let boxes = load<u64>(stack + STACK_BOX_MASK); boxes != 0; boxes &= boxes - 1) {
    if (pendingIn(boxOf(stack, <u32>ctz(boxes)))) return true;
  }
  return false;
}

/** Whether there is news although the doorbell that goes with it is still armed. */
export function cqUnheard(stack: usize): bool {
  if (atomic.load<u32>(stack + STACK_ARMED) != 0 && pendingHere(stack)) return true;
  for (let boxes = load<u64>(stack + STACK_BOX_MASK); boxes != 0; boxes &= boxes - 1) {
    const box = boxOf(stack, <u32>ctz(boxes));
    if (atomic.load<u32>(box + STACK_ARMED) != 0 && pendingIn(box)) return true;
  }
  return false;
}

/** Takes the control bits of the stack and of its boxes. */
export function cqControl(stack: usize): u32 {
  let bits = atomic.load<u32>(stack + STACK_CONTROL) == 0 ? 0 : atomic.xchg<u32>(stack + STACK_CONTROL, 0);
  for (let boxes = load<u64>(stack + STACK_BOX_MASK); boxes != 0; boxes &= boxes - 1) {
    const control = boxOf(stack, <u32>ctz(boxes)) + STACK_CONTROL;
    if (atomic.load<u32>(control) != 0) bits |= atomic.xchg<u32>(control, 0);
  }
  return bits;
}
