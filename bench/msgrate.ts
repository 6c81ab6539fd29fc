/**
 * msgrate: how many messages of 100 bytes a second go one way, one write each?
 *
 * Method: as `stream`, with writes of 100 bytes. The messages are not framed: the receiver counts bytes. Nothing is
 * corked, and writing stops while the transport asks for it, so no message waits in an unbounded queue.
 * Does not show: the delay of a message (see pingpong), or the cost of parsing.
 */
import { receiverSide, senderSide } from "./flow.js";
import { FlowSubject, receiveOf } from "./flow-subject.js";
import type { Case, Scenario } from "./harness.js";
import type { Sides } from "./side.js";

const MESSAGE_BYTES = 100;

function cases(quick: boolean): readonly Case[] {
  return [
    {
      params: { bytes: MESSAGE_BYTES, receive: "data", cpus: 2 },
      transports: ["ring", "smcd", "smcd-copy", "tcp", "uds", "messageport"],
      ...(quick ? { rounds: 3, durationMs: 20 } : { rounds: 7, durationMs: 600 }),
    },
  ];
}

export const scenario: Scenario = {
  name: "msgrate",
  isolated: false,
  cases,
  open: (transport, subject) =>
    FlowSubject.open("msgrate", transport, subject, ({ bytes, seconds, load }) => ({
      metric: "rate",
      value: bytes / MESSAGE_BYTES / seconds,
      load,
      params: receiveOf(transport),
    })),
};

export const sides: Sides = { server: senderSide, client: receiverSide };
