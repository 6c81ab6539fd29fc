/**
 * stream: how many bytes a second go one way, by size of the writes?
 *
 * Method: two sides, one connection. The accepting side writes pieces of a known stream and respects backpressure; the
 * connecting side takes them by `data` handlers or by `onread` (ring: `read` into a buffer; messageport: `message`).
 * A round lasts from the first write to the arrival of the last byte. The bytes come from 1 MiB that stays in the cache.
 * Does not show: what an application does with the bytes, memory that is not cached, many connections at once.
 */
import { receiverSide, senderSide } from "./flow.js";
import { FlowSubject, receiveOf } from "./flow-subject.js";
import { type Case, type Scenario, unmodified } from "./harness.js";
import type { Transport } from "./record.js";
import type { Sides } from "./side.js";

const SOCKETS: readonly Transport[] = ["smcd", "smcd-copy", "tcp", "uds"];
const KIB = 1024;

function cases(quick: boolean): readonly Case[] {
  const sizes = quick ? [64 * KIB] : [64, KIB, 16 * KIB, 64 * KIB, 1024 * KIB];
  const timing = quick ? { rounds: 3, durationMs: 20 } : { rounds: 5, durationMs: 400 };
  const explicit = sizes.flatMap((bytes): Case[] => [
    { params: { bytes, receive: "data", cpus: 2 }, transports: ["ring", ...SOCKETS, "messageport"], ...timing },
    { params: { bytes, receive: "onread", cpus: 2 }, transports: SOCKETS, ...timing },
  ]);
  const preloaded = unmodified({ params: { bytes: 64 * KIB, receive: "data", cpus: 2 }, ...timing });
  return [...explicit, ...preloaded];
}

export const scenario: Scenario = {
  name: "stream",
  isolated: false,
  cases,
  open: (transport, subject) =>
    FlowSubject.open("stream", transport, subject, ({ bytes, seconds, load }) => ({
      metric: "throughput",
      value: bytes / seconds / 1e9,
      load,
      params: receiveOf(transport),
    })),
};

export const sides: Sides = { server: senderSide, client: receiverSide };
