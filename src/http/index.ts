/**
 * `smcnet/http`: an agent whose connections negotiate SMC, for programs that say so themselves instead of loading
 * `smcnet/register`.
 *
 * Owns the agent. Servers need none of their own: `attach` is the one of `smcnet`. Knows nothing of SMC beyond the public
 * API, and is not part of the core: `node:http` costs milliseconds, which only those pay who want it.
 */
import * as http from "node:http";
import type { NetConnectOpts, Socket } from "node:net";
import { connect, type WithSmcOptions } from "../index.js";

export { attach } from "../index.js";

/** As http.AgentOptions; `smc` holds for every connection of the agent. */
export interface AgentOptions extends http.AgentOptions, WithSmcOptions {}

/**
 * An http.Agent: pools, limits and time-outs are core's. A server that does not speak SMC is reached by TCP, and the
 * `socketPath` of a request as by any agent; `response.socket.smc` tells which it was.
 */
export class Agent extends http.Agent {
  // biome-ignore lint/complexity/noUselessConstructor: it is what gives the options their type
  constructor(options?: AgentOptions) {
    super(options);
  }

  /** Takes: what core has put together of the request's options and of the agent's. */
  override createConnection(options: object): Socket {
    return connect(options as NetConnectOpts);
  }
}
