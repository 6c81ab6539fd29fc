/**
 * http: how many requests a second does an `http` server answer over keep-alive connections?
 *
 * Method: an `http` server in one Worker, in another one client that keeps each connection busy with one request at a
 * time through `http.Agent`; the same code for all transports, only `createConnection` differs. Each response has 1 KiB
 * that depends on its URL and is compared. rtt_p99 is the time of a whole request.
 * Does not show: other clients (this one takes more CPU than the server), pipelining, connection set-up, file access.
 */
import * as http from "node:http";
import { type Load, nowUs, startMeter } from "./clock.js";
import type { Case, Scenario, Subject } from "./harness.js";
import { type Operations, Pair, type SideSetup, type Sides } from "./pair.js";
import { patternAt } from "./pattern.js";
import type { Transport } from "./record.js";
import { percentile } from "./statistics.js";
import { type Address, listen, loadTransport } from "./transports.js";

const BODY_BYTES = 1024;
/** Different bodies; the URL's number picks one. */
const BODIES = 61;

function cases(quick: boolean): readonly Case[] {
  return (quick ? [1, 64] : [1, 16, 64, 256]).map((connections) => ({
    params: { bytes: BODY_BYTES, connections, cpus: 2 },
    transports: ["smcd", "smcd-copy", "tcp", "uds"],
    ...(quick ? { rounds: 3, durationMs: 20 } : { rounds: 5, durationMs: 1000 }),
  }));
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
  readonly load: Load;
}

function bodyOf(url: string): Buffer {
  return patternAt((Number(url.slice(1)) % BODIES) * 8, BODY_BYTES);
}

function answer(request: http.IncomingMessage, response: http.ServerResponse): void {
  response.writeHead(200, { "content-type": "application/octet-stream", "content-length": BODY_BYTES });
  response.end(bodyOf(request.url!));
}

async function serverSide({ transport }: SideSetup): Promise<ServerSide> {
  const server = http.createServer({ keepAliveTimeout: 60_000 }, answer);
  (await loadTransport(transport)).attach(server);
  return {
    listen: () => listen(transport, server),
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** One request. Resolves with its time, µs, once the body is there and right. */
function fetchBody(agent: http.Agent, path: string): Promise<number> {
  const startedUs = nowUs();
  return new Promise((resolve, reject) => {
    const request = http.get({ agent, host: "127.0.0.1", path }, (response) => {
      const pieces: Buffer[] = [];
      response.on("data", (piece: Buffer) => pieces.push(piece));
      response.on("error", reject);
      response.on("end", () => {
        const body = pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
        if (response.statusCode !== 200 || !body.equals(bodyOf(path)))
          reject(new Error(`status ${response.statusCode}, a wrong body of ${body.length} bytes for ${path}`));
        else resolve(nowUs() - startedUs);
      });
    });
    request.on("error", reject);
  });
}

async function clientSide({ transport, params }: SideSetup): Promise<ClientSide> {
  const connections = params.connections!;
  const way = await loadTransport(transport);
  const agent = new http.Agent({ keepAlive: true, maxSockets: connections });
  let opened = 0;
  let carried = 0;
  let requests = 0;
  return {
    async connect(address) {
      const createConnection = () => {
        opened++;
        const socket = way.connect(address);
        return socket.once("connect", () => {
          way.check(socket);
          carried++;
        });
      };
      Object.assign(agent, { createConnection });
      await Promise.all(Array.from({ length: connections }, (_, index) => fetchBody(agent, `/${index}`)));
    },
    async round(durationMs) {
      const stopMeter = startMeter();
      const startedUs = nowUs();
      const untilUs = startedUs + durationMs * 1000;
      const times: number[] = [];
      const worker = async () => {
        while (nowUs() < untilUs) times.push(await fetchBody(agent, `/${requests++}`));
      };
      await Promise.all(Array.from({ length: connections }, worker));
      const seconds = (nowUs() - startedUs) / 1e6;
      if (opened !== connections || carried !== connections)
        throw new Error(`${connections} connections wanted, ${opened} opened, ${carried} connected`);
      times.sort((a, b) => a - b);
      return { count: times.length, seconds, p99Us: percentile(times, 0.99), load: stopMeter() };
    },
    close: () => agent.destroy(),
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
      const { count, seconds, p99Us, load } = await pair.client.call("round", durationMs);
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
