/**
 * Two connected sockets in this thread over a given transport, for tests that need no more than that.
 *
 * Owns the set-up and the tear-down. Knows nothing of what is sent.
 */
import type { AddressInfo, Server, Socket } from "node:net";
import { checkCarrier, type DialOptions, type ServeOptions, type Transport } from "./transports.js";
import { happens } from "./watchdog.js";

export interface Pair {
  readonly server: Server;
  readonly client: Socket;
  /** The server's end of the connection. */
  readonly accepted: Socket;
  /** Destroys both ends and resolves when they and the server are closed. */
  close(): Promise<void>;
}

/** A listening server of the transport on a free port of `host`. */
export async function listen(
  transport: Transport,
  options: ServeOptions = {},
  host = "127.0.0.1",
): Promise<[Server, number]> {
  const server = transport.server.createServer({ ...options, smc: { ...transport.smc, ...options.smc } });
  server.listen(0, host);
  await happens(server, "listening");
  return [server, (server.address() as AddressInfo).port];
}

/** A socket of the transport on its way to `port`, of 127.0.0.1 unless the options say otherwise. */
export function dial(transport: Transport, port: number, options: DialOptions = {}): Socket {
  return transport.client.connect({
    host: "127.0.0.1",
    port,
    ...options,
    smc: { ...transport.smc, ...options.smc },
  });
}

/** Resolves when a socket is closed, at once if it is. Errors of the socket do not count. */
export async function closed(socket: Socket): Promise<void> {
  if (socket.closed) return;
  socket.on("error", () => undefined);
  await new Promise<void>((resolve) => socket.once("close", () => resolve()));
}

/** Resolves when a server, whose connections have ended or are about to, is closed. */
export async function shut(server: Server): Promise<void> {
  const closing = happens(server, "close");
  server.close();
  await closing;
}

/** Both ends connected; each is carried by what the transport promises. */
export async function connectPair(
  transport: Transport,
  options: { server?: ServeOptions; client?: DialOptions } = {},
): Promise<Pair> {
  const [server, port] = await listen(transport, options.server);
  const client = dial(transport, port, options.client);
  const [[accepted]] = (await Promise.all([happens(server, "connection"), happens(client, "connect")])) as unknown as [
    [Socket],
    unknown,
  ];
  checkCarrier(client, transport, "client");
  checkCarrier(accepted, transport, "server");
  return {
    server,
    client,
    accepted,
    async close() {
      client.destroy();
      accepted.destroy();
      await Promise.all([closed(client), closed(accepted)]);
      const done = happens(server, "close");
      server.close();
      await done;
    },
  };
}
