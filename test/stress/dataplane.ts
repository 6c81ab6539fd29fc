/** The messages between the data-plane stress tests and their workers. Payload never crosses postMessage. */

/** How a side passes the time when it cannot go on. */
export type Patience = "wait" | "spin";

/** Order to carry one direction of a stream over a connection that the parent has set up. */
export interface SideOrder {
  readonly memory: WebAssembly.Memory;
  readonly module: WebAssembly.Module;
  readonly role: "send" | "receive";
  readonly patience: Patience;
  readonly stack: number;
  readonly conn: number;
  readonly seed: number;
  /** Bytes to send; the receiver learns the end from the stream. */
  readonly total: number;
  /** Longest single write or read, bytes. */
  readonly most: number;
  /** Whether a receiver waits before every read, also with bytes left to read. */
  readonly waitFirst: boolean;
}

/** What a side says at its end. */
export interface SideReport {
  readonly bytes: number;
  /** Waits or spins for lack of bytes or space. */
  readonly waits: number;
}

/** Order to use the DMB table without end, until killed. */
export interface ChurnOrder {
  readonly memory: WebAssembly.Memory;
  readonly module: WebAssembly.Module;
  /** [token lo, token hi, rounds done] of each of two workers. */
  readonly board: Int32Array<SharedArrayBuffer>;
  readonly which: 0 | 1;
  readonly seed: number;
}
