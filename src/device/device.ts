/**
 * What an SMC-D device offers: identity, and buffers by token. Operations as in net/smc (smc-protocol §5.5).
 */

/** A registered own buffer. Sizes in bytes, CDC area included. */
export interface RegisteredDmb {
  readonly index: number;
  readonly token: bigint;
  readonly sizeClass: number;
}

export interface SmcdDevice {
  readonly name: string;
  /** Low and high half of the GID of this stack on the device. */
  readonly gid: bigint;
  readonly gidExt: bigint;
  readonly chid: number;
  /** Whether a peer with this GID shares the device; `gidExt` is undefined where CLC version 1 carries none. */
  reaches(gid: bigint, gidExt: bigint | undefined): boolean;
  /**
   * Allocates and exposes a buffer for connection `slot`, smaller than `bytes` where there is no room.
   *
   * Returns: undefined when not even the smallest is to be had.
   */
  register(slot: number, bytes: number): RegisteredDmb | undefined;
  unregister(index: number): void;
  /** Maps the peer's buffer; undefined when there is none with this token or it is taken. */
  attach(token: bigint): number | undefined;
  detach(index: number): void;
}
