/**
 * Loaded into a process before anything else: from here on the kernel refuses it the calls that SMC_TEST_REFUSE names, as a
 * container's seccomp profile does.
 *
 *   sock_fprog   0 length u16 · 8 filter *        sock_filter   0 code u16 · 2 jump if true · 3 if false · 4 operand u32
 *   seccomp_data 0 number i32 · 4 architecture u32 · 8 instruction pointer u64 · 16 arguments 6 × u64
 *
 * Source: seccomp(2), linux/filter.h.
 */
import { constants } from "node:os";
import { addressOf, libcFunction, systemError } from "../../src/host/libc.js";

const PR_SET_NO_NEW_PRIVS = 38;
const PR_SET_SECCOMP = 22;
const SECCOMP_MODE_FILTER = 2n;
const LOAD = 0x20;
const JUMP_IF_EQUAL = 0x15;
const RETURN = 0x06;
const ALLOW = 0x7fff_0000;
const ERRNO = 0x0005_0000;
const NUMBER_AT = 0;
const SECOND_ARGUMENT_AT = 24;
const F_OFD_SETLK = 37;

/** Call -> its number on x64 and arm64, and the value of its second argument if only that is refused. */
const REFUSABLE = {
  memfd_create: { x64: 319, arm64: 279, second: undefined },
  sendmsg: { x64: 46, arm64: 211, second: undefined },
  "fcntl(F_OFD_SETLK)": { x64: 72, arm64: 25, second: F_OFD_SETLK },
} as const;
export type Refusable = keyof typeof REFUSABLE;

const prctl = libcFunction<(option: number, ...argument: [bigint, bigint, bigint, bigint]) => number>(
  "int prctl(int option, uintptr_t a, uintptr_t b, uintptr_t c, uintptr_t d)",
);

function instruction(code: number, operand: number, ifTrue = 0, ifFalse = 0): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt16LE(code, 0);
  bytes.writeUInt8(ifTrue, 2);
  bytes.writeUInt8(ifFalse, 3);
  bytes.writeUInt32LE(operand, 4);
  return bytes;
}

function refuse(name: Refusable): void {
  const { second, ...numbers } = REFUSABLE[name];
  const refused = instruction(RETURN, ERRNO | constants.errno.EPERM);
  const filter = Buffer.concat([
    instruction(LOAD, NUMBER_AT),
    instruction(JUMP_IF_EQUAL, numbers[process.arch as "x64" | "arm64"], 0, second === undefined ? 1 : 3),
    ...(second === undefined ? [] : [instruction(LOAD, SECOND_ARGUMENT_AT), instruction(JUMP_IF_EQUAL, second, 0, 1)]),
    refused,
    instruction(RETURN, ALLOW),
  ]);
  const program = Buffer.alloc(16);
  program.writeUInt16LE(filter.length / 8, 0);
  program.writeBigUInt64LE(addressOf(filter), 8);
  if (prctl(PR_SET_NO_NEW_PRIVS, 1n, 0n, 0n, 0n) !== 0) throw systemError("prctl");
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, addressOf(program), 0n, 0n) !== 0) throw systemError("prctl");
}

const named = process.env["SMC_TEST_REFUSE"];
if (named !== undefined) refuse(named as Refusable);
