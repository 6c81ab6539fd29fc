/**
 * Why a connection goes on as plain TCP: an outcome, not an error.
 *
 * Owns the type and its constructors. Source: smc-protocol §2.9, §2.10.
 */
import { DIAGNOSIS, type DiagnosisName, diagnosisName } from "../wire/clc-diagnosis.js";

export interface FallbackReason {
  /** Diagnosis code; PEERDECL if the peer declined. */
  readonly code: number;
  readonly name: string;
  /** Who found the reason. */
  readonly side: "local" | "peer";
  /** The code in the peer's Decline. */
  readonly peerDiagnosis?: number;
  /** For people: what stands in the way here. */
  readonly detail?: string;
}

/** A reason found here. `code` may come from a driver and need not be in the table. */
export const localFallback = (code: number, detail?: string): FallbackReason => ({
  ...{ code, name: diagnosisName(code), side: "local" },
  ...(detail === undefined ? {} : { detail }),
});

/** The peer sent a Decline with this diagnosis. */
export const peerFallback = (peerDiagnosis: number): FallbackReason => ({
  code: DIAGNOSIS.PEERDECL.code,
  name: "PEERDECL" satisfies DiagnosisName,
  side: "peer",
  peerDiagnosis,
});
