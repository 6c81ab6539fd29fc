/**
 * The declarative codec kit: one list of fields gives sizes, offsets, decode, encode and the names in every error.
 *
 * Owns: reading and writing fixed-size pieces of a message. Knows no message: which pieces follow each other, and the rules
 * between fields, belong to the message's own file. Network order throughout; 64-bit values are bigint (cold path).
 * Reserved bytes are written as zero and not looked at when read, as receivers of the protocol do.
 */
import { SmcError } from "../errors.js";

/** One field: how many bytes, and how they become a value. */
export interface Field<T> {
  readonly size: number;
  /** True if the bytes carry no value: skipped by decode, zero after encode. */
  readonly reserved?: boolean;
  read(view: DataView, at: number): T;
  write(view: DataView, at: number, value: T): void;
  /** Returns what is allowed, in words, when `value` cannot be written; undefined when it can. */
  refuses(value: T): string | undefined;
}

/** Brand of bytes without a value: a struct's value has no such key. */
export interface ReservedField extends Field<undefined> {
  readonly reserved: true;
}

export type Fields = Readonly<Record<string, Field<unknown>>>;
type Read<F> = F extends { read(view: DataView, at: number): infer T } ? T : never;
/** The value of a field list: its non-reserved fields. */
export type ValueOf<F> = { readonly [K in keyof F as F[K] extends ReservedField ? never : K]: Read<F[K]> };

/** A piece of a message: `at` is counted from the start of the message, so errors can name the byte. */
export interface Struct<F extends Fields> {
  readonly name: string;
  /** Bytes the whole piece takes. */
  readonly size: number;
  /** Byte of each field, from the start of the piece. */
  readonly offsets: { readonly [K in keyof F]: number };
  /** Errors: SmcError EPROTO naming the first field that the bytes are too short for. */
  decode(bytes: Uint8Array, at?: number): ValueOf<F>;
  /** Errors: SmcError EINVAL naming the field whose value cannot be written. `into` is long enough by contract. */
  encode(value: ValueOf<F>, into: Uint8Array, at?: number): void;
  /** `count` pieces one after the other. Errors as decode. */
  decodeList(bytes: Uint8Array, at: number, count: number): ValueOf<F>[];
  encodeList(values: readonly ValueOf<F>[], into: Uint8Array, at: number): void;
}

/** The error for bytes that the protocol does not allow. `byte` is counted from the start of the message. */
export function malformed(message: string, field: string, byte: number, why: string, value?: unknown): SmcError {
  return new SmcError("EPROTO", `${message}: ${field} at byte ${byte} ${why}`, { message, field, byte, value });
}

/** The error for a value that contradicts another field of the same message, found before a byte is written. */
export function contradiction(message: string, field: string, why: string): SmcError {
  return new SmcError("EINVAL", `${message}: ${field} ${why}`, { message, field });
}

/** Refuses a part that is present although the message has no place for it, or absent although it has. */
export function expectPart(message: string, field: string, part: unknown, expected: boolean): void {
  if ((part !== undefined) !== expected)
    throw contradiction(message, field, expected ? "is missing" : "has no place in this message");
}

/** The pieces of a message follow each other: its view is made once. */
let viewed = new Uint8Array(0);
let lastView: DataView = new DataView(viewed.buffer);

function viewOf(bytes: Uint8Array): DataView {
  if (bytes === viewed) return lastView;
  lastView = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  viewed = bytes as Uint8Array<ArrayBuffer>;
  return lastView;
}

const integer = (bits: number) => (value: number) =>
  Number.isInteger(value) && value >= 0 && value < 2 ** bits ? undefined : `an integer of ${bits} bits`;

export const u8: Field<number> = {
  size: 1,
  read: (view, at) => view.getUint8(at),
  write: (view, at, value) => view.setUint8(at, value),
  refuses: integer(8),
};
export const u16be: Field<number> = {
  size: 2,
  read: (view, at) => view.getUint16(at),
  write: (view, at, value) => view.setUint16(at, value),
  refuses: integer(16),
};
export const u24be: Field<number> = {
  size: 3,
  read: (view, at) => view.getUint8(at) * 65536 + view.getUint16(at + 1),
  write(view, at, value) {
    view.setUint8(at, value >>> 16);
    view.setUint16(at + 1, value & 0xffff);
  },
  refuses: integer(24),
};
export const u32be: Field<number> = {
  size: 4,
  read: (view, at) => view.getUint32(at),
  write: (view, at, value) => view.setUint32(at, value),
  refuses: integer(32),
};
export const u64be: Field<bigint> = {
  size: 8,
  read: (view, at) => view.getBigUint64(at),
  write: (view, at, value) => view.setBigUint64(at, value),
  refuses: (value) => (value >= 0n && value < 1n << 64n ? undefined : "an unsigned bigint of 64 bits"),
};

/** `size` bytes as they are; decode copies them, so a value never aliases the receive buffer. */
export const bytes = (size: number): Field<Uint8Array> => ({
  size,
  read: (view, at) => new Uint8Array(view.buffer, view.byteOffset + at, size).slice(),
  write: (view, at, value) => new Uint8Array(view.buffer, view.byteOffset + at, size).set(value),
  refuses: (value) => (value.length === size ? undefined : `${size} bytes`),
});

/** `size` bytes that mean nothing: zero when written, ignored when read. */
export const reserved = (size: number): ReservedField => ({
  size,
  reserved: true,
  read: () => undefined,
  write: () => undefined,
  refuses: () => undefined,
});

function isLatin1(value: string): boolean {
  for (let i = 0; i < value.length; i++) if (value.charCodeAt(i) > 0xff) return false;
  return true;
}

/**
 * One byte per character, blank padded to `size`; decode drops trailing blanks and zeros.
 * The empty text is written as zeros, which is how an absent EID looks on the wire.
 */
export const text = (size: number): Field<string> => ({
  size,
  read(view, at) {
    let end = size;
    while (end > 0 && (view.getUint8(at + end - 1) === 0x20 || view.getUint8(at + end - 1) === 0)) end--;
    return Buffer.from(view.buffer, view.byteOffset + at, end).toString("latin1");
  },
  write(view, at, value) {
    for (let i = 0; i < size; i++)
      view.setUint8(at + i, i < value.length ? value.charCodeAt(i) : value === "" ? 0 : 0x20);
  },
  refuses: (value) => (value.length <= size && isLatin1(value) ? undefined : `at most ${size} one-byte characters`),
});

/** The value of a `bits` field: names that begin with "_" are reserved bits. */
type BitsOf<W> = { readonly [K in keyof W as K extends `_${string}` ? never : K]: number };

/** One byte cut into named parts, most significant first; the widths add up to 8. */
export function bits<const W extends Readonly<Record<string, number>>>(widths: W): Field<BitsOf<W>> {
  const parts: { name: string; shift: number; mask: number }[] = [];
  let shift = 8;
  for (const [name, width] of Object.entries(widths)) {
    shift -= width;
    if (!name.startsWith("_")) parts.push({ name, shift, mask: (1 << width) - 1 });
  }
  if (shift !== 0) throw new SmcError("EINVAL", `bit widths add up to ${8 - shift}, not 8`, { widths });
  return {
    size: 1,
    read(view, at) {
      const byte = view.getUint8(at);
      const value: Record<string, number> = {};
      for (const part of parts) value[part.name] = (byte >> part.shift) & part.mask;
      return value as BitsOf<W>;
    },
    write(view, at, value) {
      let byte = 0;
      for (const part of parts) byte |= (value as Record<string, number>)[part.name] << part.shift;
      view.setUint8(at, byte);
    },
    refuses(value) {
      const wrong = parts.find((part) => {
        const given = (value as Record<string, number>)[part.name];
        return !Number.isInteger(given) || given < 0 || given > part.mask;
      });
      return wrong && `${wrong.name} from 0 to ${wrong.mask}`;
    },
  };
}

/** Declares a piece. Field order is wire order; the object literal is the layout. */
export function struct<const F extends Fields>(name: string, fields: F): Struct<F> {
  const layout: { key: string; field: Field<unknown>; offset: number }[] = [];
  const offsets: Record<string, number> = {};
  let size = 0;
  for (const [key, field] of Object.entries(fields)) {
    layout.push({ key, field, offset: size });
    offsets[key] = size;
    size += field.size;
  }

  function decode(source: Uint8Array, at = 0): ValueOf<F> {
    const view = viewOf(source);
    const value: Record<string, unknown> = {};
    for (const { key, field, offset } of layout) {
      if (at + offset + field.size > source.length)
        throw malformed(name, key, at + offset, `does not fit into ${source.length} bytes`, source.length);
      if (!field.reserved) value[key] = field.read(view, at + offset);
    }
    return value as ValueOf<F>;
  }

  function encode(value: ValueOf<F>, into: Uint8Array, at = 0): void {
    const view = viewOf(into);
    for (const { key, field, offset } of layout) {
      if (field.reserved) continue;
      const given = (value as Record<string, unknown>)[key];
      const allowed = field.refuses(given);
      if (allowed !== undefined)
        throw new SmcError("EINVAL", `${name}: ${key} at byte ${at + offset} must be ${allowed}`, {
          message: name,
          field: key,
          byte: at + offset,
          value: given,
        });
      field.write(view, at + offset, given);
    }
  }

  return {
    name,
    size,
    offsets: offsets as Struct<F>["offsets"],
    decode,
    encode,
    decodeList: (source, at, count) => Array.from({ length: count }, (_, i) => decode(source, at + i * size)),
    encodeList(values, into, at) {
      for (const [i, value] of values.entries()) encode(value, into, at + i * size);
    },
  };
}
