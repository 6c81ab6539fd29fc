/**
 * The two sides of the demo: a static-file server, and a client that fetches files and compares their SHA-256.
 *
 * Owns the requests and the comparison. The code is the same for every transport; only how a connection is made differs.
 */
import { createHash } from "node:crypto";
import * as http from "node:http";
import type { Socket } from "node:net";
import { nowUs } from "./clock.js";
import type { Operations, SideSetup, Sides } from "./side.js";
import { staticHandler } from "./static-handler.js";
import { type Address, listen, loadTransport, needsSmc } from "./transports.js";

/** A file on disk: its URL path, its size in bytes, the SHA-256 of its content in hex. */
export interface DiskFile {
  readonly url: string;
  readonly size: number;
  readonly sha256: string;
}

/** What was fetched in one run, all of it compared. */
export interface Fetched {
  readonly requests: number;
  readonly bytes: number;
  readonly seconds: number;
}

export interface StaticServerSide extends Operations {
  listen(root: string): Promise<Address>;
  close(argument: undefined): void;
}
export interface StaticClientSide extends Operations {
  connect(address: Address): void;
  /** Fetches every file once, then goes round again until `durationMs` have passed. */
  fetch(order: { readonly files: readonly DiskFile[]; readonly durationMs: number }): Promise<Fetched>;
  /** smcnet's records of the client's sockets; empty where smcnet is not used. */
  sockets(argument: undefined): Promise<unknown>;
  close(argument: undefined): void;
}

async function serverSide(setup: SideSetup): Promise<StaticServerSide> {
  const server = http.createServer();
  (await loadTransport(setup)).attach(server);
  return {
    listen(root) {
      server.on("request", staticHandler(root));
      return listen(setup.transport, server);
    },
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** Fetch one file. Errors: another status, size or SHA-256 than the disk's. */
function fetchFile(agent: http.Agent, { url, size, sha256 }: DiskFile): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = http.get({ agent, host: "127.0.0.1", path: url }, (response) => {
      const hash = createHash("sha256");
      let received = 0;
      response.on("data", (piece: Buffer) => {
        received += piece.length;
        hash.update(piece);
      });
      response.on("error", reject);
      response.on("end", () => {
        const digest = hash.digest("hex");
        if (response.statusCode === 200 && received === size && digest === sha256) resolve();
        else
          reject(new Error(`${url}: status ${response.statusCode}, ${received} of ${size} bytes, SHA-256 ${digest}`));
      });
    });
    request.on("error", reject);
  });
}

async function clientSide(setup: SideSetup): Promise<StaticClientSide> {
  const connections = setup.params.connections!;
  const way = await loadTransport(setup);
  const agent = new http.Agent({ keepAlive: true, maxSockets: connections });
  return {
    connect(address) {
      const createConnection = (): Socket => {
        const socket = way.connect(address);
        return socket.once("connect", () => way.check(socket));
      };
      Object.assign(agent, { createConnection });
    },
    async fetch({ files, durationMs }) {
      const startedUs = nowUs();
      const untilUs = startedUs + durationMs * 1000;
      let requests = 0;
      let bytes = 0;
      const loop = async () => {
        while (requests < files.length || nowUs() < untilUs) {
          const file = files[requests++ % files.length]!;
          await fetchFile(agent, file);
          bytes += file.size;
        }
      };
      await Promise.all(Array.from({ length: connections }, loop));
      return { requests, bytes, seconds: (nowUs() - startedUs) / 1e6 };
    },
    async sockets() {
      return needsSmc(setup.transport) ? (await import("smcnet")).sockets() : [];
    },
    close: () => agent.destroy(),
  };
}

export const sides: Sides = { server: serverSide, client: clientSide };
