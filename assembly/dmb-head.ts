/**
 * The head of a DMB in an extent: what its owner tells one peer process, and how the two let go of the buffer.
 *
 * Owns the link word, which is drawn in README.md. Both processes can write every word here, so nothing is believed that was
 * not checked; what holds is in the private entry. Knows no entry: who calls says which head and which token.
 */
import {
  HEAD_ATTACHED,
  HEAD_DETACHED,
  HEAD_FREE,
  HEAD_REGISTERED,
  HEAD_STATE,
  HEAD_UNWANTED,
  STATUS_OK,
  STATUS_TELL,
} from "./shared/codes";
import { HEAD_LENGTH, HEAD_LINK, HEAD_SLOT, HEAD_STACK, HEAD_TOKEN, HEAD_TOUCHED } from "./shared/layout";

/**
 * HEAD_LINK in `state`, for the registration with this token. With bits of the token in the word, an attacher that was stopped
 * between look and swap cannot take hold of a later registration in the same place.
 */
@inline
function linkOf(state: u32, token: u64): u32 {
  return (<u32>(token >> 32) & ~HEAD_STATE) | state;
}

/** Owner's side: shows a new buffer. `owner` is a stack slot, `slot` the connection that the peer will post to. */
export function headShow(head: usize, token: u64, owner: u32, slot: u32, length: u32): void {
  store<u32>(head + HEAD_SLOT, slot);
  store<u64>(head + HEAD_TOKEN, token);
  store<u32>(head + HEAD_STACK, owner);
  store<u32>(head + HEAD_LENGTH, length);
  store<u32>(head + HEAD_TOUCHED, 0);
  // SYNC POINT dmb-register: the head's fields before its link.
  atomic.store<u32>(head + HEAD_LINK, linkOf(HEAD_REGISTERED, token));
}

/** The link word, loaded once: for the checks and the swap below. Order: SYNC POINT dmb-register, as in headShow. */
@inline
export function headLink(head: usize): u32 {
  return atomic.load<u32>(head + HEAD_LINK);
}

/** Whether this link says that the peer has the buffer, or has had it. */
@inline
export function wasAttached(link: u32): bool {
  const state = link & HEAD_STATE;
  return state == HEAD_ATTACHED || state == HEAD_DETACHED || state == HEAD_UNWANTED;
}

/** Whether this link and the head offer the buffer with this token. */
@inline
export function headOffers(head: usize, link: u32, token: u64): bool {
  return link == linkOf(HEAD_REGISTERED, token) && load<u64>(head + HEAD_TOKEN) == token;
}

/** Attacher's side: takes hold; false when the link is no longer what was seen. */
@inline
export function headAttach(head: usize, link: u32, token: u64): bool {
  return atomic.cmpxchg<u32>(head + HEAD_LINK, link, linkOf(HEAD_ATTACHED, token)) == link;
}

/**
 * Attacher's side: lets go, having written ring bytes below `touched` at most.
 *
 * Returns: STATUS_TELL when the owner waits for it, else STATUS_OK.
 */
export function headDetach(head: usize, token: u64, touched: u32): i32 {
  store<u32>(head + HEAD_TOUCHED, touched);
  // SYNC POINT dmb-detach: the last access before the link.
  return atomic.xchg<u32>(head + HEAD_LINK, HEAD_DETACHED) == linkOf(HEAD_UNWANTED, token) ? STATUS_TELL : STATUS_OK;
}

/**
 * Owner's side: it gives the buffer up; whether the peer still holds it. No peer can take hold afterwards.
 *
 * Order: SYNC POINT dmb-detach: the last access before the link.
 */
export function heldElsewhere(head: usize, token: u64): bool {
  const link = head + HEAD_LINK;
  const registered = linkOf(HEAD_REGISTERED, token);
  if (atomic.cmpxchg<u32>(link, registered, HEAD_FREE) == registered) return false;
  // A peer that writes nonsense here lets go too early, and harms nobody but the two of us.
  const attached = linkOf(HEAD_ATTACHED, token);
  const unwanted = linkOf(HEAD_UNWANTED, token);
  const before = atomic.cmpxchg<u32>(link, attached, unwanted);
  // UNWANTED already: an owner that was killed right behind this step, whose work the reaper does again.
  return before == attached || before == unwanted;
}

/**
 * Owner's side: whether a buffer that was given up is still held.
 *
 * Order: SYNC POINT dmb-detach: the last access before the link.
 */
@inline
export function stillHeld(head: usize, token: u64): bool {
  return headLink(head) == linkOf(HEAD_UNWANTED, token);
}

/** Owner's side: the buffer is nobody's any more. Returns: ring bytes below which the peer says that it has written, a hint. */
export function headClear(head: usize): u32 {
  const touched = load<u32>(head + HEAD_TOUCHED);
  atomic.store<u32>(head + HEAD_LINK, HEAD_FREE);
  return touched;
}
