/**
 * What a thread or process that plays ends of scenarios is asked, and how it replies.
 *
 * Owns the messages and the peer's part of them. Knows nothing of how they travel.
 */
import * as smc from "../../src/index.js";
import { type EndTask, OtherEndFailed, runEnd } from "./run-end.js";
import type { Seen } from "./scenario.js";

/** Counters of a thread that are 0 when nothing is left and nothing went wrong. */
export interface Leftovers {
  readonly doorbellRescued: number;
  readonly rxInUse: number;
  readonly txInUse: number;
  readonly sockets: number;
}
export const NOTHING_LEFT: Leftovers = { doorbellRescued: 0, rxInUse: 0, txInUse: 0, sockets: 0 };

export type PeerRequest = { readonly kind: "run"; readonly task: EndTask } | { readonly kind: "leftovers" };
export interface FailedReply {
  readonly kind: "failed";
  readonly message: string;
  readonly stack: string;
  /** Whether the other end failed first. */
  readonly other: boolean;
}
export type PeerReply =
  | { readonly kind: "seen"; readonly seen: Seen }
  | FailedReply
  | { readonly kind: "leftovers"; readonly leftovers: Leftovers };

/** Of this thread. */
export function leftovers(): Leftovers {
  const { doorbellRescued, rxInUse, txInUse } = smc.stats();
  return { doorbellRescued, rxInUse, txInUse, sockets: smc.sockets().length };
}

export function failedReply(cause: unknown): FailedReply {
  const { message, stack } = cause as Error;
  return { kind: "failed", message, stack: stack ?? message, other: cause instanceof OtherEndFailed };
}

/** Does what is asked, in this thread. Never rejects. */
export async function answer(request: PeerRequest): Promise<PeerReply> {
  if (request.kind === "leftovers") return { kind: "leftovers", leftovers: leftovers() };
  try {
    return { kind: "seen", seen: await runEnd(request.task) };
  } catch (cause) {
    return failedReply(cause);
  }
}

/** What failed at a peer, which is called `where`. */
export function failureOf({ message, stack, other }: FailedReply, where: string): Error {
  const failure = other ? new OtherEndFailed(message) : new Error(`${where}: ${message}`);
  failure.stack = `${where}: ${stack}`;
  return failure;
}
