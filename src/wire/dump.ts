/**
 * Any CLC message as readable text, for NODE_DEBUG=smc and for people.
 *
 * Owns the rendering. Takes whatever comes: bytes that are no message are shown in hex with the reason.
 */

import { decodeClc } from "./clc.js";
import { diagnosisName } from "./clc-diagnosis.js";
import { CLC_TYPES } from "./clc-header.js";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** Numbers that people know in hex, by field name. */
const HEX_DIGITS: Readonly<Record<string, number>> = {
  chid: 4,
  featureMask: 4,
  linkId: 8,
  rkey: 8,
  alertToken: 8,
  ipv4Network: 8,
  qpNumber: 6,
  psn: 6,
};

function render(key: string, value: unknown): string {
  if (value instanceof Uint8Array) return value.every((byte) => byte === 0) ? `0 (${value.length} bytes)` : hex(value);
  if (typeof value === "bigint") return `0x${value.toString(16).padStart(16, "0")}`;
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value !== "number") return String(value);
  if (key === "diagnosis") return `0x${value.toString(16).padStart(8, "0")} ${diagnosisName(value)}`;
  if (key === "dmbeSize" || key === "rmbeSize") return `${value} (${2 ** (4 + value)} KiB)`;
  const digits = HEX_DIGITS[key];
  return digits ? `0x${value.toString(16).padStart(digits, "0")}` : String(value);
}

function* lines(value: object, prefix: string): Generator<string> {
  for (const [key, part] of Object.entries(value)) {
    const isList = Array.isArray(value);
    const name = isList ? `${prefix}[${key}]` : prefix === "" ? key : `${prefix}.${key}`;
    if (part === undefined) continue;
    if (typeof part === "object" && !(part instanceof Uint8Array)) yield* lines(part, name);
    else yield `  ${name}: ${render(key, part)}`;
  }
}

/** One line that names the message, then a line per field; never throws. */
export function dumpClc(bytes: Uint8Array): string {
  try {
    const { type, version, ...body } = decodeClc(bytes);
    return [`CLC ${type} v${version}, ${bytes.length} bytes`, ...lines(body, "")].join("\n");
  } catch (error) {
    const name = CLC_TYPES[bytes[4] - 1] ?? "message";
    return `not a CLC ${name}, ${bytes.length} bytes: ${(error as Error).message}\n  ${hex(bytes)}`;
  }
}
