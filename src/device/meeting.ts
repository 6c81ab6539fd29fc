/**
 * What both sides of a contact are made of: who this stack is, whom it trusts, and a frame with its gifts.
 */
import { LAYOUT_VERSION } from "../../assembly/shared/layout.js";
import { type Credentials, sendFrame } from "../host/unix-socket.js";
import { type AnswerFrame, type ContactFrame, encodeChannelFrame } from "../wire/contact.js";
import type { Gift, PairsHost } from "./pairs.js";
import type { Probes } from "./probe.js";

export interface ContactHost extends PairsHost {
  /** GID of this process. */
  readonly gid: bigint;
  readonly eids: readonly string[];
  /** Time for one contact, ms. */
  readonly contactMs: number;
  readonly probes: Probes;
  /** Whether a process with these credentials may be met. */
  trusts(peer: Credentials): boolean;
}

/** Sends a frame and, in the same message, the gifts: they come whole or not at all. Errors: RangeError where the socket is full. */
export function sendMeeting(socket: number, frame: ContactFrame | AnswerFrame, gift: Gift | undefined): void {
  const gifts = gift === undefined ? [] : [gift.bell, gift.box];
  if (sendFrame(socket, encodeChannelFrame(frame, LAYOUT_VERSION), ...gifts) !== "sent")
    throw new RangeError("its socket is full");
}
