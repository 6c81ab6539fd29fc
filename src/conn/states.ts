/**
 * The states of an SMC socket: their numbers and printed names, and the flag byte that tells the peer's half of them.
 *
 * Owns names and numbers. Knows no event and no transition (close-table.ts) and no connection.
 * Source: smc-protocol §7.1 (states, numbers as `smcss` and sock_diag have them), §4.3 (flags).
 */
import { STATE_CONN_ABORT, STATE_CONN_CLOSED, STATE_DONE_WRITING } from "../../assembly/shared/codes.js";

/** State -> number of sock_diag, name as printed. Init and Listen belong to sockets that have no connection yet. */
export const SOCKET_STATES = {
  Active: { number: 1, printed: "ACTIVE" },
  Init: { number: 2, printed: "INIT" },
  Closed: { number: 7, printed: "CLOSED" },
  Listen: { number: 10, printed: "LISTEN" },
  PeerCloseWait1: { number: 20, printed: "PEERCLOSEWAIT1" },
  PeerCloseWait2: { number: 21, printed: "PEERCLOSEWAIT2" },
  AppCloseWait1: { number: 22, printed: "APPCLOSEWAIT1" },
  AppCloseWait2: { number: 23, printed: "APPCLOSEWAIT2" },
  AppFinCloseWait: { number: 24, printed: "APPFINCLOSEWAIT" },
  PeerFinCloseWait: { number: 25, printed: "PEERFINCLOSEWAIT" },
  PeerAbortWait: { number: 26, printed: "PEERABORTWAIT" },
  ProcessAbort: { number: 27, printed: "PROCESSABORT" },
} as const satisfies Record<string, { readonly number: number; readonly printed: string }>;

export type SocketState = keyof typeof SOCKET_STATES;

/** States of a connection: one that both ends have confirmed. It begins Active and ends Closed. */
export type ConnState = Exclude<SocketState, "Init" | "Listen">;

/** The peer will write no more, has closed, or has aborted: every bit of a state-flag byte that means something. */
export const STATE_FLAGS = STATE_DONE_WRITING | STATE_CONN_CLOSED | STATE_CONN_ABORT;

/** The peer has nothing left to hear from this side's data: it closed, or aborted. */
export const STATE_ANY_CLOSE = STATE_CONN_CLOSED | STATE_CONN_ABORT;

export { STATE_CONN_ABORT, STATE_CONN_CLOSED, STATE_DONE_WRITING };
