/**
 * What a connection needs of its stack: the data plane, copies, counters, and three favours.
 */

import type { Counters } from "../diag/counters.js";
import type { Abi } from "../engine/abi.js";
import type { RingCopy } from "../engine/copy.js";
import type { Connection } from "./connection.js";

export interface ConnectionHost {
  readonly abi: Abi;
  readonly copy: RingCopy;
  readonly counters: Counters;
  /** An answer may come soon: worth turning for. */
  expect(): void;
  /** The connection keeps the process alive from now on (+1), or no longer (-1). */
  ref(change: 1 | -1): void;
  /** Gives whole pages of the arena back to the system, `shared` ones in a memfd; false where there is no way. */
  discard(address: number, length: number, shared: boolean): boolean;
  /** The connection is over: its buffers and its slot go back. */
  release(connection: Connection): void;
}
