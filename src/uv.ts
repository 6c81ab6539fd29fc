/**
 * libuv's numbers for failures, as this platform has them: what the handles and requests under `net` speak in.
 *
 * Owns the ones that smcnet says or hears.
 */
import { getSystemErrorMap } from "node:util";

const numbers = new Map([...getSystemErrorMap()].map(([number, [name]]) => [name, number]));
const numberOf = (name: string): number => numbers.get(name)!;

export const UV_EOF = numberOf("EOF");
export const UV_EBADF = numberOf("EBADF");
export const UV_ECANCELED = numberOf("ECANCELED");
export const UV_ECONNRESET = numberOf("ECONNRESET");
export const UV_EPIPE = numberOf("EPIPE");
export const UV_ETIMEDOUT = numberOf("ETIMEDOUT");
