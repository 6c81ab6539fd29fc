/**
 * The two sides of a bench: two Workers of this process, or two processes, as the parameters' `contexts` says.
 *
 * Owns that they start and end together, and what only threads can share. Knows nothing of what they do.
 */
import { MessageChannel } from "node:worker_threads";
import { type Metering, meter } from "./meter.js";
import type { Params, Transport } from "./record.js";
import { Remote } from "./remote.js";

const SHARED_SIZE = 128;

/** What every side has. */
export interface Closable {
  close(argument: undefined): void;
}

/** Both sides of one transport. `S` and `C` are the operations of the server and of the client. */
export class Pair<S extends Closable, C extends Closable> {
  readonly server: Remote<S>;
  readonly client: Remote<C>;

  constructor(scenario: string, transport: Transport, params: Params) {
    const common = { scenario, transport, params };
    if (params.contexts === "processes") {
      this.server = new Remote<S>({ ...common, role: "server" });
      this.client = new Remote<C>({ ...common, role: "client" });
      return;
    }
    const shared = new SharedArrayBuffer(SHARED_SIZE);
    const { port1, port2 } = new MessageChannel();
    this.server = new Remote<S>({ ...common, shared, role: "server", port: port1 });
    this.client = new Remote<C>({ ...common, shared, role: "client", port: port2 });
  }

  /** Runs `work` and tells the load of it in the processes of both sides. */
  meter<T>(work: () => Promise<T>): Promise<Metering<T>> {
    return meter([this.server, this.client], work);
  }

  /** Closes connections in order, then ends both sides. */
  async close(): Promise<void> {
    const client: Remote<Closable> = this.client;
    const server: Remote<Closable> = this.server;
    try {
      await client.call("close", undefined);
      await server.call("close", undefined);
    } finally {
      await Promise.all([client.end(), server.end()]);
    }
  }
}
