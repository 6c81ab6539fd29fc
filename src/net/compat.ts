/**
 * What becomes of each member of net.Socket and net.Server, Node 20 to 26, where SMC carries the socket.
 *
 * Data only: the table says who answers, a test walks the running Node and fails for a member that is not named here.
 * Members a class inherits from streams and events are the engine's own in any case, and not listed.
 */

/** Who answers for a member of an SMC socket. */
export type Support =
  /** The engine's own code, on whatever handle the socket has. */
  | { readonly kind: "native" }
  /** The engine's code asks the handle: SmcHandle has `handle`, and hands it to the TCP handle underneath. */
  | { readonly kind: "forwarded"; readonly handle: string }
  /** SmcHandle, or the socket itself, does it in another way. `handle`: the handle's method that does. */
  | { readonly kind: "emulated"; readonly how: string; readonly handle?: string }
  | { readonly kind: "absent"; readonly reason: string };

const native: Support = { kind: "native" };
const forwarded = (handle: string): Support => ({ kind: "forwarded", handle });
const emulated = (how: string, handle?: string): Support =>
  handle === undefined ? { kind: "emulated", how } : { kind: "emulated", how, handle };
const absent = (reason: string): Support => ({ kind: "absent", reason });

export const SOCKET_MEMBERS: Readonly<Record<string, Support>> = {
  _bytesDispatched: emulated("counts what the handle accepted", "bytesWritten"),
  _connecting: native,
  _destroy: native,
  _final: emulated("the peer's end of stream comes behind every byte", "shutdown"),
  _getpeername: forwarded("getpeername"),
  _getsockname: forwarded("getsockname"),
  _handle: emulated("an SmcHandle"),
  _onTimeout: native,
  _read: emulated("reads from the ring", "readStart"),
  _reset: emulated("aborts the connection", "reset"),
  _unrefTimer: native,
  _write: emulated("writes into the ring", "writeBuffer"),
  _writeGeneric: native,
  _writev: emulated("one publish for all chunks", "writev"),
  address: forwarded("getsockname"),
  bufferSize: native,
  bytesRead: emulated("counts what left the ring", "bytesRead"),
  bytesWritten: emulated("counts what the handle accepted", "bytesWritten"),
  connect: native,
  constructor: native,
  destroySoon: native,
  end: native,
  getTypeOfService: forwarded("getTypeOfService"),
  localAddress: forwarded("getsockname"),
  localFamily: forwarded("getsockname"),
  localPort: forwarded("getsockname"),
  pause: emulated("stops reading the ring", "readStop"),
  pending: native,
  read: native,
  readyState: native,
  ref: emulated("by what the connection waits for", "ref"),
  remoteAddress: forwarded("getpeername"),
  remoteFamily: forwarded("getpeername"),
  remotePort: forwarded("getpeername"),
  resetAndDestroy: emulated("the engine resets TCP handles only: a method of the socket's own", "reset"),
  resume: native,
  setKeepAlive: forwarded("setKeepAlive"),
  setNoDelay: forwarded("setNoDelay"),
  setTimeout: native,
  setTypeOfService: forwarded("setTypeOfService"),
  smc: emulated("what carries the socket; ours"),
  unref: emulated("by what the connection waits for", "unref"),
};

/** What else can be done with a socket of `net`, and not with one over SMC. */
export const USES: Readonly<Record<string, Support>> = {
  "child.send(message, socket)": absent("its rings belong to this thread: ERR_SMC_NOT_TRANSFERABLE"),
  "spawn(…, { stdio: [socket] })": absent("its handle is no file of the system: ERR_INVALID_ARG_VALUE"),
  "port.postMessage(socket)": absent("no socket can be cloned: DataCloneError"),
};

export const SERVER_MEMBERS: Readonly<Record<string, Support>> = {
  _emitCloseIfDrained: native,
  _listen2: emulated("listens as ever, then also for SMC"),
  _setupWorker: native,
  address: native,
  close: native,
  constructor: native,
  getConnections: native,
  listen: native,
  listening: native,
  ref: native,
  unref: native,
};
