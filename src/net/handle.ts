/**
 * The handle that replaces TCP's under a stock net.Socket: a native JSStream whose reads and writes go to a connection.
 *
 * Owns the translation between the engine's stream protocol and the connection. The socket, its prototype and its events
 * stay the engine's own. Reads stay in JavaScript (`onread`) until something native asks for a StreamBase (http, tls, http2);
 * from then on they go through readBuffer. What keeps the process alive is handle-life.ts's.
 */
import { type Connection, type ConnectionOwner, SWALLOW } from "../conn/connection.js";
import type { ConnectionHost } from "../conn/host.js";
import { UV_EBADF, UV_ECANCELED, UV_ECONNRESET, UV_EOF } from "../uv.js";
import type { EngineBinding, JsStreamHandle, TcpHandle } from "./binding.js";
import { defineHandleLife } from "./handle-life.js";
import { ReadSlab } from "./read-slab.js";

/** Reads up to this size share a slab; larger ones get a buffer of their own. */
const SLAB_READ = 8192;

/**
 * The most that a native reader is given in one piece, bytes. It offers as much to libuv and may stop reading after it:
 * the http parser of a server that is flooded takes what comes in spite of that for a violation.
 */
const NATIVE_READ = 65_536;

/** A write request of the engine, or ours on Node 26. */
interface WriteRequest {
  oncomplete: ((status: number, handle: unknown, error: unknown) => void) | null;
  writeStatus?: number | null;
}
interface ShutdownRequest {
  oncomplete(status: number): void;
}

export interface SmcHandle extends JsStreamHandle {
  readonly connection: Connection;
  readonly tcp: TcpHandle;
}

export type SmcHandleClass = new (
  tcp: TcpHandle,
) => SmcHandle &
  ConnectionOwner & {
    /** Gives the handle its connection: once, before anything else. */
    bind(connection: Connection): void;
  };

/** Bytes of the chunks of a writev: buffers, or strings each followed by its encoding. */
function chunksLength(chunks: readonly (Uint8Array | string)[], step: number): number {
  let bytes = 0;
  for (let i = 0; i < chunks.length; i += step) {
    const chunk = chunks[i]!;
    bytes += typeof chunk === "string" ? Buffer.byteLength(chunk, chunks[i + 1] as BufferEncoding) : chunk.length;
  }
  return bytes;
}

/** Builds the class: its base is an internal of the running engine, its connections are those of `host`. */
export function defineSmcHandle(engine: EngineBinding, host: ConnectionHost): SmcHandleClass {
  const { JSStream, state, owner: OWNER, userBuffer: USER_BUFFER } = engine;
  const { READ_BYTES_OR_ERROR, ARRAY_BUFFER_OFFSET, BYTES_WRITTEN, LAST_WRITE_WAS_ASYNC, LAST_WRITE_ERROR } = engine;
  const requestless = LAST_WRITE_ERROR >= 0;
  const slab = new ReadSlab();
  let takenAt = 0;
  const { copy } = host;

  /** Writes one chunk of a writev into the ring at `at`; the address behind it. */
  function putChunk(at: number, chunk: Uint8Array | string, encoding: unknown): number {
    if (typeof chunk !== "string") {
      copy.put(at, chunk, 0, chunk.length);
      return at + chunk.length;
    }
    const length = Buffer.byteLength(chunk, encoding as BufferEncoding);
    if (encoding === "latin1") copy.putLatin1(at, chunk, length);
    else if (encoding === "utf8") copy.putUtf8(at, chunk, length);
    else copy.put(at, Buffer.from(chunk, encoding as BufferEncoding), 0, length);
    return at + length;
  }

  const nativeBytesRead = Object.getOwnPropertyDescriptor(JSStream.prototype, "bytesRead")?.get;

  return class extends defineHandleLife(engine, host) implements ConnectionOwner {
    #native = false;
    #bytesRead = 0;
    #bytesWritten = 0;
    /** Completions of native writes whose bytes are in the ring. */
    #written: ((status: number) => void)[] | undefined;

    // ---- what the connection tells

    readable(length: number): void {
      // A native reader makes its callbacks in a scope of its own.
      if (this.#native) this.#read(length);
      else this.scope.runInAsyncScope(this.#read, this, length);
    }

    ended(reset: boolean): void {
      this.updateRef();
      this.scope.runInAsyncScope(() => {
        if (reset) this.#fail(UV_ECONNRESET);
        else if (this.#native) this.emitEOF();
        else this.#report(UV_EOF);
      });
    }

    /** Hands bytes or an error to `onread`, as the engine does. */
    #report(length: number, buffer?: ArrayBuffer): void {
      state[READ_BYTES_OR_ERROR] = length;
      this.onread(buffer);
    }

    /** An error is the socket's, even when a native stream reads from us. */
    #fail(error: number): void {
      const socket = this[OWNER] as { _handle?: JsStreamHandle } | undefined;
      const top = socket?._handle ?? this;
      state[READ_BYTES_OR_ERROR] = error;
      top.onread(undefined);
    }

    #read(length: number): void {
      if (this.#native) {
        for (let left = length; left > 0 && this.connection.reading && !this.closing; left -= NATIVE_READ) {
          const piece = Math.min(left, NATIVE_READ);
          // As TCP: an answer is written before the next question is read. An http parser that waits for it refuses to read.
          this.#finishWritten();
          if (!this.connection.reading || this.closing) return;
          const target = this.#take(piece);
          this.readBuffer(target.length === piece ? target : target.subarray(takenAt, takenAt + piece));
        }
        return;
      }
      const user = (this[OWNER] as Record<symbol, unknown> | undefined)?.[USER_BUFFER] as Uint8Array | null | undefined;
      if (user) {
        const wanted = Math.min(length, user.length);
        if (wanted < length) host.counters.rxTooSmall++;
        this.#takeInto(user, 0, wanted);
        this.#bytesRead += wanted;
        this.#report(wanted);
        return;
      }
      const target = this.#take(length);
      this.#bytesRead += length;
      state[ARRAY_BUFFER_OFFSET] = target.byteOffset + takenAt;
      this.#report(length, target.buffer);
    }

    /** Takes `length` readable bytes into memory that nobody else uses: at `takenAt` of what it returns. */
    #take(length: number): Uint8Array<ArrayBuffer> {
      const { abi } = host;
      const { conn } = this.connection.place;
      if (length <= SLAB_READ) {
        const target = slab.room(length);
        takenAt = slab.offset;
        this.#takeInto(target, takenAt, length);
        slab.used(length);
        return target;
      }
      takenAt = 0;
      if (abi.rxRun(conn) >= length) {
        const target = copy.fresh(abi.rxAddress(conn), length);
        this.connection.consumed(length);
        return target;
      }
      const target = Buffer.allocUnsafeSlow(length) as Uint8Array<ArrayBuffer>;
      this.#takeInto(target, 0, length);
      return target;
    }

    /** Copies `length` readable bytes out of the ring, at most two runs, then gives them back at once. */
    #takeInto(target: Uint8Array, at: number, length: number): void {
      const { abi } = host;
      const { conn } = this.connection.place;
      const first = Math.min(abi.rxRun(conn), length);
      copy.take(abi.rxAddress(conn), first, target, at);
      if (first < length) copy.take(abi.rxStart(conn), length - first, target, at + first);
      this.connection.consumed(length);
    }

    // ---- reading, as `net` and native readers ask for it

    /** Native code that wants a StreamBase looks here first (http): from now on it reads, not `onread`. */
    get isStreamBase(): boolean {
      this.#native = true;
      return true;
    }

    readStart(): number {
      if (this.closing) return UV_EBADF;
      this.connection.startReading();
      this.updateRef();
      return 0;
    }

    readStop(): number {
      if (this.closing) return 0;
      this.connection.stopReading();
      this.updateRef();
      return 0;
    }

    /** Called by the engine alone, for a native reader (tls, http2). */
    onreadstart(): number {
      this.#native = true;
      return this.readStart();
    }

    onreadstop(): number {
      return this.readStop();
    }

    // ---- writing

    /** Writes `chunks`; `request` is the engine's, or null where we make our own. */
    #write(request: WriteRequest | null, chunks: readonly Uint8Array[], bytes: number): unknown {
      const verdict = this.closing ? UV_EBADF : this.connection.admit();
      state[BYTES_WRITTEN] = bytes;
      if (requestless) state[LAST_WRITE_ERROR] = 0;
      if (verdict < 0) {
        state[LAST_WRITE_WAS_ASYNC] = 0;
        return verdict;
      }
      this.#bytesWritten += bytes;
      if (verdict === SWALLOW) {
        state[LAST_WRITE_WAS_ASYNC] = 0;
        return 0;
      }
      const own: WriteRequest = request ?? { oncomplete: null, writeStatus: null };
      const resource = this.scope;
      const written = this.connection.tx.write(chunks, (status) => {
        this.pend(-1);
        if (own.oncomplete === null) own.writeStatus = status;
        else resource.runInAsyncScope(own.oncomplete, own, status, this, undefined);
      });
      if (written) {
        state[LAST_WRITE_WAS_ASYNC] = 0;
        return 0;
      }
      state[LAST_WRITE_WAS_ASYNC] = 1;
      this.pend(1);
      return request === null ? own : 0;
    }

    /** Address for `bytes` in one piece in the ring, or 0 when the write has to go the long way. Finish with #placed. */
    #place(bytes: number): number {
      return !this.closing && this.connection.admitsNow ? this.connection.tx.place(bytes) : 0;
    }

    /** The piece stands in the ring: publishes it. */
    #placed(bytes: number): number {
      this.connection.tx.sent(bytes);
      state[BYTES_WRITTEN] = bytes;
      state[LAST_WRITE_WAS_ASYNC] = 0;
      if (requestless) state[LAST_WRITE_ERROR] = 0;
      this.#bytesWritten += bytes;
      return 0;
    }

    writeBuffer(request: WriteRequest | null, data: Uint8Array): unknown {
      const { length } = data;
      const address = this.#place(length);
      if (address === 0) return this.#write(request, [data], length);
      copy.put(address, data, 0, length);
      return this.#placed(length);
    }

    writev(request: WriteRequest | null, chunks: (Uint8Array | string)[], allBuffers: boolean): unknown {
      const step = allBuffers ? 1 : 2;
      const bytes = copy.direct || allBuffers ? chunksLength(chunks, step) : 0;
      const address = bytes > 0 ? this.#place(bytes) : 0;
      if (address === 0) return this.#writeList(request, chunks, step);
      let at = address;
      for (let i = 0; i < chunks.length; i += step) at = putChunk(at, chunks[i]!, chunks[i + 1]);
      return this.#placed(bytes);
    }

    /** The long way of a writev: strings become buffers, what does not fit is queued. */
    #writeList(request: WriteRequest | null, chunks: (Uint8Array | string)[], step: number): unknown {
      const list: Uint8Array[] = [];
      let bytes = 0;
      for (let i = 0; i < chunks.length; i += step) {
        const chunk = chunks[i]!;
        const data = typeof chunk === "string" ? Buffer.from(chunk, chunks[i + 1] as BufferEncoding) : chunk;
        bytes += data.length;
        list.push(data);
      }
      return this.#write(request, list, bytes);
    }

    writeLatin1String(request: WriteRequest | null, text: string): unknown {
      const address = copy.direct ? this.#place(text.length) : 0;
      if (address === 0) return this.writeBuffer(request, Buffer.from(text, "latin1"));
      copy.putLatin1(address, text, text.length);
      return this.#placed(text.length);
    }

    writeAsciiString(request: WriteRequest | null, text: string): unknown {
      return this.writeLatin1String(request, text);
    }

    writeUtf8String(request: WriteRequest | null, text: string): unknown {
      const bytes = copy.direct ? Buffer.byteLength(text, "utf8") : 0;
      const address = bytes === 0 ? 0 : this.#place(bytes);
      if (address === 0) return this.writeBuffer(request, Buffer.from(text, "utf8"));
      copy.putUtf8(address, text, bytes);
      return this.#placed(bytes);
    }

    writeUcs2String(request: WriteRequest | null, text: string): unknown {
      return this.writeBuffer(request, Buffer.from(text, "utf16le"));
    }

    /** A native writer (tls, http2): completion is always asynchronous. */
    onwrite(request: unknown, chunks: Uint8Array[]): number {
      // Who writes natively reads natively: from Node 26 on, http2 does not ask for a StreamBase before.
      this.#native = true;
      const verdict = this.closing ? UV_EBADF : this.connection.admit();
      if (verdict < 0) return verdict;
      let bytes = 0;
      for (const chunk of chunks) bytes += chunk.length;
      this.#bytesWritten += bytes;
      this.pend(1);
      const done = (status: number): void => {
        this.pend(-1);
        this.finishWrite(request, status);
      };
      if (verdict === SWALLOW || this.connection.tx.write(chunks, done)) {
        if (this.#written === undefined) setImmediate(() => this.#finishWritten());
        this.#written ??= [];
        this.#written.push(done);
      }
      return 0;
    }

    /**
     * Completes what native writers have written by now: never inside onwrite, whose caller does not know its request yet.
     * What they write in answer to that is left for another time, or one long write would hold the loop.
     */
    #finishWritten(): void {
      const written = this.#written;
      this.#written = undefined;
      if (written !== undefined) for (const done of written) done(0);
    }

    #shut(finish: (status: number) => void): number {
      if (this.closing) return UV_EBADF;
      this.pend(1);
      // Not before the caller has returned: `net` attaches to the request first. But, as over TCP, before the peer is heard
      // again: whoever lets go once its end is told does not want to know that the peer let go as well.
      process.nextTick(() => {
        const done = (status: number): void => {
          this.pend(-1);
          this.scope.runInAsyncScope(finish, undefined, status);
        };
        if (this.closing) done(UV_ECANCELED);
        else this.connection.shutdown(done);
      });
      return 0;
    }

    shutdown(request: ShutdownRequest): number {
      return this.#shut((status) => request.oncomplete(status));
    }

    onshutdown(request: unknown): number {
      return this.#shut((status) => this.finishShutdown(request, status));
    }

    // ---- counts

    get bytesRead(): number {
      return this.#bytesRead + (this.#native ? (nativeBytesRead?.call(this) as number) : 0);
    }

    get bytesWritten(): number {
      return this.#bytesWritten;
    }

    get writeQueueSize(): number {
      return this.connection.tx.queuedBytes;
    }
  } as unknown as SmcHandleClass;
}
