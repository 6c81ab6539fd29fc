/**
 * Where everything lies in the arena: offsets, sizes, capacities. Read by both planes; drawings in assembly/README.md.
 *
 * PORTABLE: constants and nothing else. asc folds them into load offsets; esbuild and tsc take the same file.
 */

/** Changes with every change below or in codes.ts; threads whose wasm differs refuse to share an arena. */
export const LAYOUT_VERSION: u32 = 4;

/** WebAssembly page, bytes. */
export const WASM_PAGE_SIZE: u32 = 65536;

// Arena header: [0, 64 KiB). The first 64 bytes stay unused so that address 0 is never valid.
export const ARENA_READY_OFFSET: u32 = 64; // u32: ARENA_MAGIC once initialised
export const ARENA_BLOCKS_OFFSET: u32 = 68; // u32: allocation blocks in this arena
export const ARENA_LISTENERS_OFFSET: u32 = 72; // u32: listener entries ever used (high-water mark)
export const ARENA_DMBS_OFFSET: u32 = 76; // u32: DMB entries ever used (high-water mark)
export const ARENA_GID_LO_OFFSET: u32 = 80; // u32: low half of the arena's random 64-bit GID
export const ARENA_GID_HI_OFFSET: u32 = 84; // u32: high half
export const ARENA_MAGIC: u32 = 0x534d4341;

// Extent table: runs of blocks with a memfd mapped over them. In the header page.
export const EXTENT_TABLE_OFFSET: u32 = 4096;
export const EXTENT_SIZE: u32 = 16;
export const EXTENT_CAPACITY: u32 = 1024;
export const EXTENT_STATE: u32 = 0; // u32: kind | pair << 8 | number << 16
export const EXTENT_BASE: u32 = 4; // u32: arena address
export const EXTENT_BLOCKS: u32 = 8; // u32: blocks, a power of two, at most EXTENT_MOST_BLOCKS
export const EXTENT_TAG: u32 = 0x40000000; // block word of a free block of extent n: EXTENT_TAG | n
export const EXTENT_MOST_BLOCKS: u32 = 1024;
export const EXTENT_NUMBERS: u32 = 64; // extents of one side of a pair

// Listener registry: who listens where.
export const LISTENER_TABLE_OFFSET: u32 = 65536;
export const LISTENER_SIZE: u32 = 64;
export const LISTENER_CAPACITY: u32 = 1024;
export const LISTENER_STATE: u32 = 0; // u32: phase | stack << 8 | generation << 16
export const LISTENER_PORT: u32 = 4; // u32
export const LISTENER_ADDRESS: u32 = 8; // 16 bytes, IPv4 as ::ffff:a.b.c.d
export const LISTENER_WILDCARD: u32 = 24; // u32: LISTENER_EXACT | LISTENER_ANY4 | LISTENER_ANY6

// DMB table: one entry for each registered buffer, private send buffers included.
export const DMB_TABLE_OFFSET: u32 = 131072;
export const DMB_ENTRY_SIZE: u32 = 64;
export const DMB_CAPACITY: u32 = 32768;
export const DMB_STATE: u32 = 0; // u32: flags | owner << 4 | attacher << 11 | generation << 18
export const DMB_BASE: u32 = 4; // u32: arena address of the CDC area
export const DMB_LENGTH: u32 = 8; // u32: bytes, CDC area included
export const DMB_SLOT: u32 = 12; // u32: connection slot of the owner
export const DMB_TOKEN: u32 = 16; // u64
export const DMB_TOUCHED: u32 = 24; // u32: ring bytes that may be non-zero
export const DMB_ZONE: u32 = 28; // u32: extent + 1 that the ring lies in; 0 = blocks of this arena
export const DMB_CDC: u32 = 32; // CDC area, 32 bytes; packed here, apart from the ring, so that an idle ring keeps no page

// Block table: one u32 for each allocation block; 0 = free, else DMB index + 1.
export const BLOCK_TABLE_OFFSET: u32 = 2228224;
export const BLOCK_TABLE_CAPACITY: u32 = 262144;
export const BLOCK_SIZE: u32 = 16384;

// Stack blocks: one for each event loop.
export const STACK_TABLE_OFFSET: u32 = 3276800;
export const STACK_CAPACITY: u32 = 64;
export const STACK_SIZE: u32 = 2490368;
export const STACK_STATE: u32 = 0; // u32: phase | generation << 8
export const STACK_PEERS: u32 = 8; // u64: peers this stack has connections with; private to the owner
export const STACK_OWNER: u32 = 16; // u64: thread id | id of its nearest ancestor with a stack, or ~0, << 32; 0 = nobody
export const STACK_ARMED: u32 = 64; // u32: doorbell word, a cache line of its own
export const STACK_BELL: u32 = 128; // u32: descriptor of the bell's write end + 1; 0 = none
export const STACK_BELL_OF: u32 = 132; // u32: generation of the stack that it was made for
export const STACK_REAPER: u32 = 136; // u32: slot + 1 of the stack that reaps this one
export const STACK_CONTROL: u32 = 192; // u32: CONTROL_* bits, or-ed by peers
export const STACK_BOXES: u32 = 512; // [64 × u32]: boxes of this stack, one for each peer process; private to the owner
export const STACK_BOX_MASK: u32 = 320; // u64: which of them are there; private to the owner
export const STACK_KEY: u32 = 256; // 40 bytes: address key argument; private to the owner
export const STACK_SUMMARY: u32 = 4096; // [64 × 64 bytes]: one u64 for each peer, a cache line each
export const STACK_READY: u32 = 8192; // [16384 × u32]: slots drained by the last poll; private to the owner
export const STACK_BITS: u32 = 73728; // [64 × 2048 bytes]: pending bits for each peer
export const STACK_DESK: u32 = 204800; // this stack's intents and claims, for the stacks of its own process
export const STACK_CONNS: u32 = 339968; // [16384 × 128 bytes]; private to the owner
export const CONN_CAPACITY: u32 = 16384;
export const CONN_SIZE: u32 = 128;
export const PENDING_BYTES: u32 = 2048; // bits of one peer: CONN_CAPACITY / 8
export const SUMMARY_SPAN: u32 = 4; // u64 words of pending bits for each summary bit

// A desk: the words in which a client announces itself to acceptors.
export const DESK_INTENTS: u32 = 0; // [64 × 8 bytes]: begun u32, closed u32, for each acceptor stack
export const DESK_CLAIMS: u32 = 4096; // [2048 × 64 bytes]

// Claims: a client's word that a TCP connection with this 4-tuple is its own and speaks SMC.
export const CLAIM_SIZE: u32 = 64;
export const CLAIM_CAPACITY: u32 = 2048;
export const CLAIM_PROBES: u32 = 16;
export const CLAIM_STATE: u32 = 0; // u32: phase | generation << 4
export const CLAIM_KEY: u32 = 8; // 36 bytes
export const KEY_SIZE: u32 = 40; // client address 16, server address 16, client port u16, server port u16, zero 4

// A box: what the stacks of one peer process and one stack of this process share beside DMBs. In a memfd of its own.
// The doorbell and control words lie as in a stack block.
export const BOX_SUMMARY: u32 = 256; // u64: pending groups; or-ed by the peer, exchanged with 0 by the owner
export const BOX_BITS: u32 = 2048; // [2048 bytes]: pending bits, likewise
export const BOX_DESK: u32 = 4096; // the owner's desk for acceptors of the peer process
export const BOX_BLOCKS: u32 = 16; // allocation blocks; the last ones are never touched

// Pairs: peer processes. Words and their order belong to engine/pair-table.ts.
export const PAIR_TABLE_OFFSET: u32 = 162660352;
export const PAIR_SIZE: u32 = 2048;
export const PAIR_CAPACITY: u32 = 64;

// First block of the page allocator.
export const BLOCKS_OFFSET: u32 = 162791424;

// CDC area of a DMB, written by the peer alone. Source: net/smc SMC-D layout, smc-protocol §4.2.
// differs: it lies in the DMB's table entry or, in an extent, in its head; the first CDC_SIZE bytes of the buffer stay
// unused, so that sizes agree.
export const CDC_PROD_OFFSET: u32 = 8; // u64: wrap u16 | count u32 << 16
export const CDC_CONS_OFFSET: u32 = 16; // u64: wrap u16 | count u32 << 16 | producer flags << 48 | state flags << 56
export const CDC_SIZE: u32 = 32;
export const CDC_TYPE: u32 = 0xfe; // u8 at offset 0

// Head of a DMB in an extent: what its owner tells a peer in another process. Head n stands at the extent's base + 64 n and
// belongs to the DMB that begins with block n; it opens with the CDC area.
export const HEAD_SIZE: u32 = 64;
export const HEAD_LINK: u32 = 32; // u32: a HEAD_* state | bits 63-35 of the token << 3
export const HEAD_SLOT: u32 = 36; // u32: connection slot of the owner
export const HEAD_TOKEN: u32 = 40; // u64
export const HEAD_STACK: u32 = 48; // u32: stack slot of the owner, in its process
export const HEAD_LENGTH: u32 = 52; // u32: bytes, CDC area included
export const HEAD_TOUCHED: u32 = 56; // u32: ring bytes that may be non-zero; by the attacher, a hint

// Connection block, private to the owning stack.
export const CONN_LOCAL: u32 = 0; // u32: address of the own CDC area
export const CONN_LOCAL_SIZE: u32 = 4; // u32: own ring, bytes
export const CONN_PEER: u32 = 8; // u32: address of the peer's CDC area; 0 = not attached
export const CONN_PEER_SIZE: u32 = 12; // u32: peer's ring, bytes
export const CONN_SND: u32 = 16; // u32: address of the send ring: peer's ring (attached) or private (copy)
export const CONN_SND_SIZE: u32 = 20; // u32: send ring, bytes
export const CONN_PEER_BITS: u32 = 24; // u32: address of the u64 with our pending bit at the peer
export const CONN_PEER_SUMMARY: u32 = 28; // u32: address of the peer's summary word
export const CONN_PEER_BIT: u32 = 32; // u32: number of our bit in CONN_PEER_BITS
export const CONN_SUMMARY_BIT: u32 = 36; // u32: number of our bit in CONN_PEER_SUMMARY
export const CONN_LOCAL_RING: u32 = 40; // u32: address of the own ring
export const CONN_PEER_RING: u32 = 44; // u32: address of the peer's ring
export const CONN_PEER_ARMED: u32 = 48; // u32: address of the peer's doorbell word
export const CONN_MODE: u32 = 52; // u32: CONN_ATTACHED | CONN_COPY | CONN_POISONED …
export const CONN_TX_PREP: u32 = 56; // u64 cursor in the send ring
export const CONN_TX_SENT: u32 = 64; // u64 cursor in the peer's ring: the producer cursor
export const CONN_TX_CONS: u32 = 72; // u64: peer's consumer cursor as last sampled
export const CONN_RX_PROD: u32 = 80; // u64: peer's producer cursor as last sampled
export const CONN_RX_CONS: u32 = 88; // u64: our consumer cursor
export const CONN_RX_CONFIRMED: u32 = 96; // u64: consumer cursor last told to the peer with a signal
export const CONN_SND_SPACE: u32 = 104; // u32: free bytes in the send ring
export const CONN_PEER_WINDOW: u32 = 108; // u32: free bytes in the peer's ring
export const CONN_UNSENT: u32 = 112; // u32: bytes prepared but not yet moved
export const CONN_READABLE: u32 = 116; // u32: bytes to receive
export const CONN_TX_FLAGS: u32 = 120; // u32: our producer flags | state flags << 8
export const CONN_RX_FLAGS: u32 = 124; // u32: peer's, likewise
