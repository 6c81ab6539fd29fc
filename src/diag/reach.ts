/**
 * Asking processes: finds the endpoints in the runtime directory, puts a question to one, sweeps what killed ones left.
 *
 * Owns the client's side of the endpoint. What comes back is bounded here and checked in answers.ts: nobody knows who made
 * a file. Loads nothing of the stack.
 */
import { existsSync, lstatSync, readdirSync, unlinkSync } from "node:fs";
import { connect } from "node:net";
import { openRuntimeDirectory, type RuntimeDirectory } from "../rendezvous/runtime-directory.js";
import type { Question } from "./question.js";

/** The part of the runtime directory that endpoints lie in, and the names there: PID-RANDOM. */
export const ENDPOINTS = "d";
const NAME = /^([1-9]\d{0,9})-[0-9a-f]{8}$/;

/** A reply at most, bytes: sixty thousand sockets. */
const REPLY_LIMIT = 64 << 20;
/** For a reply, ms: a process whose event loop is blocked gives none. */
const PATIENCE_MS = 3000;
/** A socket that is so young may be about to listen, ms. */
const YOUNG_MS = 2000;
const MOST_SWEPT = 256;

/** An endpoint, as found; perhaps nobody is behind it any more. */
export interface Found {
  readonly pid: number;
  readonly path: string;
}

/** Endpoints in a runtime directory, by process id. */
export function findEndpoints(directory: RuntimeDirectory): Found[] {
  let names: string[];
  try {
    names = readdirSync(directory.at(ENDPOINTS));
  } catch {
    return [];
  }
  const found = names.flatMap((name): Found[] => {
    const pid = NAME.exec(name)?.[1];
    return pid === undefined ? [] : [{ pid: Number(pid), path: directory.at(`${ENDPOINTS}/${name}`) }];
  });
  return found.sort((a, b) => a.pid - b.pid);
}

/** Why there is no reply. */
export type NoReply = "gone" | "silent" | "too long";

/** Errors: none; "gone" for an endpoint of a dead process, which is removed. */
export function askEndpoint({ path }: Found, question: Question, patienceMs = PATIENCE_MS): Promise<string | NoReply> {
  return new Promise((resolve) => {
    const pieces: Buffer[] = [];
    let length = 0;
    const socket = connect({ path });
    const end = (outcome: string): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(outcome);
    };
    const timer = setTimeout(() => end("silent"), patienceMs);
    socket.on("connect", () => socket.write(`${JSON.stringify(question)}\n`));
    socket.on("data", (piece) => {
      pieces.push(piece);
      length += piece.length;
      if (length > REPLY_LIMIT) end("too long");
    });
    socket.on("end", () => end(length === 0 ? "gone" : Buffer.concat(pieces).toString("utf8")));
    socket.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ECONNREFUSED") removeOld(path);
      end(error.code === "EAGAIN" ? "silent" : "gone");
    });
  });
}

function removeOld(path: string): void {
  try {
    if (Math.abs(Date.now() - lstatSync(path).mtimeMs) >= YOUNG_MS) unlinkSync(path);
  } catch {
    // Somebody else was faster.
  }
}

/** Removes the endpoints of processes that were killed; one that is alive in this pid namespace is not disturbed. */
export function sweepEndpoints(directory: RuntimeDirectory): void {
  for (const { pid, path } of findEndpoints(directory).slice(0, MOST_SWEPT)) {
    if (existsSync(`/proc/${pid}`)) continue;
    const socket = connect({ path });
    socket.unref();
    socket.on("connect", () => socket.destroy());
    socket.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ECONNREFUSED") removeOld(path);
    });
  }
}

/** The runtime directory as this process's environment names it. Errors: Error with the reason why there is none. */
export function runtimeDirectory(options: {
  readonly runtimeDir: string;
  readonly shmGids: readonly number[];
}): RuntimeDirectory {
  const directory = openRuntimeDirectory({ path: options.runtimeDir, gids: options.shmGids });
  if ("reason" in directory) throw new Error(`no running process can be reached: ${directory.reason}`);
  return directory;
}
