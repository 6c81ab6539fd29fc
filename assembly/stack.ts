/**
 * Stack blocks: one for each event loop that speaks SMC in this process.
 *
 * Owns acquiring, releasing and reaping. Reaping is done by one living stack, after the dead thread has stopped for good.
 */
import { stackAddress } from "./conn";
import { boxOf, cqControl, cqPending, cqUnheard } from "./cq";
import { dmbReap } from "./dmb-reap";
import { doorbellArm, doorbellDisarm, doorbellRing } from "./doorbell";
import { deskReset, listenersReap } from "./rendezvous";
import {
  ARMED_NONE,
  STACK_FREE,
  STACK_LIVE,
  STACK_REAPING,
  STATUS_NO_MEMORY,
} from "./shared/codes";
import {
  BOX_BITS,
  BOX_DESK,
  BOX_SUMMARY,
  PENDING_BYTES,
  STACK_ARMED,
  STACK_BELL,
  STACK_BELL_OF,
  STACK_BITS,
  STACK_BOX_MASK,
  STACK_BOXES,
  STACK_CAPACITY,
  STACK_CONTROL,
  STACK_DESK,
  STACK_OWNER,
  STACK_PEERS,
  STACK_REAPER,
  STACK_STATE,
  STACK_SUMMARY,
} from "./shared/layout";

function clearBits(bits: usize): void {
  for (let word: usize = 0; word < <usize>PENDING_BYTES; word += 8) {
    if (load<u64>(bits + word) != 0) atomic.store<u64>(bits + word, 0);
  }
}

/** Clears a box, as its owner: nothing of an earlier stack stays. */
function clearBox(box: usize): void {
  atomic.store<u32>(box + STACK_ARMED, ARMED_NONE);
  atomic.store<u32>(box + STACK_CONTROL, 0);
  atomic.store<u64>(box + BOX_SUMMARY, 0);
  clearBits(box + BOX_BITS);
  deskReset(box + BOX_DESK);
}

/** Clears the words that peers write or read. The bell stays: its descriptor belongs to the slot for good. */
function reset(stack: usize): void {
  atomic.store<u32>(stack + STACK_ARMED, ARMED_NONE);
  atomic.store<u32>(stack + STACK_CONTROL, 0);
  store<u64>(stack + STACK_PEERS, 0);
  for (let peer: u32 = 0; peer < STACK_CAPACITY; peer++) {
    atomic.store<u64>(stack + STACK_SUMMARY + peer * 64, 0);
    clearBits(stack + STACK_BITS + peer * PENDING_BYTES);
  }
  deskReset(stack + STACK_DESK);
  for (let boxes = load<u64>(stack + STACK_BOX_MASK); boxes != 0; boxes &= boxes - 1) {
    clearBox(boxOf(stack, <u32>ctz(boxes)));
  }
  store<u64>(stack + STACK_BOX_MASK, 0);
}

/** Where in the owner word the thread and its ancestor stand. No thread is its own ancestor, so the word is never 0. */
const THREAD_SHIFT: u64 = 0;
const PARENT_SHIFT: u64 = 32;

/**
 * Takes a free stack block for `thread`, whose ancestor is `parent`; its slot, or STATUS_NO_MEMORY.
 *
 * One compare-and-swap takes the slot and says who has it: a thread that is killed before the next step has left its name.
 * Order: SYNC POINT stack-slot: the freed slot's state before its owner.
 */
export function stackAcquire(thread: u32, parent: u32): i32 {
  const owner = (<u64>thread << THREAD_SHIFT) | (<u64>parent << PARENT_SHIFT);
  for (let slot: u32 = 0; slot < STACK_CAPACITY; slot++) {
    const stack = stackAddress(slot);
    if (atomic.load<u64>(stack + STACK_OWNER) != 0) continue;
    if (atomic.cmpxchg<u64>(stack + STACK_OWNER, 0, owner) != 0) continue;
    const generation = (atomic.load<u32>(stack + STACK_STATE) >> 8) + 1;
    atomic.store<u32>(stack + STACK_STATE, (generation << 8) | STACK_LIVE);
    return <i32>slot;
  }
  return STATUS_NO_MEMORY;
}

/** Generation of the stack in `slot`; 0 when no stack lives there. */
export function stackGeneration(slot: u32): u32 {
  if (slot >= STACK_CAPACITY) return 0;
  const state = atomic.load<u32>(stackAddress(slot) + STACK_STATE);
  return (state & 0xff) == STACK_LIVE ? state >> 8 : 0;
}

/** Slot of the first stack whose owner word has `value` at `shift`, taken or living but not being reaped, or -1. */
function findBy(shift: u64, value: u32): i32 {
  for (let slot: u32 = 0; slot < STACK_CAPACITY; slot++) {
    const stack = stackAddress(slot);
    const owner = atomic.load<u64>(stack + STACK_OWNER);
    if (owner == 0 || <u32>(owner >> shift) != value) continue;
    if ((atomic.load<u32>(stack + STACK_STATE) & 0xff) != STACK_REAPING) return <i32>slot;
  }
  return -1;
}

/** Slot of the stack of a thread, or -1. It may have got no further than taking the slot. */
export function stackOfThread(thread: u32): i32 {
  return findBy(THREAD_SHIFT, thread);
}

/** Slot of a stack whose ancestor is `parent`, or -1; likewise. */
export function stackOfParent(parent: u32): i32 {
  return findBy(PARENT_SHIFT, parent);
}

/** Thread id of the stack in `slot`. */
export function stackThread(slot: u32): u32 {
  return <u32>(atomic.load<u64>(stackAddress(slot) + STACK_OWNER) >> THREAD_SHIFT);
}

/**
 * Takes it upon `actor` to reap the stack of `thread`, which is no more; true to exactly one. All others leave it alone.
 *
 * A slot that the thread had taken and did not live in yet is given back here: it holds nothing.
 */
export function stackCondemn(slot: u32, thread: u32, actor: u32): bool {
  const stack = stackAddress(slot);
  // The state first: as long as it stands, so does the owner that is read after it.
  const state = atomic.load<u32>(stack + STACK_STATE);
  const owner = atomic.load<u64>(stack + STACK_OWNER);
  if (owner == 0 || <u32>(owner >> THREAD_SHIFT) != thread) return false;
  const phase = state & 0xff;
  if (phase == STACK_FREE) atomic.cmpxchg<u64>(stack + STACK_OWNER, owner, 0);
  if (phase != STACK_LIVE) return false;
  if (atomic.cmpxchg<u32>(stack + STACK_STATE, state, (state & ~0xff) | STACK_REAPING) != state) return false;
  atomic.store<u32>(stack + STACK_REAPER, actor + 1);
  return true;
}

/** A stack that `dead` was about to reap: from now on that is up to `heir`. Its slot, or -1. */
export function stackInherit(dead: u32, heir: u32): i32 {
  for (let slot: u32 = 0; slot < STACK_CAPACITY; slot++) {
    const stack = stackAddress(slot);
    if (slot == dead || (atomic.load<u32>(stack + STACK_STATE) & 0xff) != STACK_REAPING) continue;
    if (atomic.cmpxchg<u32>(stack + STACK_REAPER, dead + 1, heir + 1) == dead + 1) return <i32>slot;
  }
  return -1;
}

/**
 * Frees everything stack `slot` held: listeners, claims, intents, buffers. By `actor`, when its thread is no more.
 * Acceptors may be waiting for an intent of the dead: the caller nudges every living stack afterwards.
 *
 * Takes:   spareFresh: keep buffers that no peer has attached yet, and the slot with them; call again without it later;
 *          keepSlot: keep the slot in any case, which the caller frees when nothing outside of the arena names it any more.
 * Returns: buffers spared; 0 when the slot is free.
 * Order:   SYNC POINT stack-slot: the freed slot's state before its owner.
 */
export function stackReap(slot: u32, actor: u32, spareFresh: bool, keepSlot: bool): u32 {
  const stack = stackAddress(slot);
  const owner = atomic.load<u64>(stack + STACK_OWNER);
  const state = atomic.load<u32>(stack + STACK_STATE);
  const phase = state & 0xff;
  if (phase == STACK_FREE) {
    // Killed after it had taken the slot and before it lived there: it holds nothing but the slot.
    if (owner != 0) atomic.cmpxchg<u64>(stack + STACK_OWNER, owner, 0);
    return 0;
  }
  const reaping = (state & ~0xff) | STACK_REAPING;
  if (atomic.cmpxchg<u32>(stack + STACK_STATE, state, reaping) != state) return 0;
  listenersReap(slot);
  reset(stack);
  const spared = dmbReap(slot, actor, spareFresh);
  if (spared != 0 || keepSlot) return spared;
  atomic.store<u32>(stack + STACK_STATE, (state & ~0xff) | STACK_FREE);
  atomic.cmpxchg<u64>(stack + STACK_OWNER, owner, 0);
  return 0;
}

/**
 * Sets control bits for a stack; EVENT_RING when the host has to ring its bell.
 *
 * Takes: door, address of its block, or of its box where it lives in another process: both hold the words alike.
 */
export function doorNudge(door: u32, bits: u32): u32 {
  atomic.or<u32>(<usize>door + STACK_CONTROL, bits);
  return doorbellRing(<usize>door + STACK_ARMED);
}

/** Awake again, after connArm. */
export function doorDisarm(door: u32): void {
  doorbellDisarm(<usize>door + STACK_ARMED);
}

/** Door of a stack of this process. */
export function stackDoor(slot: u32): u32 {
  return <u32>stackAddress(slot);
}

/** Takes the control bits of the own stack. */
export function stackControl(slot: u32): u32 {
  return cqControl(stackAddress(slot));
}

/** Own box `n` lies at `box`, fresh; 0: it is gone. From here on polling and arming include it. */
export function stackSetBox(slot: u32, n: u32, box: u32): void {
  const stack = stackAddress(slot);
  const bit = <u64>1 << <u64>n;
  const others = load<u64>(stack + STACK_BOX_MASK) & ~bit;
  // The mask first and last: a reaper clears what the mask says is there.
  store<u64>(stack + STACK_BOX_MASK, others);
  store<u32>(stack + STACK_BOXES + n * 4, box);
  if (box == 0) return;
  clearBox(<usize>box);
  store<u64>(stack + STACK_BOX_MASK, others | bit);
}

/** Descriptor + 1 of the write end of the slot's bell; 0 when it has none. */
export function stackBell(slot: u32): u32 {
  return atomic.load<u32>(stackAddress(slot) + STACK_BELL);
}

/** Generation of the stack that it was made for: another one in the slot is still about to make its own, or makes none. */
export function stackBellOf(slot: u32): u32 {
  return atomic.load<u32>(stackAddress(slot) + STACK_BELL_OF);
}

/** By the stack that lives in the slot. */
export function stackSetBell(slot: u32, descriptorPlusOne: u32): void {
  const stack = stackAddress(slot);
  atomic.store<u32>(stack + STACK_BELL, descriptorPlusOne);
  atomic.store<u32>(stack + STACK_BELL_OF, atomic.load<u32>(stack + STACK_STATE) >> 8);
}

/** Sets the doorbell words of stack and boxes. */
function armAll(stack: usize, how: u32): void {
  doorbellArm(stack + STACK_ARMED, how);
  for (let boxes = load<u64>(stack + STACK_BOX_MASK); boxes != 0; boxes &= boxes - 1) {
    doorbellArm(boxOf(stack, <u32>ctz(boxes)) + STACK_ARMED, how);
  }
}

/**
 * Arms the doorbell, then looks once more.
 *
 * Returns: true when nothing is pending: the stack may sleep; false when there is news, and the doorbell is disarmed.
 * Order:   SYNC POINT doorbell: the armed word before the re-check; what was published before the look at the armed word.
 */
export function stackArm(slot: u32, how: u32): bool {
  const stack = stackAddress(slot);
  armAll(stack, how);
  if (!cqPending(stack)) return true;
  stackDisarm(slot);
  return false;
}

/** Whether the stack is armed although there is news: true for good only if a ring was lost. */
export function stackStuck(slot: u32): bool {
  return cqUnheard(stackAddress(slot));
}

/** Awake again; false when a ring of another stack of this process is under way. */
export function stackDisarm(slot: u32): bool {
  const stack = stackAddress(slot);
  for (let boxes = load<u64>(stack + STACK_BOX_MASK); boxes != 0; boxes &= boxes - 1) {
    doorbellDisarm(boxOf(stack, <u32>ctz(boxes)) + STACK_ARMED);
  }
  return doorbellDisarm(stack + STACK_ARMED);
}
