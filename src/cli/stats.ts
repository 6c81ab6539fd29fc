/**
 * `smcnet stats`: prints counters, of a snapshot that a program saved or of an exchange made for the purpose.
 *
 * Owns the check of a snapshot from a file, and the exchange: an echo between two threads. Counters belong to the stack
 * of one event loop; the ones printed for the exchange are the client's.
 */
import { readFile } from "node:fs/promises";
import type { AddressInfo, Socket } from "node:net";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { parentPort, Worker } from "node:worker_threads";
import { COUNTERS, type CountersSnapshot, HISTOGRAMS, toSmcdJson } from "../diag/counters.js";
import { diagnosisName } from "../wire/clc-diagnosis.js";
import { PACKAGE_FOLDER } from "./package.js";
import { renderStats } from "./render.js";
import { UsageError } from "./usage.js";

const USAGE = `smcnet stats [FILE.json] [options]

Prints the counters in FILE.json, which holds what smc.stats() returned, as JSON. Without a file it makes an echo
exchange between two threads of its own and prints what the client's side counted.

-d, --details        by version and side, fallback reasons, special calls
--json               one JSON object with the keys of smcd`;

const OPTIONS = {
  details: { type: "boolean", short: "d", default: false },
  json: { type: "boolean", default: false },
} as const;

/** The built-in exchange: messages there and back. */
const MESSAGES = 100;
const MESSAGE_BYTES = 1000;

export async function statsCommand(argv: readonly string[], write: (line: string) => void): Promise<void> {
  const { values, positionals } = parse(argv);
  const [file, ...rest] = positionals;
  if (rest.length > 0) throw new UsageError("one file at a time", USAGE);
  const counts = file === undefined ? await countExchange() : await readSnapshot(file);
  if (values.json) return write(JSON.stringify(toSmcdJson(counts)));
  const source =
    file ?? `a built-in exchange: ${MESSAGES} messages of ${MESSAGE_BYTES} bytes echoed between two threads`;
  write(`Counters of ${source}\n`);
  write(renderStats(counts, { details: values.details, reasonName: diagnosisName }).trimEnd());
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({ args: [...argv], options: OPTIONS, allowPositionals: true });
  } catch (error) {
    throw new UsageError((error as Error).message, USAGE);
  }
}

/** Errors: the file system's; Error naming the file and what of a snapshot it lacks. */
async function readSnapshot(file: string): Promise<CountersSnapshot> {
  const text = await readFile(file, "utf8");
  const refuse = (what: string): never => {
    throw new Error(`${file} holds no snapshot of smc.stats(): ${what}`);
  };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    refuse((error as Error).message);
  }
  if (typeof value !== "object" || value === null) return refuse("it is no object");
  const fields = value as Record<string, unknown>;
  for (const name of Object.keys(COUNTERS)) if (!Number.isFinite(fields[name])) refuse(`${name} is no number`);
  for (const name of Object.keys(HISTOGRAMS)) if (!isBins(fields[name])) refuse(`${name} is no list of numbers`);
  const { fallback } = fields as { fallback?: { client?: unknown; server?: unknown } };
  if (!isFallback(fallback?.client) || !isFallback(fallback?.server)) refuse("fallback is incomplete");
  return value as CountersSnapshot;
}

function isBins(value: unknown): boolean {
  return Array.isArray(value) && value.every((bin) => Number.isFinite(bin));
}

function isFallback(value: unknown): boolean {
  const { total, reasons } = (value ?? {}) as { total?: unknown; reasons?: unknown };
  return (
    Number.isFinite(total) &&
    Array.isArray(reasons) &&
    reasons.every((reason) => Number.isFinite(reason?.code) && Number.isFinite(reason?.count))
  );
}

/** The client's side of the exchange, and what its stack counted. */
async function countExchange(): Promise<CountersSnapshot> {
  const smc = await import("smcnet");
  const worker = new Worker(join(PACKAGE_FOLDER, "dist", "cli.mjs"));
  try {
    const port = await new Promise<number>((resolve, reject) => {
      worker.once("message", resolve);
      worker.once("error", reject);
    });
    await exchange(smc.connect({ port, host: "127.0.0.1", noDelay: true }));
    return smc.stats();
  } finally {
    await worker.terminate();
  }
}

/** Sends each message when the one before has come back. */
function exchange(socket: Socket): Promise<void> {
  const message = Buffer.alloc(MESSAGE_BYTES, "smcnet ");
  let left = MESSAGES;
  let received = 0;
  return new Promise((resolve, reject) => {
    socket.on("error", reject);
    socket.on("data", (piece: Buffer) => {
      received += piece.length;
      if (received < MESSAGE_BYTES) return;
      received = 0;
      if (--left > 0) socket.write(message);
      else socket.end();
    });
    socket.on("close", () => (left === 0 ? resolve() : reject(new Error("the exchange was cut off"))));
    socket.write(message);
  });
}

/** The server's side, in the Worker: echoes whatever comes. */
export async function answerExchange(): Promise<void> {
  const { createServer } = await import("smcnet");
  const server = createServer((socket: Socket) => socket.pipe(socket));
  server.listen(0, "127.0.0.1", () => parentPort?.postMessage((server.address() as AddressInfo).port));
}
