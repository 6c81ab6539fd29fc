/**
 * A server that has sent its Accept and does not read the Confirm until it is told to: the moment in which the client is live on
 * SMC and the server does not know it yet.
 *
 * Owns the hold on the TCP handles below the server's sockets.
 */
import type { Server } from "node:net";
import * as smc from "../../src/index.js";

/** A TCP handle, as far as a test has to hold it up. */
interface TcpHandle {
  readStart(): void;
  readStop(): void;
}
interface ListeningHandle {
  onconnection: (error: number, client: TcpHandle) => void;
}

/** From now on the server reads nothing more once it has sent an Accept. Returns: what lets it read on. */
export function holdConfirms(server: Server): () => void {
  const handle = (server as unknown as { _handle: ListeningHandle })._handle;
  const { onconnection } = handle;
  const held: TcpHandle[] = [];
  handle.onconnection = function (error, client) {
    held.push(client);
    onconnection.call(this, error, client);
  };
  const hold = (message: unknown): void => {
    const { role, direction } = message as { role: string; direction: string };
    if (role === "server" && direction === "sent") for (const tcp of held) tcp.readStop();
  };
  smc.channels.clc.subscribe(hold);
  return () => {
    smc.channels.clc.unsubscribe(hold);
    for (const tcp of held) tcp.readStart();
  };
}
