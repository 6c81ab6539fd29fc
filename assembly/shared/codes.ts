/**
 * Numbers that cross between the planes or between peers: flags of the wire, events, statuses, phases.
 *
 * PORTABLE: constants and nothing else.
 */

// Producer flags. Source: smc-protocol §4.3.
export const PROD_WRITE_BLOCKED: u32 = 0x80;
export const PROD_URGENT_PENDING: u32 = 0x40;
export const PROD_URGENT_PRESENT: u32 = 0x20;
export const PROD_CONS_UPDATE_REQUESTED: u32 = 0x10;
export const PROD_FAILOVER_VALIDATION: u32 = 0x08;
export const PROD_FLAGS_MASK: u32 = 0xf8;

// Connection-state flags. Sticky: once set, set for good.
export const STATE_DONE_WRITING: u32 = 0x80;
export const STATE_CONN_CLOSED: u32 = 0x40;
export const STATE_CONN_ABORT: u32 = 0x20;
export const STATE_FLAGS_MASK: u32 = 0xe0;

// Event bits returned by connSample, txPublish, rxConsume and connSignal.
export const EVENT_READABLE: u32 = 1; // there are bytes to receive
export const EVENT_WRITABLE: u32 = 2; // the peer consumed: send space has grown
export const EVENT_STATE: u32 = 4; // the peer's state flags changed
export const EVENT_URGENT: u32 = 8; // the peer marked the byte before its producer cursor as urgent
export const EVENT_ILLEGAL: u32 = 16; // a cursor or flag that cannot be; the connection is poisoned
export const EVENT_RING: u32 = 32; // the peer sleeps on its bell: the host has to ring it
export const EVENT_SIGNAL: u32 = 64; // a consumer update was sent

// Statuses, as i32.
export const STATUS_OK: i32 = 0;
export const STATUS_TELL: i32 = 1; // detached, and its owner waits to hear of it
export const STATUS_NO_MEMORY: i32 = -1; // no run of free blocks, or no free table entry
export const STATUS_UNKNOWN: i32 = -2; // no such token, slot or entry, or it is dying
export const STATUS_BUSY: i32 = -3; // already attached, or taken by somebody else

// CONN_MODE bits.
export const CONN_ATTACHED: u32 = 1; // nocopy: the send ring is the peer's ring
export const CONN_COPY: u32 = 2; // private send ring, moveData
export const CONN_POISONED: u32 = 4; // the peer broke a rule; nothing of it is believed any more
export const CONN_WRAPPED: u32 = 8; // the send ring was written past its end at least once

// DMB_STATE flags.
export const DMB_REGISTERED: u32 = 1;
export const DMB_ATTACHED: u32 = 2;
export const DMB_HELD: u32 = 8; // was attached at least once, or never will be
export const DMB_BUSY: u32 = 4; // being allocated or freed by the owner named in the same word

/** Attacher of a DMB that a stack of another process holds. */
export const DMB_REMOTE: u32 = 0x7f;

// HEAD_LINK: a state, and above it bits of the token.
export const HEAD_STATE: u32 = 7;
export const HEAD_FREE: u32 = 0;
export const HEAD_REGISTERED: u32 = 1;
export const HEAD_ATTACHED: u32 = 2;
export const HEAD_DETACHED: u32 = 3;
export const HEAD_UNWANTED: u32 = 4; // attached, and its owner has let go

// Kinds of extents.
export const EXTENT_FREE: u32 = 0;
export const EXTENT_BUSY: u32 = 1; // its blocks are being taken
export const EXTENT_OWN: u32 = 2; // DMBs of ours, for the stacks of one peer process
export const EXTENT_PEER: u32 = 3; // DMBs of a peer process
export const EXTENT_BOX: u32 = 4; // a box, of ours or of a peer
export const EXTENT_GIVING: u32 = 5; // its blocks are being given back

// STACK_STATE phases.
export const STACK_FREE: u32 = 0;
export const STACK_LIVE: u32 = 1;
export const STACK_REAPING: u32 = 2;

// STACK_CONTROL bits.
export const CONTROL_RENDEZVOUS: u32 = 1; // a claim was matched, made or withdrawn, or an intent closed
export const CONTROL_DETACHED: u32 = 2; // a peer in another process has let go of a DMB

// Doorbell words.
export const ARMED_NONE: u32 = 0; // awake
export const ARMED_NOTIFY: u32 = 1; // sleeps in atomic.wait or Atomics.waitAsync
export const ARMED_BELL: u32 = 2; // sleeps in its event loop, on the bell's descriptor

// Listener phases and wildcards.
export const LISTENER_FREE: u32 = 0;
export const LISTENER_BUSY: u32 = 1;
export const LISTENER_LIVE: u32 = 2;
export const LISTENER_EXACT: u32 = 0;
export const LISTENER_ANY4: u32 = 1;
export const LISTENER_ANY6: u32 = 2;

// Claim phases.
export const CLAIM_FREE: u32 = 0;
export const CLAIM_CLAIMED: u32 = 1;
export const CLAIM_MATCHED: u32 = 2;
