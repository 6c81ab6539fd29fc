/**
 * Names of the diagnostics channels and the readable trace of NODE_DEBUG=smc.
 *
 * Owns the names. Publishing costs one property read while nobody listens.
 */
import { channel } from "node:diagnostics_channel";
import { debuglog } from "node:util";

/** Diagnostics channels, each with the shape of its message. */
export const channels = {
  /** { direction: "sent" | "received", role: "client" | "server", bytes: Uint8Array } for each CLC message. */
  clc: channel("smcnet:clc"),
  /** { socket, status } when a connection is carried by SMC. */
  connected: channel("smcnet:connected"),
  /** { socket, side, reason } when a connection goes on as TCP although it was negotiated or claimed. */
  fallback: channel("smcnet:fallback"),
  /** { from, to, event } for each state of the close machine. */
  state: channel("smcnet:state"),
} as const;

/** Prints to stderr when NODE_DEBUG contains `smc`. */
export const debug = debuglog("smc");
