/**
 * The two sides of `short`: a server that answers one request on each connection, and a client that opens and closes them.
 *
 * Owns the life of one connection: connect, a request, its answer compared, both ends closed. What carries it is checked at the
 * server, for both: what `socket.smc` says takes a while to put together. Knows nothing of rates.
 */
import type { Socket } from "node:net";
import { nowUs } from "./clock.js";
import { patternAt } from "./pattern.js";
import { eventEcho } from "./rtt.js";
import type { Operations, SideSetup } from "./side.js";
import { type Address, listen, loadTransport, type SocketTransport } from "./transports.js";

/** Requests that differ: the stream's position moves by so many bytes with each connection. */
const STEP = 8;

/** Connections that were opened, used and closed. */
export interface Visits {
  readonly count: number;
  readonly seconds: number;
}

export interface VisitedSide extends Operations {
  listen(argument: undefined): Promise<Address>;
  /** Connections that are not closed yet. */
  open(argument: undefined): number;
  close(argument: undefined): void;
}
export interface VisitingSide extends Operations {
  meet(address: Address): void;
  /** For that long, ms, opens a connection whenever one has closed; resolves when all have. */
  round(durationMs: number): Promise<Visits>;
  close(argument: undefined): void;
}

export async function visitedSide(setup: SideSetup): Promise<VisitedSide> {
  const way = await loadTransport(setup);
  const open = new Set<Socket>();
  const server = way.createServer((socket) => {
    way.check(socket);
    open.add(socket);
    socket.on("close", () => open.delete(socket));
    const answer = eventEcho(setup.params.bytes!, (message) => socket.write(message));
    socket.on("data", answer);
  });
  return {
    listen: () => listen(setup.transport, server),
    open: () => open.size,
    close() {
      for (const socket of open) socket.destroy();
      server.close();
    },
  };
}

/** One connection from its opening to the close of both ends. Errors: of the socket; an answer that is short or differs. */
function visit(way: SocketTransport, address: Address, request: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    const answer = Buffer.allocUnsafe(request.length);
    let filled = 0;
    const socket = way.connect(address);
    socket.on("error", reject);
    socket.on("data", (piece: Buffer) => {
      if (filled + piece.length > answer.length) reject(new Error("more bytes came back than were sent"));
      filled += piece.copy(answer, filled);
      if (filled === answer.length) socket.end();
    });
    socket.on("close", () => {
      if (filled === answer.length && answer.equals(request)) resolve();
      else reject(new Error(`a connection closed with ${filled} bytes of its answer, or they differ`));
    });
    socket.write(request);
  });
}

export async function visitingSide(setup: SideSetup): Promise<VisitingSide> {
  const way = await loadTransport(setup);
  const { bytes, connections } = setup.params;
  let address: Address | undefined;
  let visits = 0;
  return {
    meet(where) {
      address = where;
    },
    async round(durationMs) {
      const startedUs = nowUs();
      const untilUs = startedUs + durationMs * 1000;
      const before = visits;
      const lane = async () => {
        while (nowUs() < untilUs) await visit(way, address!, patternAt(STEP * visits++, bytes!));
      };
      await Promise.all(Array.from({ length: connections! }, lane));
      return { count: visits - before, seconds: (nowUs() - startedUs) / 1e6 };
    },
    close: () => {},
  };
}
