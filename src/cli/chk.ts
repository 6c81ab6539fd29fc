/**
 * `smcnet chk`: what this host can do, shown by doing it: one connection to a thread, one to another process.
 *
 * Owns the two live tests and their text. Why a device is absent is the product's to say; here it is only printed.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import type { AddressInfo, Socket } from "node:net";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import type { DeviceRecord } from "../diag/records.js";
import type { SmcStatus } from "../net/status.js";
import { PACKAGE_FOLDER } from "./package.js";
import { UsageError } from "./usage.js";

/** Starts the process that answers. */
export const CHECK_ARGUMENT = "--answer-chk";

const USAGE = `smcnet chk [options]

Says which devices this host has, or why not, and makes a live connection to a thread and to a process of its own.

--json               one JSON object`;

const MESSAGE = Buffer.from("smcnet chk");

/** How one live test ended. */
interface LiveTest {
  readonly to: "a thread" | "a process";
  readonly status: SmcStatus | undefined;
}

export async function chkCommand(argv: readonly string[], write: (line: string) => void): Promise<void> {
  const json = parse(argv);
  const smc = await import("smcnet");
  const devices = smc.devices();
  const tests: LiveTest[] = [
    { to: "a thread", status: await viaThread() },
    { to: "a process", status: await viaProcess() },
  ];
  if (json) return write(JSON.stringify({ devices, tests }));
  for (const device of devices) write(deviceLine(device));
  for (const { to, status } of tests) write(`live test, ${to}`.padEnd(22) + verdict(status));
}

function parse(argv: readonly string[]): boolean {
  try {
    return parseArgs({ args: [...argv], options: { json: { type: "boolean", default: false } } }).values.json;
  } catch (error) {
    throw new UsageError((error as Error).message, USAGE);
  }
}

function deviceLine({ name, gid, gidExt, chid, reason }: DeviceRecord): string {
  const head = `device ${name}`.padEnd(22);
  if (reason !== undefined) return `${head}absent: ${reason}`;
  return `${head}SMC-D, CHID ${chid?.toString(16).padStart(4, "0")}, GID ${gid}:${gidExt}`;
}

function verdict(status: SmcStatus | undefined): string {
  if (status === undefined) return "the connection failed";
  if (status.mode === "SMCD") return `SMC-D over ${status.device}`;
  const { fallback } = status;
  return `TCP: ${fallback?.name}${fallback?.detail === undefined ? "" : `, ${fallback.detail}`}`;
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
