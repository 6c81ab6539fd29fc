/**
 * The doorbell: how a sleeping stack is woken. The only place with atomic.wait and atomic.notify.
 *
 * Sleeper: arm → re-check → wait. Writer: publish → look at armed → ring. All words are sequentially consistent, so either
 * the sleeper's re-check sees what was published, or the writer sees the armed word; never neither.
 */
import { ARMED_BELL, ARMED_NONE, ARMED_NOTIFY, EVENT_RING } from "./shared/codes";

/**
 * Says that the owner is about to sleep, and how it can be woken.
 *
 * Order: SYNC POINT doorbell: the armed word before the re-check; what was published before the look at the armed word.
 */
@inline
export function doorbellArm(armed: usize, how: u32): void {
  atomic.store<u32>(armed, how);
}

/** Awake again. Returns false when a writer had already taken the arming: its ring is under way. */
@inline
export function doorbellDisarm(armed: usize): bool {
  return atomic.xchg<u32>(armed, ARMED_NONE) != ARMED_NONE;
}

/**
 * Wakes the owner of the doorbell word if it sleeps. To be called after publishing.
 *
 * Returns: EVENT_RING when the host has to ring the owner's bell, else 0.
 * Order:   SYNC POINT doorbell: the armed word before the re-check; what was published before the look at the armed word.
 * Cost:    one load while the owner is awake.
 */
@inline
export function doorbellRing(armed: usize): u32 {
  if (atomic.load<u32>(armed) == ARMED_NONE) return 0;
  const how = atomic.xchg<u32>(armed, ARMED_NONE);
  // All: a waitAsync of the event loop may still stand before the blocked thread in the list of waiters.
  if (how == ARMED_NOTIFY) atomic.notify(armed, -1);
  return how == ARMED_BELL ? EVENT_RING : 0;
}

/** Blocks until the armed word is taken or `timeoutNs` has passed (< 0: no limit). Not on a main thread. */
@inline
export function doorbellWait(armed: usize, timeoutNs: i64): void {
  atomic.wait<u32>(armed, ARMED_NOTIFY, timeoutNs);
}
