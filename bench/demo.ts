/**
 * The demo: an ordinary `http` static-file server in one thread, a client in another, real files, first over TCP, then over SMC.
 *
 * Owns the choice of files and the report. `npm run demo`, or `node dist/bench/demo.mjs --seconds N` for N seconds over
 * each. Every response is compared with the disk by SHA-256; one difference ends the demo with exit code 1.
 */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";
import { parseArgs } from "node:util";
import { renderSockets } from "../src/cli/render.js";
import type { SocketRecord } from "../src/diag/records.js";
import type { Load } from "./meter.js";
import { Pair } from "./pair.js";
import type { Transport } from "./record.js";
import { BENCH_FOLDER } from "./side.js";
import type { DiskFile, Fetched, StaticClientSide, StaticServerSide } from "./static-sides.js";

/** Files fetched at most, and the largest of them, bytes: a 100 MB file would be all the demo shows. */
const MOST_FILES = 800;
const LARGEST_FILE = 4 << 20;
const CONNECTIONS = 32;
/** Lines of the socket list that are printed, beside its heading. */
const SOCKET_LINES = 8;

interface Result {
  readonly fetched: Fetched;
  readonly load: Load;
  readonly sockets: readonly SocketRecord[];
}

/** The node_modules smcnet brought along or was installed into. */
function modulesFolder(): string {
  const root = dirname(dirname(BENCH_FOLDER));
  const own = join(root, "node_modules");
  return existsSync(own) ? own : dirname(root);
}

/** Up to MOST_FILES files below `root`, taken evenly from the smallest to the largest. */
function chooseFiles(root: string): DiskFile[] {
  const found = readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .map((path) => ({ path, size: statSync(path).size }))
    .filter(({ size }) => size <= LARGEST_FILE)
    .sort((a, b) => a.size - b.size || (a.path < b.path ? -1 : 1));
  const step = Math.max(1, found.length / MOST_FILES);
  const chosen = Array.from({ length: Math.min(MOST_FILES, found.length) }, (_, at) => found[Math.floor(at * step)]!);
  return chosen.map(({ path, size }) => ({
    url: `/${relative(root, path).split(sep).map(encodeURIComponent).join("/")}`,
    size,
    sha256: createHash("sha256").update(readFileSync(path)).digest("hex"),
  }));
}

async function run(transport: Transport, root: string, files: readonly DiskFile[], ms: number): Promise<Result> {
  const params = { connections: CONNECTIONS };
  const pair = new Pair<StaticServerSide, StaticClientSide>("static-sides", transport, params);
  await pair.client.call("connect", await pair.server.call("listen", root));
  // The first pass reads the disk and compiles the code.
  await pair.client.call("fetch", { files, durationMs: 0 });
  const { result: fetched, load } = await pair.meter(() => pair.client.call("fetch", { files, durationMs: ms }));
  const sockets = (await pair.client.call("sockets", undefined)) as readonly SocketRecord[];
  await pair.close();
  return { fetched, load, sockets };
}

interface Figures {
  readonly requests: number;
  readonly megabytes: number;
  readonly cpuUs: number;
}

function figures({ fetched: { requests, bytes, seconds }, load }: Result): Figures {
  const cpuSeconds = ((load.cpuUser + load.cpuSys) / 1000) * seconds;
  return { requests: requests / seconds, megabytes: bytes / seconds / 1e6, cpuUs: (cpuSeconds / requests) * 1e6 };
}

function row(label: string, cells: readonly (string | number)[]): string {
  return label.padEnd(10) + cells.map((cell) => String(cell).padStart(16)).join("");
}

function report(tcp: Result, smc: Result): void {
  const [a, b] = [figures(tcp), figures(smc)];
  const cells = ({ requests, megabytes, cpuUs }: Figures) => [
    requests.toFixed(0),
    megabytes.toFixed(1),
    cpuUs.toFixed(1),
  ];
  console.log(row("", ["requests/s", "MB/s", "CPU us/request"]));
  console.log(row("TCP", cells(a)));
  console.log(row("SMC", cells(b)));
  const ratios = [b.requests / a.requests, b.megabytes / a.megabytes, b.cpuUs / a.cpuUs];
  console.log(
    row(
      "SMC / TCP",
      ratios.map((ratio) => `${ratio.toFixed(2)} x`),
    ),
  );
  console.log(
    `\n${tcp.fetched.requests + smc.fetched.requests} responses compared with the disk by SHA-256, all equal.`,
  );
}

function listSockets(sockets: readonly SocketRecord[]): void {
  const [heading, ...lines] = renderSockets(sockets, { smcd: true }).trimEnd().split("\n");
  if (lines.length !== CONNECTIONS)
    throw new Error(`${lines.length} SMC-D sockets are listed, ${CONNECTIONS} are open`);
  console.log(`\nThe client's sockets:\n${[heading, ...lines.slice(0, SOCKET_LINES)].join("\n")}`);
  if (lines.length > SOCKET_LINES) console.log(`... and ${lines.length - SOCKET_LINES} more`);
}

const { values } = parseArgs({ options: { seconds: { type: "string", default: "8" } } });
const seconds = Number(values.seconds);
if (!(seconds > 0 && seconds <= 50))
  throw new RangeError(`--seconds ${values.seconds}: allowed is more than 0, up to 50`);

const root = modulesFolder();
const files = chooseFiles(root);
const megabytes = files.reduce((sum, { size }) => sum + size, 0) / 1e6;
console.log(`${files.length} files of ${root}, ${megabytes.toFixed(1)} MB, over ${CONNECTIONS} keep-alive connections`);
// The arena is handed down to Workers: it must exist before the first of them does.
await import("smcnet");
const tcp = await run("tcp", root, files, seconds * 1000);
const smc = await run("smcd", root, files, seconds * 1000);
report(tcp, smc);
listSockets(smc.sockets);
