/**
 * `smcnet chk`: what this host can do, shown by doing it: one connection to a thread, one to another process; or
 * what carries a connection to a server.
 *
 * Owns the live tests and their text. Why a device is absent is the product's to say; here it is only printed.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import type { AddressInfo, Socket } from "node:net";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import type { DeviceRecord } from "../diag/records.js";
import type { SmcStatus } from "../net/status.js";
import { DIAGNOSIS, diagnosisName } from "../wire/clc-diagnosis.js";
import { PACKAGE_FOLDER } from "./package.js";
import { UsageError } from "./usage.js";

/** Starts the process that answers. */
export const CHECK_ARGUMENT = "--answer-chk";

export const CHK_USAGE = `smcnet chk [ADDRESS:PORT] [options]

Says which devices this host has, or why not, and makes a live connection to a thread and to a process of its own.
With the address of a server it connects to that, sends nothing, and says what carries the connection: then the exit
code is 0 for SMC and 1 for TCP. ADDRESS may be a name; one of IPv6 is written [ADDRESS]:PORT.

--json               one JSON object`;

/** For a server to take the connection. */
const CONNECT_LIMIT_MS = 10_000;
const MESSAGE = Buffer.from("smcnet chk");

/** How one live test ended. */
interface LiveTest {
  readonly to: "a thread" | "a process";
  readonly status: SmcStatus | undefined;
}

export async function chkCommand(argv: readonly string[], write: (line: string) => void): Promise<number> {
  const { json, server } = parse(argv);
  return server === undefined ? await checkHost(json, write) : await checkServer(server, json, write);
}

async function checkHost(json: boolean, write: (line: string) => void): Promise<number> {
  const smc = await import("smcnet");
  const devices = smc.devices();
  const tests: LiveTest[] = [
    { to: "a thread", status: await viaThread() },
    { to: "a process", status: await viaProcess() },
  ];
  if (json) write(JSON.stringify({ devices, tests }));
  else {
    for (const device of devices) write(deviceLine(device));
    for (const { to, status } of tests) write(`live test, ${to}`.padEnd(22) + verdict(status));
  }
  return 0;
}

/** Connects as any program would, and goes again without a byte. Errors: Error with the address and why it failed. */
async function checkServer(server: Server, json: boolean, write: (line: string) => void): Promise<number> {
  const { connect } = await import("smcnet");
  const name = `${server.host.includes(":") ? `[${server.host}]` : server.host}:${server.port}`;
  const socket = connect({ ...server });
  let status: SmcStatus | undefined;
  try {
    socket.setTimeout(CONNECT_LIMIT_MS, () => socket.destroy(new Error(`no answer in ${CONNECT_LIMIT_MS} ms`)));
    await once(socket, "connect");
    status = socket.smc;
  } catch (error) {
    throw new Error(`${name}: ${(error as NodeJS.ErrnoException).code ?? (error as Error).message}`);
  } finally {
    socket.destroy();
  }
  write(json ? JSON.stringify({ server: name, status }) : `${name.padEnd(21)} ${verdict(status)}`);
  return status?.mode === "TCP" ? 1 : 0;
}

interface Server {
  readonly host: string;
  readonly port: number;
}

/** Errors: UsageError. */
function serverOf(text: string): Server {
  const [, bracketed, plain, digits] = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]/]+)):(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  const host = bracketed ?? plain;
  if (host === undefined || port === 0 || port > 65_535)
    throw new UsageError(`"${text}" is not ADDRESS:PORT`, CHK_USAGE);
  return { host, port };
}

function parse(argv: readonly string[]): { readonly json: boolean; readonly server: Server | undefined } {
  const options = { json: { type: "boolean", default: false } } as const;
  let parsed: { values: { json: boolean }; positionals: string[] };
  try {
    parsed = parseArgs({ args: [...argv], options, allowPositionals: true });
  } catch (error) {
    throw new UsageError((error as Error).message, CHK_USAGE);
  }
  const [server, ...rest] = parsed.positionals;
  if (rest.length > 0) throw new UsageError("one server at a time", CHK_USAGE);
  return { json: parsed.values.json, server: server === undefined ? undefined : serverOf(server) };
}

function deviceLine({ name, gid, gidExt, chid, reason }: DeviceRecord): string {
  const head = `device ${name}`.padEnd(22);
  if (reason !== undefined) return `${head}absent: ${reason}`;
  return `${head}SMC-D, CHID ${chid?.toString(16).padStart(4, "0")}, GID ${gid}:${gidExt}`;
}

function verdict(status: SmcStatus | undefined): string {
  if (status === undefined) return "the connection failed";
  if (status.mode === "SMCD") return `SMC-D over ${status.device}`;
  const { name = "", detail, peerDiagnosis } = status.fallback ?? {};
  const declined = peerDiagnosis === undefined ? "" : ` (${diagnosisName(peerDiagnosis)})`;
  const meaning = (DIAGNOSIS as Readonly<Record<string, { readonly meaning: string }>>)[name]?.meaning;
  return `TCP: ${name}${declined}, ${detail ?? meaning ?? "for a reason of another system"}`;
}

async function viaThread(): Promise<SmcStatus | undefined> {
  const worker = new Worker(join(PACKAGE_FOLDER, "dist", "cli.mjs"));
  try {
    const [port] = (await once(worker, "message")) as [number];
    return await echo(port);
  } finally {
    await worker.terminate();
  }
}

async function viaProcess(): Promise<SmcStatus | undefined> {
  const child = fork(join(PACKAGE_FOLDER, "dist", "cli.mjs"), [CHECK_ARGUMENT]);
  try {
    const [port] = (await once(child, "message")) as [number];
    return await echo(port);
  } finally {
    child.kill();
  }
}

/** Sends a message, waits for its echo, and tells what carried it. */
async function echo(port: number): Promise<SmcStatus | undefined> {
  const { connect } = await import("smcnet");
  const socket = connect({ port, host: "127.0.0.1" });
  try {
    socket.write(MESSAGE);
    const [answer] = (await once(socket, "data")) as [Buffer];
    return answer.equals(MESSAGE) ? socket.smc : undefined;
  } catch {
    return undefined;
  } finally {
    socket.destroy();
  }
}

/** The other process: echoes whatever comes until it is killed. */
export async function answerCheck(): Promise<void> {
  const { createServer } = await import("smcnet");
  const server = createServer((socket: Socket) => socket.on("error", () => {}).pipe(socket));
  server.listen(0, "127.0.0.1", () => process.send?.((server.address() as AddressInfo).port));
}
