/**
 * `smcnet stats`: prints counters, of running processes, of a snapshot that a program saved, or of an exchange made for the
 * purpose.
 *
 * Owns the exchange: an echo between two threads. Counters belong to the stack of one event loop; the ones printed for the
 * exchange are the client's, those of processes are added up.
 */
import { readFile } from "node:fs/promises";
import type { AddressInfo, Socket } from "node:net";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { parentPort, Worker } from "node:worker_threads";
import { type CountersSnapshot, toSmcdJson } from "../diag/counters.js";
import { snapshotFault, totalOf } from "../diag/totals.js";
import { diagnosisName } from "../wire/clc-diagnosis.js";
import { PACKAGE_FOLDER } from "./package.js";
import { askProcesses, PROCESS_OPTION, pidOf } from "./processes.js";
import { renderStats } from "./render.js";
import { UsageError } from "./usage.js";

export const STATS_USAGE = `smcnet stats [show | reset | FILE.json] [options]

show                 counters of running processes that were started with the preload, all their threads added up
reset                the same, and counts from here on
FILE.json            counters that a program saved: what smc.stats() returned, as JSON
Without a word it makes an echo exchange between two threads of its own and prints what the client's side counted.

-a, --absolute       show: since the processes began, whatever was reset
-d, --details        by version and side, fallback reasons, special calls
-p, --pid PID        show, reset: this process alone
--json               one JSON object with the keys of smcd`;

const OPTIONS = {
  ...PROCESS_OPTION,
  absolute: { type: "boolean", short: "a", default: false },
  details: { type: "boolean", short: "d", default: false },
  json: { type: "boolean", default: false },
} as const;

/** The built-in exchange: messages there and back. */
const MESSAGES = 100;
const MESSAGE_BYTES = 1000;

/** Counters, and whose they are. */
interface Source {
  readonly counts: CountersSnapshot;
  readonly of: string;
}

export async function statsCommand(argv: readonly string[], write: (line: string) => void): Promise<void> {
  const { values, positionals } = parse(argv);
  const [word, ...rest] = positionals;
  if (rest.length > 0) throw new UsageError("one word or one file at a time", STATS_USAGE);
  const live = word === "show" || word === "reset";
  if (!live && (values.pid !== undefined || values.absolute))
    throw new UsageError("-p and -a are for running processes: stats show", STATS_USAGE);
  const pid = pidOf(values.pid, STATS_USAGE);
  const { counts, of } = live ? await countProcesses(word === "reset", values.absolute, pid) : await countHere(word);
  if (values.json) return write(JSON.stringify(toSmcdJson(counts)));
  write(`Counters of ${of}\n`);
  write(renderStats(counts, { details: values.details, reasonName: diagnosisName }).trimEnd());
}

async function countProcesses(reset: boolean, absolute: boolean, pid: number | undefined): Promise<Source> {
  const replies = await (reset
    ? askProcesses({ ask: "reset" }, pid)
    : askProcesses({ ask: "counters", absolute }, pid));
  const threads = replies.flatMap((reply) => reply.threads);
  const processes = replies.length === 1 ? "process" : "processes";
  const of = `${replies.length} ${processes}, ${threads.length} ${threads.length === 1 ? "thread" : "threads"}`;
  return { counts: totalOf(threads.map(({ answer }) => answer)), of: reset ? `${of}; reset` : of };
}

async function countHere(file: string | undefined): Promise<Source> {
  if (file !== undefined) return { counts: await readSnapshot(file), of: file };
  const of = `a built-in exchange: ${MESSAGES} messages of ${MESSAGE_BYTES} bytes echoed between two threads`;
  return { counts: await countExchange(), of };
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({ args: [...argv], options: OPTIONS, allowPositionals: true });
  } catch (error) {
    throw new UsageError((error as Error).message, STATS_USAGE);
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
  const fault = snapshotFault(value);
  if (fault !== undefined) refuse(fault);
  return value as CountersSnapshot;
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
