/**
 * Ring cursors: {wrap u16, count u32} packed into a u64 as the CDC words have it. Pure arithmetic.
 *
 * The wrap counter tells full from empty, so the whole ring is usable. Source: smc-protocol §4.4.
 */

/** What cursorDistance answers for a pair that no honest peer can produce. */
export const DISTANCE_ILLEGAL: u32 = 0xffffffff;

/** Bits of a CDC word that belong to the cursor. */
export const CURSOR_MASK: u64 = 0x0000ffffffffffff;

@inline
export function cursorCount(cursor: u64): u32 {
  return <u32>(cursor >> 16);
}

@inline
export function cursorWrap(cursor: u64): u32 {
  return <u32>cursor & 0xffff;
}

/** `cursor` moved on by `length` bytes, 0..size, in a ring of `size` bytes. */
@inline
export function cursorAdvance(cursor: u64, length: u32, size: u32): u64 {
  let count: u64 = <u64>cursorCount(cursor) + <u64>length;
  let wrap: u64 = cursor & 0xffff;
  if (count >= <u64>size) {
    count -= <u64>size;
    wrap = (wrap + 1) & 0xffff;
  }
  return wrap | (count << 16);
}

/**
 * Bytes from `old` to `fresh`, 0..size, or DISTANCE_ILLEGAL when `fresh` lies outside the ring, behind `old` or more
 * than one ring ahead. `fresh` is a peer's word: this is the check that keeps every access inside the ring.
 */
@inline
export function cursorDistance(old: u64, fresh: u64, size: u32): u32 {
  const from = cursorCount(old);
  const to = cursorCount(fresh);
  if (to >= size) return DISTANCE_ILLEGAL;
  if (cursorWrap(fresh) == cursorWrap(old)) return to >= from ? to - from : DISTANCE_ILLEGAL;
  if (cursorWrap(fresh) == ((cursorWrap(old) + 1) & 0xffff)) return to <= from ? size - from + to : DISTANCE_ILLEGAL;
  return DISTANCE_ILLEGAL;
}
