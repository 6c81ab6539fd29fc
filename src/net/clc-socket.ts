/**
 * The clcSocket during a handshake: reads and writes on a raw TCP handle that no socket reads yet.
 *
 * Owns the handle's `onread` until it is given back. Keeps count of what it read and wrote, so that a socket that goes on
 * as TCP can leave it out of its own counts.
 */
import { UV_EOF } from "../uv.js";
import { type EngineBinding, localAddressOf, type TcpHandle } from "./binding.js";

export interface ClcSocketPort {
  /** Bytes came; the view is private. */
  bytes(data: Uint8Array): void;
  /** The peer ended (0), or the connection failed (a negative errno of libuv). */
  ended(status: number): void;
}

export class ClcSocket {
  readonly tcp: TcpHandle;
  /** Empty when the handle is connected no more. */
  readonly localAddress: string;
  readonly #engine: EngineBinding;
  readonly #ownBuffer: () => Uint8Array | undefined;
  #port: ClcSocketPort | undefined;
  readonly #onread: TcpHandle["onread"];
  #reading = false;
  #bytesRead = 0;
  #bytesWritten = 0;

  /**
   * Takes: localAddress, as far as it is known already; ownBuffer, where a socket with the `onread` option has its handle put
   *        what it reads.
   */
  constructor(engine: EngineBinding, tcp: TcpHandle, localAddress?: string, ownBuffer?: () => Uint8Array | undefined) {
    this.#engine = engine;
    this.tcp = tcp;
    this.localAddress = localAddress ?? localAddressOf(tcp);
    this.#ownBuffer = ownBuffer ?? (() => undefined);
    // An accepted handle has none yet; the engine aborts on anything but a function.
    this.#onread = typeof tcp.onread === "function" ? tcp.onread : () => {};
  }

  /** Reads on, for `port` from now on. An end that another one was told of comes again. */
  startReading(port: ClcSocketPort): void {
    this.#port = port;
    if (this.#reading) return;
    this.#reading = true;
    this.tcp.onread = (buffer) => this.#read(buffer);
    this.tcp.readStart();
  }

  #read(buffer: ArrayBuffer | undefined): void {
    const { state, READ_BYTES_OR_ERROR, ARRAY_BUFFER_OFFSET } = this.#engine;
    const length = state[READ_BYTES_OR_ERROR]!;
    if (length === 0) return;
    if (length > 0) {
      this.#bytesRead += length;
      const bytes =
        buffer === undefined
          ? (this.#ownBuffer() ?? new Uint8Array(0)).slice(0, length)
          : new Uint8Array(buffer, state[ARRAY_BUFFER_OFFSET], length);
      this.#port?.bytes(bytes);
      return;
    }
    // Whoever starts reading anew, here or for the application, is told of the end as well.
    this.tcp.readStop();
    this.#reading = false;
    this.#port?.ended(length === UV_EOF ? 0 : length);
  }

  /** One message in one write; a negative errno when it could not be written. */
  send(message: Uint8Array): number {
    const { state, WriteWrap, LAST_WRITE_ERROR } = this.#engine;
    this.#bytesWritten += message.length;
    if (LAST_WRITE_ERROR < 0) {
      const request = new WriteWrap();
      request.handle = this.tcp;
      request.oncomplete = () => {};
      return this.tcp.writeBuffer(request, message) as number;
    }
    const result = this.tcp.writeBuffer(null, message);
    if (typeof result === "number") return result;
    (result as { oncomplete: unknown }).oncomplete = () => {};
    return state[LAST_WRITE_ERROR]!;
  }

  /**
   * Gives the handle back as it was, for TCP.
   *
   * Takes: givenBack, bytes read here that the application will see after all.
   */
  giveBack(givenBack: number): void {
    // Http has a socket read while it still connects: then the socket believes that its handle is being read.
    if (this.tcp.reading) this.tcp.readStart();
    else if (this.#reading) this.tcp.readStop();
    this.#reading = false;
    this.tcp.onread = this.#onread;
    this.#hideCounts(this.#bytesRead, this.#bytesWritten, givenBack);
  }

  /** CLC bytes are not the application's: they do not show in bytesRead and bytesWritten. */
  #hideCounts(read: number, written: number, givenBack: number): void {
    if (read + written === 0) return;
    const hide = (name: "bytesRead" | "bytesWritten", bytes: number): void => {
      const prototype = Object.getPrototypeOf(this.tcp) as TcpHandle;
      Object.defineProperty(this.tcp, name, {
        configurable: true,
        get: () => (Reflect.get(prototype, name, this.tcp) as number) - bytes,
      });
    };
    hide("bytesRead", read - givenBack);
    hide("bytesWritten", written);
  }
}
