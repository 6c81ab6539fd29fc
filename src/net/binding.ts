/**
 * The engine's stream internals that a replaced handle needs: types, access, and the probe.
 *
 * Owns the knowledge of what differs between Node versions. Where anything is missing, the probe says so once and
 * connections stay on TCP. Nothing here is patched.
 */
import { Socket } from "node:net";
import type { Endpoint } from "../rendezvous/address.js";

/** A TCP handle as `net` uses it (tcp_wrap.TCP). */
export interface TcpHandle {
  onread: (this: unknown, buffer: ArrayBuffer | undefined) => unknown;
  onconnection: ((this: TcpHandle, error: number, client?: TcpHandle) => void) | undefined;
  reading: boolean;
  readonly fd: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  readStart(): number;
  readStop(): number;
  writeBuffer(request: unknown, data: Uint8Array): unknown;
  connect(request: ConnectRequest, address: string, port: number): number;
  connect6(request: ConnectRequest, address: string, port: number): number;
  close(done?: () => void): void;
  reset(done?: () => void): number;
  ref(): void;
  unref(): void;
  hasRef(): boolean;
  getAsyncId(): number;
  getProviderType(): number;
  getsockname(out: AddressOut): number;
  getpeername(out: AddressOut): number;
  setNoDelay(on: boolean): number;
  setKeepAlive(on: boolean, delay: number): number;
  setTypeOfService?(value: number): number;
  getTypeOfService?(): number;
  [key: symbol]: unknown;
}

export interface AddressOut {
  address?: string;
  port?: number;
  family?: string;
}

/** A request of connect, whose oncomplete `net` sets. */
export interface ConnectRequest {
  oncomplete: (status: number, handle: unknown, request: ConnectRequest, readable: boolean, writable: boolean) => void;
}

/** js_stream.JSStream: a native StreamBase whose far side is JavaScript. */
export interface JsStreamHandle {
  readBuffer(data: Uint8Array): void;
  emitEOF(): void;
  finishWrite(request: unknown, status: number): void;
  finishShutdown(request: unknown, status: number): void;
  onread: (this: unknown, buffer: ArrayBuffer | undefined) => unknown;
  getAsyncId(): number;
  unref(): void;
  [key: symbol]: unknown;
}

/** The parts of the engine. Indices are into `state`. */
export interface EngineBinding {
  readonly TCP: new (type: number) => TcpHandle;
  readonly JSStream: new () => JsStreamHandle;
  /** process_wrap.Process: the handle of a child process. */
  readonly Process: new () => object;
  readonly WriteWrap: new () => { oncomplete: unknown; handle: unknown };
  readonly state: Int32Array;
  readonly READ_BYTES_OR_ERROR: number;
  readonly ARRAY_BUFFER_OFFSET: number;
  readonly BYTES_WRITTEN: number;
  readonly LAST_WRITE_WAS_ASYNC: number;
  /** Node 26: writes take no request and return a number or a request of ours; -1 before. */
  readonly LAST_WRITE_ERROR: number;
  readonly owner: symbol;
  readonly userBuffer: symbol;
  /** What makes a socket with `onread` its next buffer. */
  readonly bufferMaker: symbol;
  /** Method of a socket by which core gives it another handle while it connects. */
  readonly reinitialize: symbol;
  /** Methods of TCP handles as they were at the start: what we do below a socket is not what the program did. */
  readonly ref: () => void;
  readonly unref: () => void;
}

type ProcessBinding = (name: string) => Record<string, unknown>;

/** TCPConstants.SOCKET of tcp_wrap. */
export const TCP_SOCKET = 0;

function symbolOf(target: object, description: string): symbol {
  for (let at: object | null = target; at !== null; at = Object.getPrototypeOf(at))
    for (const symbol of Object.getOwnPropertySymbols(at)) if (symbol.description === description) return symbol;
  throw new TypeError(`no symbol ${description}`);
}

function numberOf(source: Record<string, unknown>, name: string): number {
  const value = source[name];
  if (typeof value !== "number") throw new TypeError(`no ${name}`);
  return value;
}

function probe(): EngineBinding {
  const binding = (process as unknown as { binding: ProcessBinding }).binding;
  const tcp = binding("tcp_wrap");
  const stream = binding("stream_wrap");
  const js = binding("js_stream");
  const TCP = tcp["TCP"] as EngineBinding["TCP"];
  const handle = new TCP(TCP_SOCKET);
  const socket = new Socket({ handle, manualStart: true } as object);
  const result: EngineBinding = {
    TCP,
    JSStream: js["JSStream"] as EngineBinding["JSStream"],
    Process: binding("process_wrap")["Process"] as EngineBinding["Process"],
    WriteWrap: stream["WriteWrap"] as EngineBinding["WriteWrap"],
    state: stream["streamBaseState"] as Int32Array,
    READ_BYTES_OR_ERROR: numberOf(stream, "kReadBytesOrError"),
    ARRAY_BUFFER_OFFSET: numberOf(stream, "kArrayBufferOffset"),
    BYTES_WRITTEN: numberOf(stream, "kBytesWritten"),
    LAST_WRITE_WAS_ASYNC: numberOf(stream, "kLastWriteWasAsync"),
    LAST_WRITE_ERROR: typeof stream["kLastWriteErr"] === "number" ? stream["kLastWriteErr"] : -1,
    owner: symbolOf(handle, "owner_symbol"),
    userBuffer: symbolOf(socket, "kBuffer"),
    bufferMaker: symbolOf(socket, "kBufferGen"),
    reinitialize: symbolOf(socket, "kReinitializeHandle"),
    ref: handle.ref,
    unref: handle.unref,
  };
  const stateWorks = result.state instanceof Int32Array || ArrayBuffer.isView(result.state);
  const readWorks = typeof handle.onread === "function" && typeof handle.readStart === "function";
  // Not by destroy(): the tick in which it says so would show up in the program's async hooks.
  handle.close();
  if (!stateWorks || !readWorks || typeof result.JSStream !== "function" || typeof result.Process !== "function")
    throw new TypeError("stream state or methods");
  return result;
}

let probed: { readonly engine?: EngineBinding; readonly reason?: string } | undefined;

/** The engine's parts, or why they cannot be had (`--permission`, another engine, a changed internal). */
export function engineBinding(): { readonly engine?: EngineBinding; readonly reason?: string } {
  if (probed !== undefined) return probed;
  try {
    probed = { engine: probe() };
  } catch (error) {
    probed = { reason: (error as Error).message };
  }
  return probed;
}

/**
 * Both ends of a connected handle; undefined when it is connected no more.
 *
 * Takes: own, its own end where that is known already.
 */
export function endpointsOf(handle: TcpHandle, own?: Endpoint): { local: Endpoint; peer: Endpoint } | undefined {
  const local: AddressOut = own ?? {};
  const peer: AddressOut = {};
  if ((own === undefined && handle.getsockname(local) !== 0) || handle.getpeername(peer) !== 0) return undefined;
  return { local: local as Endpoint, peer: peer as Endpoint };
}

/** The unspecified address, in any notation: who dials it is connected to another one. */
const UNSPECIFIED = /^(::ffff:)?[0:.]*$/i;

/** Both ends of a handle that connects to `server`, from the moment its connect has returned; undefined where that failed. */
export function endpointsTo(server: Endpoint, handle: TcpHandle): { local: Endpoint; peer: Endpoint } | undefined {
  if (UNSPECIFIED.test(server.address)) return endpointsOf(handle);
  const local: AddressOut = {};
  return handle.getsockname(local) === 0 ? { local: local as Endpoint, peer: server } : undefined;
}

/** Address of its own end, empty when it has none. */
export function localAddressOf(handle: TcpHandle): string {
  const local: AddressOut = {};
  handle.getsockname(local);
  return local.address ?? "";
}
