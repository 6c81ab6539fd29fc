/** The messages between the terminate test and its victims. */
import type { TransportName } from "../support/transports.js";

/**
 * What a victim does until it is killed:
 * - pour        writes a stream
 * - echo        sends back what it reads, and a byte of its own to begin with
 * - deaf        writes a few bytes and never reads
 * - ring pour   as pour, by ring.write, asleep when the ring is full
 * - ring echo   as echo, by the ring
 * - dial        connects, says something and ends, again and again, many at a time
 * - serve       listens, and echoes to whoever connects
 * - nest        starts a Worker that pours, and waits
 * - exit        process.exit() in the `data` listener, while it pours
 */
export const WAYS = ["pour", "echo", "deaf", "ring pour", "ring echo", "dial", "serve", "nest", "exit"] as const;
export type Way = (typeof WAYS)[number];

/** Words of the board that a victim keeps: how far it is, bytes or connections; bytes that are in the ring for sure. */
export const PROGRESS = 0;
export const PUBLISHED = 1;
export const BOARD_BYTES = 8;

export interface VictimTask {
  readonly way: Way;
  readonly transport: TransportName;
  /** Where the survivor listens. */
  readonly port: number;
  /** Label of the stream. */
  readonly stream: string;
  /** Bytes of one write. */
  readonly length: number;
  readonly board: Int32Array<SharedArrayBuffer>;
}
