/**
 * An http server in a cluster of two workers that are replaced one after the other while clients go on asking; and those clients.
 * A worker is this program again, under the name that starts its server.
 */
import cluster, { type Worker } from "node:cluster";
import { once } from "node:events";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { bodyOf, sha256 } from "./seen.js";

const BODY_BYTES = 20_000;

if (cluster.isWorker) {
  const server = http.createServer((request, response) => {
    response.setHeader("x-worker", process.pid);
    response.setHeader("x-carrier", request.socket.smc?.device ?? request.socket.smc?.mode ?? "none");
    // Core ends idle connections alone: one that is always asked for more would keep a leaving worker for ever, over TCP as well.
    response.shouldKeepAlive = server.listening;
    response.end(bodyOf(Number(request.url!.slice(1)), BODY_BYTES));
  });
  // All workers ask for the same: any port, which the primary has picked for the first of them.
  server.listen(0, "127.0.0.1");
}

/** A worker more. Returns: the port of all. */
async function oneMore(): Promise<number> {
  const [{ port }] = (await once(cluster.fork(), "listening")) as [AddressInfo];
  return port;
}

export async function serve(): Promise<number> {
  cluster.setupPrimary({ args: ["cluster"] });
  await oneMore();
  return oneMore();
}

/** Replaces each worker, so many times over. Returns: the pids of all workers that have gone. */
export async function roll(rounds: number): Promise<number[]> {
  const gone: number[] = [];
  for (let i = 0; i < rounds; i++) {
    for (const old of Object.values(cluster.workers!)) {
      await oneMore();
      const exit = once(old!, "exit");
      old!.disconnect();
      await exit;
      gone.push(old!.process.pid!);
    }
  }
  return gone;
}

/** Ends all workers. */
export async function end(): Promise<void> {
  const workers = Object.values(cluster.workers!) as Worker[];
  const exits = workers.map((worker) => once(worker, "exit"));
  for (const worker of workers) worker.kill("SIGKILL");
  await Promise.all(exits);
}

interface Load {
  readonly answers: number;
  readonly workers: readonly number[];
  readonly carriers: readonly string[];
  readonly faults: readonly string[];
}
const load = { answers: 0, workers: new Set<number>(), carriers: new Set<string>(), faults: [] as string[] };
let working: Promise<unknown> | undefined;
let goOn = false;

function get(agent: http.Agent, target: number, number: number): Promise<void> {
  return new Promise((resolve) => {
    const request = http.get({ agent, port: target, host: "127.0.0.1", path: `/${number}` }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", (error) => load.faults.push(`answer ${number}: ${error}`));
      response.on("close", resolve);
      response.on("end", () => {
        load.answers++;
        load.workers.add(Number(response.headers["x-worker"]));
        load.carriers.add(String(response.headers["x-carrier"]));
        if (sha256(Buffer.concat(chunks)) !== sha256(bodyOf(number, BODY_BYTES)))
          load.faults.push(`wrong body ${number}`);
      });
    });
    request.on("error", (error: NodeJS.ErrnoException) => {
      // A server that ends closes connections that have asked nothing yet, by core's own rule: such a request is sent again.
      if (error.code === "ECONNRESET" || error.code === "EPIPE") get(agent, target, number).then(resolve);
      else {
        load.faults.push(`request ${number}: ${error}`);
        resolve();
      }
    });
  });
}

/** Begins to ask, eight at a time, until `answers`. */
export function begin(target: number): void {
  goOn = true;
  const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
  let number = 0;
  const work = async (): Promise<void> => {
    while (goOn) await get(agent, target, number++ % 97);
  };
  working = Promise.all(Array.from({ length: 8 }, work)).then(() => agent.destroy());
}

export const soFar = (): number => load.answers;

export async function answers(): Promise<Load> {
  goOn = false;
  await working;
  return { ...load, workers: [...load.workers], carriers: [...load.carriers] };
}
