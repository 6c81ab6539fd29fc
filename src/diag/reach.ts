/**
 * Asking processes: finds the endpoints in the runtime directory, puts a question to one, sweeps what killed ones left.
 *
 * Owns the client's side of the endpoint. What comes back is bounded here and checked in answers.ts: nobody knows who made
 * a file. Loads nothing of the stack.
 */
import { closeSync, existsSync, lstatSync, readdirSync, unlinkSync } from "node:fs";
import { connect } from "node:net";
import { openRuntimeDirectory } from "../rendezvous/runtime-directory.js";
import type { Question } from "./question.js";

/** The part of the runtime directory that endpoints lie in, and the names there: PID-RANDOM. */
const ENDPOINTS = "d";
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

/** The directory of endpoints, held by a descriptor: what is put in its place is not followed. */
export interface EndpointFolder {
  /** Of the runtime directory, for people. */
  readonly path: string;
  /** Whether a trusted group writes here too. */
  readonly shared: boolean;
  at(name: string): string;
  close(): void;
}

/** Takes: the options that name the runtime directory. Returns: the folder, made if it is missing; or why there is none. */
export function openEndpointFolder(options: {
  readonly runtimeDir: string;
  readonly shmGids: readonly number[];
}): EndpointFolder | { readonly reason: string } {
  const directory = openRuntimeDirectory({ path: options.runtimeDir, gids: options.shmGids });
  if ("reason" in directory) return directory;
  const { path, shared } = directory;
  try {
    directory.make(ENDPOINTS);
    const descriptor = directory.open(ENDPOINTS);
    const at = (name: string): string => `/proc/self/fd/${descriptor}/${name}`;
    return { path, shared, at, close: () => closeSync(descriptor) };
  } catch (error) {
    return { reason: `${path}/${ENDPOINTS} cannot be used: ${(error as Error).message}` };
  } finally {
    directory.close();
  }
}

/** Endpoints in their folder, by process id. */
export function findEndpoints(folder: EndpointFolder): Found[] {
  let names: string[];
  try {
    names = readdirSync(folder.at(""));
  } catch {
    return [];
  }
  const found = names.flatMap((name): Found[] => {
    const pid = NAME.exec(name)?.[1];
    return pid === undefined ? [] : [{ pid: Number(pid), path: folder.at(name) }];
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
    const stat = lstatSync(path);
    if (stat.isSocket() && Math.abs(Date.now() - stat.mtimeMs) >= YOUNG_MS) unlinkSync(path);
  } catch {
    // Somebody else was faster.
  }
}

/** Removes the endpoints of processes that were killed; one that is alive in this pid namespace is not disturbed. */
export function sweepEndpoints(folder: EndpointFolder): void {
  for (const { pid, path } of findEndpoints(folder).slice(0, MOST_SWEPT)) {
    if (existsSync(`/proc/${pid}`)) continue;
    const socket = connect({ path });
    socket.unref();
    socket.on("connect", () => socket.destroy());
    socket.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ECONNREFUSED") removeOld(path);
    });
  }
}
