/**
 * Any CLC message: one decode and one encode over the four types.
 *
 * Owns the dispatch. Source: smc-protocol §2.
 */

import { type Decline, decodeDecline, encodeDecline } from "./clc-decline.js";
import { checkHead } from "./clc-header.js";
import { decodeProposal, encodeProposal, type Proposal } from "./clc-proposal.js";
import { decodeSmcdAnswer, encodeSmcdAnswer, type SmcdAnswer } from "./clc-smcd.js";
import { decodeSmcrAnswer, encodeSmcrAnswer, type SmcrAnswer } from "./clc-smcr.js";
import { malformed } from "./field.js";

export type ClcMessage = Proposal | SmcdAnswer | SmcrAnswer | Decline;

/** Bytes of one message. Errors: SmcError EINVAL for a value that does not fit its field. */
export function encodeClc(message: ClcMessage): Uint8Array {
  switch (message.type) {
    case "Proposal":
      return encodeProposal(message);
    case "Decline":
      return encodeDecline(message);
    default:
      return message.path === "D" ? encodeSmcdAnswer(message) : encodeSmcrAnswer(message);
  }
}

/**
 * Value of one message.
 *
 * Takes:  bytes, one whole message and nothing else.
 * Errors: SmcError EPROTO naming message, field and byte, whatever the bytes are.
 */
export function decodeClc(bytes: Uint8Array): ClcMessage {
  const head = checkHead(bytes);
  const { type, path } = head;
  if (type === "Proposal") return decodeProposal(bytes);
  if (type === "Decline") return decodeDecline(bytes);
  if (path === "D") return decodeSmcdAnswer(bytes, head, type);
  if (path === "R") return decodeSmcrAnswer(bytes, head, type);
  throw malformed(`CLC ${type}`, "typev1", 7, "is neither R nor D", path);
}
