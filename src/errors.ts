/**
 * The failures of smcnet that are errors: one class, one table of stable codes.
 *
 * Three kinds of failure are kept apart. A *status* is an integer of the data plane and expected (assembly/shared/codes.ts).
 * An *SmcError* is for the caller. A wasm trap is a broken invariant of ours. Falling back to TCP is an outcome, not an error.
 */

/** Code -> what it means. Codes that `net` users know keep Node's spelling and errno semantics. */
export const ERROR_CODES = {
  EPROTO: "the peer sent a message or a cursor that the protocol does not allow",
  ECONNRESET: "the peer aborted the connection or died with data unread",
  ECONNABORTED: "the link group was terminated under the connection",
  ETIMEDOUT: "the peer did not answer a handshake message in time",
  EINVAL: "an argument or a configured value is out of its range",
  EBUSY: "the role asked for already has an owner",
  EPIPE: "the sending direction is closed",
  SMC_LAYOUT_VERSION: "two copies of smcnet in this process disagree about the layout of shared memory",
  SMC_UNSUPPORTED_NODE: "this Node.js does not offer what the handle needs; connections stay on TCP",
  SMC_NO_ARENA: "shared memory could not be reserved; connections stay on TCP",
  SMC_SECOND_COPY: "another version of smcnet came first in this thread; connections stay on TCP",
  SMC_SYSTEM: "a system call was refused; `values` has its name and errno",
  SMC_NOT_SMC: "the socket is not carried by SMC",
  ERR_SMC_NOT_TRANSFERABLE: "a socket that SMC carries cannot be sent to another process",
  SMC_NOT_CLONEABLE: "a value cannot be sent to another process: it can be neither cloned nor transferred",
} as const;

export type ErrorCode = keyof typeof ERROR_CODES;

/** An error of smcnet. `code` is stable; `values` holds what was wrong, for programs; `message` says it for people. */
export class SmcError extends Error {
  override readonly name = "SmcError";
  readonly code: ErrorCode;
  readonly values: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, values: Record<string, unknown> = {}) {
    super(`${code}: ${message}`);
    this.code = code;
    this.values = Object.freeze({ ...values });
  }
}
