/**
 * A process that runs one of the programs, answers its parent and goes with it. Nothing here imports smcnet: where a socket
 * has `smc`, the preload has given it.
 *
 * Owns the table of programs, and what is noted of every socket by core's own diagnostics channels.
 */
import diagnostics from "node:diagnostics_channel";
import { readdirSync } from "node:fs";
import { createRequire } from "node:module";
import type { Socket } from "node:net";

/** Verb -> what is done. `serve` answers with a port; `converse` takes it and answers with what was seen. */
type Verbs = Readonly<Record<string, (...args: never[]) => unknown>>;

/** Loaded when it is asked for: what the others need would be loaded with it. */
const PROGRAMS: Readonly<Record<string, () => Promise<Verbs>>> = {
  aborts: () => import("./programs/aborts.js"),
  cluster: () => import("./programs/cluster.js"),
  fastify: () => import("./programs/fastify.js"),
  fetch: () => import("./programs/fetch.js"),
  h2c: () => import("./programs/h2c.js"),
  https: () => import("./programs/https.js"),
  relay: () => import("./programs/relay.js"),
  "socket.io": () => import("./programs/socket-io.js"),
  stores: () => import("./programs/stores.js"),
  undici: () => import("./programs/undici.js"),
  ws: () => import("./programs/ws.js"),
};

/** What carried sockets, by side: device, or TCP; "none" where no preload tells. */
export interface Carriers {
  readonly client: readonly string[];
  readonly server: readonly string[];
}

/** What a process holds. Memory in bytes, after garbage collection. */
export interface Ledger {
  readonly heapBytes: number;
  readonly externalBytes: number;
  readonly rssBytes: number;
  readonly descriptors: number;
  /** Connections carried by SMC, free pages of the arena, lost wake-ups: as smcnet tells; 0 without the preload. */
  readonly sockets: number;
  readonly pages: number;
  readonly doorbellRescued: number;
}

export interface Reply {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: string;
}

const carriers = { client: [] as string[], server: [] as string[] };
const carrierOf = ({ smc }: Socket): string => smc?.device ?? smc?.mode ?? "none";

diagnostics.subscribe("net.client.socket", (message) => {
  const { socket } = message as { socket: Socket };
  socket.once("connect", () => carriers.client.push(carrierOf(socket)));
});
diagnostics.subscribe("net.server.socket", (message) => {
  const { socket } = message as { socket: Socket };
  // Not those of unix sockets: by them smcnet meets its neighbours.
  if (socket.remoteAddress !== undefined) carriers.server.push(carrierOf(socket));
});

const general: Verbs = {
  carriers: (): Carriers => ({ client: carriers.client.splice(0), server: carriers.server.splice(0) }),
  async ledger(): Promise<Ledger> {
    for (let i = 0; i < 3; i++) {
      globalThis.gc?.();
      await new Promise((resolve) => setImmediate(resolve));
    }
    const { heapUsed, external, rss } = process.memoryUsage();
    const descriptors = readdirSync("/proc/self/fd").length;
    const held = { heapBytes: heapUsed, externalBytes: external, rssBytes: rss, descriptors };
    const { SMC_TEST_INDEX: index } = process.env;
    if (index === undefined) return { ...held, sockets: 0, pages: 0, doorbellRescued: 0 };
    const smc = createRequire(import.meta.url)(index) as typeof import("../../src/index.js");
    const { doorbellRescued } = smc.stats() as unknown as { doorbellRescued: number };
    return { ...held, sockets: smc.sockets().length, pages: smc.poolFreePages(), doorbellRescued };
  },
};

const program = PROGRAMS[process.argv[2]!]!();

process.on("message", async ({ id, verb, args }: { id: number; verb: string; args: never[] }) => {
  let reply: Reply;
  try {
    reply = { id, value: await (general[verb] ?? (await program)[verb])!(...args) };
  } catch (cause) {
    reply = { id, error: String((cause as Error).stack) };
  }
  if (process.connected) process.send!(reply);
});
process.on("disconnect", () => process.exit());
