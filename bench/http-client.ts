/**
 * A load generator that speaks just enough HTTP/1.1: one keep-alive connection, one request at a time.
 *
 * Owns the request's bytes and the reading of one response with a content-length. As cheap as a generator has to be, so
 * that the server is what is measured; a stock client takes more CPU than the server does.
 */
import { once } from "node:events";
import type { Socket } from "node:net";

const HEAD_END = Buffer.from("\r\n\r\n");
const LENGTH = /\r\ncontent-length: (\d+)\r\n/i;

export class HttpConnection {
  readonly #socket: Socket;
  #buffered: Buffer | undefined;
  #resolve: ((body: Buffer) => void) | undefined;
  #reject: ((error: Error) => void) | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (piece: Buffer) => this.#take(piece));
    socket.on("error", (error) => this.#fail(error));
    socket.on("close", () => this.#fail(new Error("the server closed the connection")));
  }

  /** Takes over `socket`, connecting or connected. */
  static async over(socket: Socket): Promise<HttpConnection> {
    if (socket.connecting) await once(socket, "connect");
    return new HttpConnection(socket);
  }

  /** GET; the body of the response. Errors: rejects unless it is a 200 with a content-length. */
  get(path: string): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
      this.#socket.write(`GET ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: keep-alive\r\n\r\n`, "latin1");
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(piece: Buffer): void {
    const bytes = this.#buffered === undefined ? piece : Buffer.concat([this.#buffered, piece]);
    const headEnd = bytes.indexOf(HEAD_END);
    if (headEnd < 0) {
      this.#buffered = bytes;
      return;
    }
    const head = bytes.toString("latin1", 0, headEnd + 2);
    const length = LENGTH.exec(head)?.[1];
    if (!head.startsWith("HTTP/1.1 200 ") || length === undefined) {
      this.#fail(new Error(`not a response this client reads: ${head}`));
      return;
    }
    const start = headEnd + HEAD_END.length;
    const end = start + Number(length);
    if (bytes.length < end) {
      this.#buffered = bytes;
      return;
    }
    this.#buffered = bytes.length === end ? undefined : bytes.subarray(end);
    this.#resolve?.(bytes.subarray(start, end));
  }

  #fail(error: Error): void {
    this.#reject?.(error);
  }
}
