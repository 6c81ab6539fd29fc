/**
 * Structured clone as bytes: what `postMessage` would copy to another thread, for another process.
 *
 * Owns how values that V8 leaves to its host are written: views of memory, and MessagePorts, which become the number of a
 * channel. Knows nothing of sockets, nor of who is at the other end of a channel.
 *
 * One thing cannot be refused where it is written: for a WebAssembly.Module V8 writes nothing and reports nothing, and it is
 * the reader who finds that the message is none.
 */
import { DefaultDeserializer, DefaultSerializer } from "node:v8";
import { MessagePort } from "node:worker_threads";
import { SmcError } from "../index.js";

type ViewClass = new (buffer: ArrayBuffer) => ArrayBufferView;

/** Kind -> name of the class. The order is the wire format: append only. */
const VIEWS = [
  "Int8Array",
  "Uint8Array",
  "Uint8ClampedArray",
  "Int16Array",
  "Uint16Array",
  "Int32Array",
  "Uint32Array",
  "Float32Array",
  "Float64Array",
  "DataView",
  "BigInt64Array",
  "BigUint64Array",
  "Float16Array",
] as const;
/** Kind of a port; its channel's number follows. */
const PORT = 0xff;

const refused = (message: string, kind: string): SmcError => new SmcError("SMC_NOT_CLONEABLE", message, { kind });

/** What a value is, as its own tag says: "Uint8Array" for a Buffer too, as between threads. */
const kindOf = (value: unknown): string => Object.prototype.toString.call(value).slice(8, -1);

class Writer extends DefaultSerializer {
  readonly #numberOf: (port: MessagePort) => number;

  constructor(numberOf: (port: MessagePort) => number) {
    super();
    this.#numberOf = numberOf;
    Object.assign(this, { _getDataCloneError: (message: string) => refused(message, "value") });
  }

  _getSharedArrayBufferId(): never {
    throw refused("shared memory could not be cloned", "SharedArrayBuffer");
  }

  _writeHostObject(value: unknown): void {
    const name = kindOf(value);
    if (value instanceof MessagePort) {
      this.writeUint32(PORT);
      this.writeUint32(this.#numberOf(value));
    } else if (ArrayBuffer.isView(value) && kindOf(value.buffer) === "ArrayBuffer") {
      // V8 itself would write the whole memory under the view: of a small Buffer, its pool.
      this.writeUint32(VIEWS.indexOf(name as (typeof VIEWS)[number]));
      this.writeUint32(value.byteLength);
      this.writeRawBytes(new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
    } else if (ArrayBuffer.isView(value)) this._getSharedArrayBufferId();
    else throw refused(`${name} object could not be cloned`, name);
  }
}

class Reader extends DefaultDeserializer {
  readonly #portOf: (number: number) => MessagePort;

  constructor(bytes: Uint8Array, portOf: (number: number) => MessagePort) {
    super(bytes);
    this.#portOf = portOf;
  }

  _readHostObject(): unknown {
    const kind = this.readUint32();
    if (kind === PORT) return this.#portOf(this.readUint32());
    const View = (globalThis as unknown as Record<string, ViewClass | undefined>)[VIEWS[kind] ?? ""];
    if (View === undefined) throw new TypeError(`a view of kind ${kind}`);
    // Memory of its own: the program may look at what lies around the view.
    return new View(new Uint8Array(this.readRawBytes(this.readUint32())).buffer);
  }
}

/**
 * Writes `value` behind `headBytes` bytes of zeros.
 *
 * Takes:   numberOf, the channel's number that stands for a port.
 * Errors:  SmcError SMC_NOT_CLONEABLE for what is neither cloned nor given a number; whatever numberOf and getters throw.
 */
export function writeClone(value: unknown, headBytes: number, numberOf: (port: MessagePort) => number): Buffer {
  const writer = new Writer(numberOf);
  writer.writeRawBytes(new Uint8Array(headBytes));
  writer.writeHeader();
  writer.writeValue(value);
  return writer.releaseBuffer();
}

/**
 * The value in `bytes`; none of its memory is theirs.
 *
 * Takes:   portOf, makes the port for a channel's number.
 * Errors:  whatever V8 and portOf throw: the bytes are no clone.
 */
export function readClone(bytes: Uint8Array, portOf: (number: number) => MessagePort): unknown {
  const reader = new Reader(bytes, portOf);
  reader.readHeader();
  return reader.readValue();
}

/**
 * Looks through what is to move with a message.
 *
 * Errors: SmcError SMC_NOT_CLONEABLE for what is neither an ArrayBuffer nor a MessagePort.
 */
export function checkTransfer(transfer: readonly unknown[]): void {
  for (const item of transfer) {
    const kind = kindOf(item);
    if (kind !== "ArrayBuffer" && !(item instanceof MessagePort))
      throw refused(`${kind} object could not be transferred to another process`, kind);
  }
}

/** What has been written is ours no more. Takes: a list that checkTransfer has let pass. */
export function detach(transfer: readonly unknown[]): void {
  const buffers = transfer.filter((item): item is ArrayBuffer => item instanceof ArrayBuffer);
  if (buffers.length > 0) structuredClone(null, { transfer: buffers });
}
