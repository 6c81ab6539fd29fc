/**
 * Servers of http that are handed a socket which is still connecting, as programs do whose connections go the other way round:
 * `server.emit("connection", net.connect(…))`.
 *
 * Such a server puts its parser below the socket, on the handle, where it reads natively and past `onread`: in a handshake it
 * would take the CLC messages, and it would stay behind when the handle is replaced. And it has the handle read at once. Owns
 * what keeps the parser off meanwhile, and what makes up for a start that came too early.
 */
import type { Socket } from "node:net";

/** What a server of http leaves on a socket and its handle. Since Node 20 at least. */
interface ParsedSocket {
  readonly parser?: { readonly _consumed?: boolean } | null;
  readonly _handle: { readonly reading?: boolean; readStart(): number } | null;
}

/** Before it consumes a handle, http looks whether anybody has. */
const CONSUMED: PropertyDescriptor = { configurable: true, writable: true, enumerable: false, value: true };
const nobody = (): void => undefined;

/** From now on http takes its bytes from the socket's `data`, whether its parser is on the handle already or comes yet. */
export function keepParserOff(socket: Socket): void {
  const { parser, _handle: handle } = socket as unknown as ParsedSocket;
  // Http takes its parser off by itself, and for good, as soon as somebody else wants the data; then it gets them from the socket, as everybody.
  if (parser?._consumed) socket.on("data", nobody).off("data", nobody);
  if (handle !== null) Object.defineProperty(handle, "_consumed", CONSUMED);
}

/** Whoever hands the socket to http from now on has it consumed as ever; where it was handed before, `data` it is. */
export function letParserOn(socket: Socket): void {
  const { _handle: handle } = socket as unknown as ParsedSocket;
  if (handle !== null) Reflect.deleteProperty(handle, "_consumed");
}

/** Makes up for a start that came before the handle's own connect: it had no effect, but its socket believes that it reads. */
export function readIfStarted(socket: Socket): void {
  const { _handle: handle } = socket as unknown as ParsedSocket;
  if (handle?.reading) handle.readStart();
}
