/**
 * The vocabulary of both handshake machines: what happens to them, what they ask of their driver, how they end.
 *
 * Owns the shared events and actions and their few constructors. The machines are pure: the driver owns the socket, the
 * clock, the device and ClcFraming, executes actions in order and feeds a message only after a "wait".
 */
import { SmcError } from "../errors.js";
import { type ClcMessage, decodeClc, encodeClc } from "../wire/clc.js";
import { DIAGNOSIS, diagnosisName } from "../wire/clc-diagnosis.js";
import { OS_LINUX } from "../wire/clc-first-contact.js";
import type { ClcType } from "../wire/clc-header.js";
import type { Agreement } from "./agreement.js";
import type { FallbackReason } from "./fallback.js";

export type HandshakeEvent =
  | { readonly type: "start" }
  /** One whole message as ClcFraming cut it. */
  | { readonly type: "message"; readonly bytes: Uint8Array }
  /** The stream does not go on with CLC; its bytes are still in the framing. */
  | { readonly type: "foreign" }
  /** The peer ended its direction. */
  | { readonly type: "eof" }
  | { readonly type: "error"; readonly error: Error }
  /** The deadline of the last "wait" is over. */
  | { readonly type: "timeout" };

export type HandshakeAction =
  /** One message, in one write of its own. */
  | { readonly type: "send"; readonly bytes: Uint8Array }
  /** Read on; arm the deadline for this message. */
  | { readonly type: "wait"; readonly for: Exclude<ClcType, "Decline"> }
  /** SMC carries the connection from here on. */
  | { readonly type: "agreed"; readonly agreement: Agreement }
  /**
   * The connection goes on as TCP, with the rest of the framing given back to it.
   * filterLate: a message of the peer may still arrive, and LateFilter has to swallow it.
   * outOfSync: the peer says that our link group does not exist; terminate it.
   */
  | {
      readonly type: "fallback";
      readonly reason: FallbackReason;
      readonly filterLate: boolean;
      readonly outOfSync: boolean;
    }
  /** The connection is over: destroy the socket with this error. */
  | { readonly type: "fail"; readonly error: Error };

/** Result of one step of a machine. */
export interface Transition<State, Action> {
  readonly state: State;
  readonly actions: readonly Action[];
}

/** The end of both machines: whatever comes later changes nothing. */
export const DONE = { name: "done" } as const;
export type Done = typeof DONE;

export const finish = (...actions: HandshakeAction[]): Transition<Done, HandshakeAction> => ({ state: DONE, actions });

export const fail = (error: Error): Transition<Done, HandshakeAction> => finish({ type: "fail", error });

export const fallBack = (reason: FallbackReason, { filterLate = false, outOfSync = false } = {}): HandshakeAction => ({
  type: "fallback",
  reason,
  filterLate,
  outOfSync,
});

/** A Decline that carries `code`; the out-of-sync bit goes with SYNCERR only, §2.5. */
export function sendDecline(version: 1 | 2, code: number, peerId: Uint8Array): HandshakeAction {
  const outOfSync = code === DIAGNOSIS.SYNCERR.code;
  return {
    type: "send",
    bytes: encodeClc({ type: "Decline", version, outOfSync, peerId, diagnosis: code, os: OS_LINUX }),
  };
}

/** Versions above 2 are spoken as 2. */
export const spoken = (version: number): 1 | 2 => (version === 1 ? 1 : 2);

export function violation(what: string, values: Record<string, unknown> = {}): SmcError {
  return new SmcError("EPROTO", `CLC handshake: ${what}`, values);
}

/** The message, or the EPROTO that its bytes deserve. */
export function parse(bytes: Uint8Array): ClcMessage | SmcError {
  try {
    return decodeClc(bytes);
  } catch (error) {
    if (error instanceof SmcError) return error;
    throw error;
  }
}

/** The stream ended, failed or turned out foreign where a message had to come: a hard error, §2.6. */
export function broken(event: HandshakeEvent & { type: "eof" | "error" | "foreign" }, during: string): Error {
  if (event.type === "error") return event.error;
  if (event.type === "foreign") return violation(`${during}: the peer sent something that is not CLC`, { during });
  return new SmcError("ECONNRESET", `CLC handshake: ${during}: the peer closed the connection`, { during });
}

/** No attach, no connection: the peer already counts on SMC and cannot be told otherwise, §2.10. */
export function attachLost(diagnosis: number): SmcError {
  const name = diagnosisName(diagnosis);
  return new SmcError("ECONNABORTED", `CLC handshake: the client's DMB cannot be attached: ${name}`, {
    diagnosis,
    name,
  });
}
