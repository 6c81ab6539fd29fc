/**
 * How a connection closes: one total table, state × event → rows. Data only.
 *
 * Owns the transitions and what they tell the peer. Knows nothing of rings, timers or sockets; close.ts alone reads it.
 * The first row whose condition holds is taken, on what was known *before* the event. Every list is STAY or ends with
 * a row that has no condition. Closed is never left, and is entered only once the application has closed: what a
 * connection holds may be given back exactly then.
 *
 * Source: smc-protocol §7.2 (appClose), §7.3 (appShutdown), §7.4 (peer events), §7.5 (localAbort).
 * Differences from the kernel, all so that `net` users see what `net` shows them:
 * differs: an abort under an application that has not closed waits in ProcessAbort or PeerAbortWait, never in Closed:
 *          it still has bytes to read and an ECONNRESET or ECONNABORTED to see (kernel: AppCloseWait2 + peerAbort, and
 *          every localAbort, go to Closed, resources kept aside).
 * differs: PeerAbortWait waits for the application alone, so the peer's flags change nothing (kernel: → Closed).
 * differs: a localAbort tells the peer even after `final`: that one may still be queued behind bytes.
 * differs: there is no shutdown of both directions at once, so "close called" and "final sent" are one fact.
 * differs: a shutdown that comes too late is STAY, not ENOTCONN: `end()` after a close is no error in `net`.
 */
import type { ConnState } from "./states.js";

/**
 * - appShutdown  the application ends its writing half
 * - appClose     the application lets go of the socket
 * - peerDone     the peer's doneWriting came in, and nothing stronger
 * - peerClosed   the peer's connClosed came in
 * - peerAbort    the peer's connAbort came in, or the peer died with bytes unread
 * - localAbort   the application asks for a reset, the link group was terminated, or this process ends
 */
export type CloseEvent = "appShutdown" | "appClose" | "peerDone" | "peerClosed" | "peerAbort" | "localAbort";

/** - closeCalled: appClose came before. - rxAnyClose: the peer's connClosed or connAbort came before. */
export type CloseCondition = "closeCalled" | "rxAnyClose";

/** - done: doneWriting. - final: connClosed, or connAbort if received bytes were left unread. - abort: connAbort. */
export type CloseSend = "done" | "final" | "abort";

export interface Row {
  readonly when?: CloseCondition;
  readonly next: ConnState;
  readonly send?: CloseSend;
}

/** The event changes nothing in this state and tells the peer nothing. */
const STAY: readonly Row[] = [];

export const CLOSE_TABLE = {
  Active: {
    appShutdown: [{ next: "PeerCloseWait1", send: "done" }],
    appClose: [{ next: "PeerCloseWait1", send: "final" }],
    peerDone: [{ next: "AppCloseWait1" }],
    peerClosed: [{ next: "AppCloseWait1" }],
    peerAbort: [{ next: "ProcessAbort" }],
    localAbort: [{ next: "PeerAbortWait", send: "abort" }],
  },
  PeerCloseWait1: {
    appShutdown: STAY,
    appClose: [
      { when: "closeCalled", next: "PeerCloseWait1" },
      { next: "PeerCloseWait1", send: "final" },
    ],
    peerDone: [{ next: "PeerCloseWait2" }],
    peerClosed: [{ when: "closeCalled", next: "Closed" }, { next: "AppFinCloseWait" }],
    peerAbort: [{ when: "closeCalled", next: "Closed" }, { next: "ProcessAbort" }],
    localAbort: [
      { when: "closeCalled", next: "Closed", send: "abort" },
      { next: "PeerAbortWait", send: "abort" },
    ],
  },
  PeerCloseWait2: {
    appShutdown: STAY,
    appClose: [
      { when: "closeCalled", next: "PeerCloseWait2" },
      { next: "PeerCloseWait2", send: "final" },
    ],
    peerDone: STAY,
    peerClosed: [{ when: "closeCalled", next: "Closed" }, { next: "AppFinCloseWait" }],
    peerAbort: [{ when: "closeCalled", next: "Closed" }, { next: "ProcessAbort" }],
    localAbort: [
      { when: "closeCalled", next: "Closed", send: "abort" },
      { next: "PeerAbortWait", send: "abort" },
    ],
  },
  AppCloseWait1: {
    appShutdown: [{ next: "AppCloseWait2", send: "done" }],
    appClose: [
      { when: "rxAnyClose", next: "Closed", send: "final" },
      { next: "PeerFinCloseWait", send: "final" },
    ],
    peerDone: STAY,
    peerClosed: STAY,
    peerAbort: [{ next: "ProcessAbort" }],
    localAbort: [{ next: "PeerAbortWait", send: "abort" }],
  },
  AppCloseWait2: {
    appShutdown: STAY,
    appClose: [
      { when: "rxAnyClose", next: "Closed", send: "final" },
      { next: "PeerFinCloseWait", send: "final" },
    ],
    peerDone: STAY,
    peerClosed: STAY,
    peerAbort: [{ next: "ProcessAbort" }],
    localAbort: [{ next: "PeerAbortWait", send: "abort" }],
  },
  AppFinCloseWait: {
    appShutdown: STAY,
    appClose: [{ next: "Closed", send: "final" }],
    peerDone: STAY,
    peerClosed: STAY,
    peerAbort: [{ next: "ProcessAbort" }],
    localAbort: [{ next: "PeerAbortWait", send: "abort" }],
  },
  PeerFinCloseWait: {
    appShutdown: STAY,
    appClose: STAY,
    peerDone: STAY,
    peerClosed: [{ next: "Closed" }],
    peerAbort: [{ next: "Closed" }],
    localAbort: [{ next: "Closed", send: "abort" }],
  },
  PeerAbortWait: {
    appShutdown: STAY,
    appClose: [{ next: "Closed" }],
    peerDone: STAY,
    peerClosed: STAY,
    peerAbort: STAY,
    localAbort: STAY,
  },
  ProcessAbort: {
    appShutdown: STAY,
    appClose: [{ next: "Closed", send: "abort" }],
    peerDone: STAY,
    peerClosed: STAY,
    peerAbort: STAY,
    localAbort: [{ next: "PeerAbortWait", send: "abort" }],
  },
  Closed: {
    appShutdown: STAY,
    appClose: STAY,
    peerDone: STAY,
    peerClosed: STAY,
    peerAbort: STAY,
    localAbort: STAY,
  },
} as const satisfies Record<ConnState, Record<CloseEvent, readonly Row[]>>;
