/**
 * Where other processes ask this one: a unix socket in the runtime directory, which answers one question a connection.
 *
 * Owns the socket, its name, who may ask and how long that may take. Knows no question (question.ts, threads.ts). It never
 * keeps the process alive. What killed processes left is swept (reach.ts).
 *
 *   <runtime directory>/d/PID-RANDOM    0600
 *
 * Who may: the own user. The file's mode says so to the kernel, and where FFI is at hand the kernel says who asks. In a
 * directory that a group shares the name is visible before its mode is set, so there FFI is needed.
 */
import { randomBytes } from "node:crypto";
import { chmodSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import type { SmcOptions } from "../config.js";
import { loadLibc } from "../host/libc.js";
import { peerCredentials } from "../host/unix-socket.js";
import { debug } from "../trace.js";
import { parseQuestion, QUESTION_LIMIT, type Question, type Reply } from "./question.js";
import { openEndpointFolder, sweepEndpoints } from "./reach.js";
import type { Round } from "./threads.js";

/** Clients at a time, and how long one may take to ask and again to read, ms. */
const MOST_CLIENTS = 8;
const PATIENCE_MS = 2000;
/** From our start until the endpoints of killed processes are cleared away, ms. */
const SWEEP_AFTER_MS = 2500;
const LINE_FEED = 0x0a;
const PRIVATE_FILE = 0o600;

/** The package's version, which the build puts in. */
declare const SMCNET_VERSION: string | undefined;
const VERSION = typeof SMCNET_VERSION === "string" ? SMCNET_VERSION : "source";

export interface EndpointHost {
  readonly options: SmcOptions;
  ask(question: Question): Promise<Round>;
}

/** Opens it. Returns: what closes it; undefined where there is no runtime directory to be used, as the trace says. */
export function openEndpoint(host: EndpointHost): (() => void) | undefined {
  const { ffi } = host.options;
  const folder = openEndpointFolder(host.options);
  if ("reason" in folder) {
    debug("no endpoint: %s", folder.reason);
    return undefined;
  }
  if (folder.shared && (!ffi || "reason" in loadLibc())) {
    debug("no endpoint: %s is shared, and nobody tells who asks", folder.path);
    folder.close();
    return undefined;
  }
  const endpoint = new Endpoint(host);
  endpoint.listen(folder.at(`${process.pid}-${randomBytes(4).toString("hex")}`));
  const sweep = setTimeout(() => sweepEndpoints(folder), SWEEP_AFTER_MS).unref();
  const close = (): void => {
    clearTimeout(sweep);
    process.off("exit", close);
    // The file is removed by its path, which needs the folder.
    endpoint.close(() => folder.close());
  };
  process.once("exit", close);
  return close;
}

class Endpoint {
  readonly #host: EndpointHost;
  readonly #server: Server;
  #clients = 0;

  constructor(host: EndpointHost) {
    this.#host = host;
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#client(socket));
    this.#server.on("error", (error) => debug("endpoint: %s", error.message));
    this.#server.unref();
  }

  /** Exclusive: in a cluster worker it would be the primary's socket otherwise. */
  listen(path: string): void {
    try {
      this.#server.listen({ path, exclusive: true });
      if (this.#server.listening) chmodSync(path, PRIVATE_FILE);
    } catch (error) {
      debug("no endpoint: %s", (error as Error).message);
    }
  }

  close(closed: () => void): void {
    this.#server.close(closed);
  }

  #client(socket: Socket): void {
    if (this.#clients >= MOST_CLIENTS || !this.#mayAsk(socket)) {
      socket.destroy();
      return;
    }
    this.#clients++;
    const pieces: Buffer[] = [];
    let length = 0;
    let timer = setTimeout(() => socket.destroy(), PATIENCE_MS).unref();
    socket.unref();
    socket.on("error", () => {});
    socket.once("close", () => {
      clearTimeout(timer);
      this.#clients--;
    });
    const take = (piece: Buffer): void => {
      const end = piece.indexOf(LINE_FEED);
      const part = end < 0 ? piece : piece.subarray(0, end);
      length += part.length;
      if (length > QUESTION_LIMIT) {
        socket.destroy();
        return;
      }
      pieces.push(part);
      if (end < 0) return;
      socket.off("data", take);
      socket.resume();
      void this.#reply(Buffer.concat(pieces).toString("utf8")).then((reply) => {
        clearTimeout(timer);
        timer = setTimeout(() => socket.destroy(), PATIENCE_MS).unref();
        socket.end(`${JSON.stringify(reply)}\n`);
      });
    };
    socket.on("data", take);
    socket.once("end", () => {
      if (socket.listeners("data").includes(take)) socket.destroy();
    });
  }

  #mayAsk(socket: Socket): boolean {
    if (!this.#host.options.ffi || "reason" in loadLibc()) return true;
    const { fd } = (socket as unknown as { _handle: { fd: number } })._handle;
    return peerCredentials(fd)?.uid === process.geteuid?.();
  }

  /** Never rejects: whoever asks nonsense is told so. */
  async #reply(text: string): Promise<Reply | { readonly error: string }> {
    try {
      const { threads, silent } = await this.#host.ask(parseQuestion(text));
      const program = process.argv[1] ?? process.title;
      return { smcnet: VERSION, pid: process.pid, program, threads, silent };
    } catch (error) {
      return { error: (error as Error).message };
    }
  }
}
