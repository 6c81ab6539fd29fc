/**
 * http: how many requests a second does an `http` server answer over keep-alive connections?
 *
 * Method: a stock `http` server on one side, on the other a load generator (http-client.ts) that keeps each connection busy
 * with one request at a time; the same code for all transports. Each response has 1 KiB that depends on its URL and is
 * compared. rtt_p99 is the time of a whole request.
 * Does not show: stock clients, which take more CPU than the server does, pipelining, connection set-up, file access.
 */
import * as http from "node:http";
import { nowUs } from "./clock.js";
import { type Case, type Scenario, type Subject, unmodified } from "./harness.js";
import { HttpConnection } from "./http-client.js";
import { Pair } from "./pair.js";
import { patternAt } from "./pattern.js";
import type { Transport } from "./record.js";
import type { Operations, SideSetup, Sides } from "./side.js";
import { percentile } from "./statistics.js";
import { type Address, listen, loadTransport } from "./transports.js";

const BODY_BYTES = 1024;
/** Different bodies; the URL's number picks one. */
const BODIES = 61;

function cases(quick: boolean): readonly Case[] {
  const timing = quick ? { rounds: 3, durationMs: 20 } : { rounds: 5, durationMs: 1000 };
  const explicit = (quick ? [1, 64] : [1, 16, 64, 256]).map(
    (connections): Case => ({
      params: { bytes: BODY_BYTES, connections, cpus: 2 },
      transports: ["smcd", "smcd-copy", "tcp", "uds"],
      ...timing,
    }),
  );
  const preloaded = (quick ? [1] : [1, 64]).flatMap((connections) =>
    unmodified({ params: { bytes: BODY_BYTES, connections, cpus: 2 }, ...timing }),
  );
  return [...explicit, ...preloaded];
}

interface ServerSide extends Operations {
  listen(argument: undefined): Promise<Address>;
  close(argument: undefined): void;
}
interface ClientSide extends Operations {
  connect(address: Address): Promise<void>;
  /** Requests for that long, ms, on all connections. */
  round(durationMs: number): Promise<Requests>;
  close(argument: undefined): void;
}
interface Requests {
  readonly count: number;
  readonly seconds: number;
  readonly p99Us: number;
}

function bodyOf(url: string): Buffer {
  return patternAt((Number(url.slice(1)) % BODIES) * 8, BODY_BYTES);
}

function answer(request: http.IncomingMessage, response: http.ServerResponse): void {
  response.writeHead(200, { "content-type": "application/octet-stream", "content-length": BODY_BYTES });
  response.end(bodyOf(request.url!));
}

async function serverSide(setup: SideSetup): Promise<ServerSide> {
  const server = http.createServer({ keepAliveTimeout: 60_000 }, answer);
  (await loadTransport(setup)).attach(server);
  return {
    listen: () => listen(setup.transport, server),
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** One request on `connection`. Resolves with its time, µs, once the body is there and right. */
async function fetchBody(connection: HttpConnection, number: number): Promise<number> {
  const startedUs = nowUs();
  const path = `/${number}`;
  const body = await connection.get(path);
  const tookUs = nowUs() - startedUs;
  if (!body.equals(bodyOf(path))) throw new Error(`a wrong body of ${body.length} bytes for ${path}`);
  return tookUs;
}

async function clientSide(setup: SideSetup): Promise<ClientSide> {
  const way = await loadTransport(setup);
  let connections: HttpConnection[] = [];
  let requests = 0;
  return {
    async connect(address) {
      const connectOne = async (): Promise<HttpConnection> => {
        const socket = way.connect(address);
        const connection = await HttpConnection.over(socket);
        way.check(socket);
        await fetchBody(connection, requests++);
        return connection;
      };
      connections = await Promise.all(Array.from({ length: setup.params.connections! }, connectOne));
    },
    async round(durationMs) {
      const startedUs = nowUs();
      const untilUs = startedUs + durationMs * 1000;
      const times: number[] = [];
      const work = async (connection: HttpConnection): Promise<void> => {
        while (nowUs() < untilUs) times.push(await fetchBody(connection, requests++));
      };
      await Promise.all(connections.map(work));
      const seconds = (nowUs() - startedUs) / 1e6;
      times.sort((a, b) => a - b);
      return { count: times.length, seconds, p99Us: percentile(times, 0.99) };
    },
    close: () => {
      for (const connection of connections) connection.close();
    },
  };
}

async function open(transport: Transport, { params, durationMs }: Case): Promise<Subject> {
  const pair = new Pair<ServerSide, ClientSide>("http", transport, params);
  await pair.client.call("connect", await pair.server.call("listen", undefined));
  return {
    async warmUp() {
      await pair.client.call("round", durationMs);
    },
    async round() {
      const { result, load } = await pair.meter(() => pair.client.call("round", durationMs));
      const { count, seconds, p99Us } = result;
      return [
        { metric: "requests", value: count / seconds, load },
        { metric: "rtt_p99", value: p99Us, load },
      ];
    },
    close: () => pair.close(),
  };
}

export const scenario: Scenario = { name: "http", isolated: false, cases, open };
export const sides: Sides = { server: serverSide, client: clientSide };
