/**
 * What an SMC-D device offers: identity, and buffers by token. Operations as in net/smc (smc-protocol §5.5).
 */

/** A registered own buffer. Sizes in bytes, CDC area included. */
export interface RegisteredDmb {
  readonly index: number;
  readonly token: bigint;
  readonly sizeClass: number;
}

/** The stack at the other end of a connection, as far as a connection needs it. One object for all connections to it. */
export interface PeerStack {
  /** Whether it lives in another process; then the arena address of its box, else 0. */
  readonly remote: boolean;
  readonly box: number;
  /** Whether that stack is known to have ended. */
  readonly gone: boolean;
  /** Rings its bell: the data plane answered EVENT_RING. */
  ring(): void;
  /** Blocks the thread until connection block `conn` has news of the kinds in `wanted`, or the time is up; EVENT_* bits. */
  wait(conn: number, timeoutMs: number, wanted: number): number;
  /** We have let go of a buffer that its owner gave up before. */
  detached(): void;
  /** A connection to it came (+1) or went (-1). */
  hold(change: 1 | -1): void;
}

/** A device towards one peer: from first contact to the last connection. */
export interface SmcdPath {
  /**
   * Allocates and exposes a buffer for connection `slot`, smaller than `bytes` where there is no room.
   *
   * Returns: undefined when not even the smallest is to be had.
   */
  register(slot: number, bytes: number): RegisteredDmb | undefined;
  /** Maps the peer's buffer; undefined when there is none with this token or it is taken. */
  attach(token: bigint): number | undefined;
  /** The stack that owns an attached buffer. */
  peerOf(dmb: number): PeerStack;
  /** Whether one more connection is allowed. */
  readonly full: boolean;
  /** The same as of every PeerStack here: a connection is on its way (+1), or came to nothing (-1). */
  hold(change: 1 | -1): void;
}

export interface SmcdDevice {
  readonly name: string;
  /** Low and high half of the GID of this stack on the device. */
  readonly gid: bigint;
  readonly gidExt: bigint;
  readonly chid: number;
  /** Whether version 1 of CLC, which carries neither CHID nor extension, can name it. */
  readonly v1: boolean;
  /** The way to a peer with this GID, if it shares the device; `gidExt` is undefined where CLC version 1 carries none. */
  toward(gid: bigint, gidExt: bigint | undefined): SmcdPath | undefined;
}
