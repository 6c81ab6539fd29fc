/**
 * `smcnet/comlink`: a comlink endpoint over a socket, so that calls reach other processes.
 *
 * Owns the endpoint: what is posted becomes a frame, a frame becomes an event. Any connected net.Socket will do, SMC or TCP.
 * Needs nothing of comlink but its messages, and those only to answer calls whose connection has died.
 *
 * Trust: comlink lets a caller follow any path of properties from what is exposed, `constructor.constructor` too. Who may
 * call can run code here, so expose only to peers you would let do that. Frames themselves are checked: a hostile one ends
 * its socket with an error.
 */
import type { Socket } from "node:net";
import type { MessagePort } from "node:worker_threads";
import { SmcError } from "../index.js";
import { Channels } from "./channels.js";
import { checkTransfer, detach, readClone, writeClone } from "./clone.js";
import { FrameReader, HEAD_BYTES, seal } from "./frames.js";

export interface EndpointOptions {
  /** Longest message, sent or received, bytes. Default 64 MiB. */
  readonly maxFrameBytes?: number;
  /** Most ports (callbacks by `Comlink.proxy`) open at a time. Default 1024. */
  readonly maxPorts?: number;
  /**
   * Whether this end stops reading while the other one does not read its answers, so that those cannot pile up. Default
   * false. For one end of a connection only: two of them could wait for each other.
   */
  readonly serving?: boolean;
}

/** What a listener gets. */
export interface EndpointEvent {
  readonly type: "message";
  readonly data: unknown;
}
/** Any kind of listener: DOM's types and Node's differ. */
export type EndpointListener = ((event: never) => void) | { handleEvent(event: never): void };

/** What Comlink.wrap and Comlink.expose take. */
export interface SocketEndpoint {
  /**
   * Sends a message. What is posted to a dead socket is dropped; a call is answered with ECONNRESET.
   *
   * Errors: SmcError SMC_NOT_CLONEABLE for functions, shared memory and other things that cannot leave the process, EINVAL
   *         for a message above maxFrameBytes or a port too many. Then nothing was sent or detached.
   */
  postMessage(message: unknown, transfer?: readonly unknown[]): void;
  /** The one event is "message". A listener that throws ends the socket with its error. */
  addEventListener(type: string, listener: EndpointListener, options?: object): void;
  removeEventListener(type: string, listener: EndpointListener, options?: object): void;
  /** Begins to read; comlink calls it. */
  start(): void;
}

/** The part of comlink's messages that tells calls from answers. */
interface Call {
  readonly id: string;
  readonly type: string;
}
const CALLS = ["GET", "SET", "APPLY", "CONSTRUCT", "ENDPOINT", "RELEASE"];

const isCall = (message: unknown): message is Call => CALLS.includes((message as Partial<Call> | null)?.type ?? "");

/** Comlink's answer to a call that cannot be answered any more. */
function lost({ id }: Call): object {
  const { message, stack, name, code } = new SmcError(
    "ECONNRESET",
    "the connection ended before the call was answered",
  );
  return { id, type: "HANDLER", name: "throw", value: { isError: true, value: { message, stack, name, code } } };
}

class Endpoint implements SocketEndpoint {
  readonly #socket: Socket;
  readonly #maxFrameBytes: number;
  readonly #serving: boolean;
  readonly #reader: FrameReader;
  readonly #channels: Channels;
  readonly #listeners = new Set<EndpointListener>();
  /** Calls on their way, with the channel whose answer they wait for. */
  readonly #calls = new Map<string, { readonly call: Call; readonly channel: number }>();
  #started = false;

  constructor(socket: Socket, { maxFrameBytes = 64 << 20, maxPorts = 1024, serving = false }: EndpointOptions) {
    this.#socket = socket;
    this.#maxFrameBytes = maxFrameBytes;
    this.#serving = serving;
    this.#reader = new FrameReader(maxFrameBytes);
    this.#channels = new Channels(maxPorts, {
      message: (channel, message) => this.#bridged(channel, message),
      closed: (channel) => this.#write(seal(Buffer.alloc(HEAD_BYTES), channel)),
    });
    socket.on("close", () => this.#closed());
  }

  postMessage(message: unknown, transfer: readonly unknown[] = []): void {
    checkTransfer(transfer);
    this.#send(0, message, (port) => transfer.includes(port));
    detach(transfer);
  }

  /** Takes: mayMove, whether a port in the message may go with it. */
  #send(channel: number, message: unknown, mayMove: (port: MessagePort) => boolean): void {
    const ports = new Map<MessagePort, number>();
    const numberOf = (port: MessagePort): number => {
      if (!mayMove(port))
        throw new SmcError("SMC_NOT_CLONEABLE", "a MessagePort that is not in the transfer list", {
          kind: "MessagePort",
        });
      const number = ports.get(port) ?? this.#channels.numberFor(ports.size);
      ports.set(port, number);
      return number;
    };
    const frame = writeClone(message, HEAD_BYTES, numberOf);
    const length = frame.length - HEAD_BYTES;
    if (length > this.#maxFrameBytes)
      throw new SmcError("EINVAL", `a message of ${length} bytes; allowed are ${this.#maxFrameBytes}`, {
        length,
        maxFrameBytes: this.#maxFrameBytes,
      });
    if (isCall(message)) this.#calls.set(message.id, { call: message, channel });
    if (!this.#socket.writable) {
      for (const port of ports.keys()) port.close();
      if (this.#socket.closed && isCall(message)) queueMicrotask(() => this.#lose(message.id));
      return;
    }
    this.#channels.sent(ports.keys());
    this.#write(seal(frame, channel));
  }

  #write(frame: Buffer): void {
    if (!this.#socket.writable || this.#socket.write(frame) || !this.#serving || this.#socket.isPaused()) return;
    this.#socket.pause();
    this.#socket.once("drain", () => this.#socket.resume());
  }

  /** A message that a port at this end has sent. What was transferred to that port may go on. */
  #bridged(channel: number, message: unknown): void {
    try {
      this.#send(channel, message, () => true);
    } catch (error) {
      // Its sender is past hearing of it, and a message left out would be an answer that never comes.
      this.#socket.destroy(error as Error);
    }
  }

  addEventListener(type: string, listener: EndpointListener): void {
    if (type === "message") this.#listeners.add(listener);
  }

  removeEventListener(type: string, listener: EndpointListener): void {
    if (type === "message") this.#listeners.delete(listener);
  }

  start(): void {
    if (this.#started) return;
    this.#started = true;
    this.#socket.on("data", (chunk: Buffer) => this.#take(chunk));
    this.#socket.on("end", () => {
      if (this.#reader.isInside) this.#socket.destroy(new SmcError("EPROTO", "the stream ended within a message"));
    });
  }

  #take(chunk: Buffer): void {
    try {
      for (const { channel, payload } of this.#reader.push(chunk)) {
        if (this.#socket.destroyed) return;
        this.#received(Channels.received(channel), payload);
      }
    } catch (error) {
      this.#socket.destroy(error as Error);
    }
  }

  #received(channel: number, payload: Buffer): void {
    if (payload.length === 0) {
      this.#channels.close(channel);
      return;
    }
    const ports: MessagePort[] = [];
    let message: unknown;
    try {
      message = readClone(payload, (number) => {
        const port = this.#channels.arrived(number);
        ports.push(port);
        return port;
      });
    } catch (cause) {
      throw new SmcError("EPROTO", `a message that is none: ${(cause as Error).message}`, { channel, cause });
    }
    if (!isCall(message)) this.#calls.delete((message as Partial<Call> | null)?.id ?? "");
    if (channel === 0) this.#emit(message);
    else this.#channels.deliver(channel, message, ports);
  }

  #emit(data: unknown): void {
    const event = { type: "message", data } as never;
    for (const listener of [...this.#listeners]) {
      if (typeof listener === "function") listener(event);
      else listener.handleEvent(event);
    }
  }

  /** Answers a call in place of the other end. */
  #lose(id: string): void {
    const lostCall = this.#calls.get(id);
    if (lostCall === undefined) return;
    this.#calls.delete(id);
    const answer = lost(lostCall.call);
    if (lostCall.channel === 0) this.#emit(answer);
    else this.#channels.deliver(lostCall.channel, answer, []);
  }

  #closed(): void {
    for (const id of [...this.#calls.keys()]) this.#lose(id);
    this.#channels.closeAll();
  }
}

const taken = new WeakSet<Socket>();

/**
 * An endpoint over a socket; from here on its own reads and writes must not be used, `end` and `destroy` may.
 *
 * Listen for the socket's `error`, as ever: broken connections and hostile frames (SmcError EPROTO) are reported there.
 *
 * Errors: SmcError EBUSY for a socket that has one already, EINVAL for one that decodes to strings and for bad options.
 */
export function endpoint(socket: Socket, options: EndpointOptions = {}): SocketEndpoint {
  const { maxFrameBytes = 1, maxPorts = 1 } = options;
  if (!(maxFrameBytes >= 1 && maxFrameBytes <= 0xffff_ffff && maxPorts >= 0))
    throw new SmcError("EINVAL", "maxFrameBytes or maxPorts is out of its range", { maxFrameBytes, maxPorts });
  if (socket.readableEncoding !== null) throw new SmcError("EINVAL", "the socket decodes to strings");
  if (taken.has(socket)) throw new SmcError("EBUSY", "the socket has an endpoint already");
  taken.add(socket);
  return new Endpoint(socket, options);
}
