/**
 * The one options object: every tunable with its default, range and environment variable.
 *
 * Owns the table and the check. Knows nothing of who reads which option. A wrong value is refused with its range.
 */
import { SmcError } from "./errors.js";
import { parseRule } from "./policy.js";

interface NumberOption {
  readonly kind: "number";
  readonly value: number;
  readonly min: number;
  readonly max: number;
  readonly unit: string;
  readonly env: string;
  readonly about: string;
}
interface FlagOption {
  readonly kind: "flag";
  readonly value: boolean;
  readonly env: string;
  readonly about: string;
}
interface ListOption {
  readonly kind: "list";
  readonly value: readonly string[];
  readonly env: string;
  readonly about: string;
}
interface PathOption {
  readonly kind: "path";
  /** Empty for none. */
  readonly value: string;
  readonly env: string;
  readonly about: string;
}
interface IdsOption {
  readonly kind: "ids";
  readonly value: readonly number[];
  readonly env: string;
  readonly about: string;
}
interface RulesOption {
  readonly kind: "rules";
  readonly value: readonly string[];
  readonly env: string;
  readonly about: string;
}
type Option = NumberOption | FlagOption | ListOption | PathOption | IdsOption | RulesOption;

const number = (value: number, min: number, max: number, unit: string, env: string, about: string): NumberOption => ({
  kind: "number",
  value,
  min,
  max,
  unit,
  env,
  about,
});
const flag = (value: boolean, env: string, about: string): FlagOption => ({ kind: "flag", value, env, about });
const list = (value: readonly string[], env: string, about: string): ListOption => ({
  kind: "list",
  value,
  env,
  about,
});

const path = (env: string, about: string): PathOption => ({ kind: "path", value: "", env, about });
const rules = (env: string, about: string): RulesOption => ({ kind: "rules", value: [], env, about });
const ids = (env: string, about: string): IdsOption => ({ kind: "ids", value: [], env, about });

/** Source of the kernel's defaults: smc-protocol §9.5; deadlines are shorter than the kernel's so that no `connect` hangs. */
export const OPTIONS = {
  enabled: flag(true, "SMC", "SMC=off keeps every connection on TCP"),
  only: rules("SMC_ONLY", "SMC only for these servers: PORT, ADDRESS, ADDRESS/BITS or ADDRESS:PORT, comma separated"),
  except: rules("SMC_EXCEPT", "SMC for all servers but these, likewise"),
  ffi: flag(true, "SMC_FFI", "SMC_FFI=off does without koffi: aligned copies, notify doorbells"),
  loCopy: flag(false, "SMC_LO_COPY", "lo device in copy mode: private sndbuf and moveData instead of nocopy"),
  rmem: number(131072, 16384, 1 << 20, "bytes", "SMC_RMEM", "RMB (DMB) size wanted; rounded up to 16 KiB * 2^n"),
  wmem: number(131072, 16384, 1 << 20, "bytes", "SMC_WMEM", "sndbuf size wanted in copy mode; rounded up likewise"),
  arenaMiB: number(1024, 0, 2047, "MiB", "SMC_ARENA_MIB", "address space reserved for the arena; 0 for none"),
  busyPoll: number(50, 0, 1_000_000, "us", "SMC_BUSY_POLL", "how long a loop spins after the last traffic; 0 never"),
  clcTimeoutMs: number(140, 10, 6000, "ms", "SMC_CLC_TIMEOUT", "wait for one CLC message"),
  matchTimeoutMs: number(100, 1, 1000, "ms", "SMC_MATCH_TIMEOUT", "client's wait for the acceptor to match its claim"),
  claimWaitMs: number(100, 0, 1000, "ms", "SMC_CLAIM_WAIT", "acceptor's wait for intents that were open at accept"),
  clcVersion: number(2, 1, 2, "", "SMC_CLC_VERSION", "highest CLC version offered and accepted"),
  negotiateAlways: flag(false, "SMC_NEGOTIATE_ALWAYS", "send a Proposal without a match: both ends must know SMC"),
  ueids: list(["SMCNET"], "SMC_UEIDS", "user defined EIDs, comma separated, at most 8; peers must share one"),
  idleTrim: flag(true, "SMC_IDLE_TRIM", "give the ring pages of drained, quiet connections back to the system"),
  shm: flag(true, "SMC_SHM", "SMC_SHM=off does without the shm device: SMC between threads only"),
  shmPeerMiB: number(256, 1, 1024, "MiB", "SMC_SHM_PEER_MIB", "most memory for DMBs of one peer process, each way"),
  shmConnections: number(
    4096,
    1,
    16384,
    "",
    "SMC_SHM_CONNECTIONS",
    "most connections of a thread with one peer process",
  ),
  shmIdleMs: number(
    600_000,
    100,
    86_400_000,
    "ms",
    "SMC_SHM_IDLE",
    "memory shared with a process goes after so long without a connection",
  ),
  contactMs: number(20, 1, 1000, "ms", "SMC_CONTACT", "time for first contact with another process"),
  runtimeDir: path("SMC_RUNTIME_DIR", "directory where processes find each other; none: one of the user's own"),
  shmUids: ids("SMC_SHM_UIDS", "users beside one's own whose processes may share memory with this one"),
  shmGids: ids("SMC_SHM_GIDS", "groups whose members may; the first is given a runtime directory that is made"),
} as const;

/**
 * Whether version 1 of CLC may be offered and accepted: it knows no EIDs, so it is out as soon as EIDs are chosen to say
 * who may meet whom; unless version 1 is all there shall be.
 */
export function allowsVersion1({ clcVersion, ueids }: SmcOptions): boolean {
  return clcVersion === 1 || ueids.join() === OPTIONS.ueids.value.join();
}

type ValueOf<O> = O extends NumberOption
  ? number
  : O extends FlagOption
    ? boolean
    : O extends PathOption
      ? string
      : O extends IdsOption
        ? readonly number[]
        : readonly string[];
export type SmcOptions = { readonly [K in keyof typeof OPTIONS]: ValueOf<(typeof OPTIONS)[K]> };

const OFF = new Set(["0", "off", "false", "no"]);
const ON = new Set(["", "1", "on", "true", "yes"]);
const MAX_RULES = 256;
/** Ids of users and groups in one list, and the largest of them: -1 as u32 is none. */
const MAX_IDS = 64;
const MAX_ID = 0xffff_fffe;
const UEID = /^[A-Z0-9][A-Z0-9.-]{0,31}$/;

function refuse(name: string, value: unknown, allowed: string): never {
  throw new SmcError("EINVAL", `option ${name} = ${JSON.stringify(value)}: allowed is ${allowed}`, {
    name,
    value,
    allowed,
  });
}

function check(name: keyof SmcOptions, value: unknown): number | boolean | string | readonly (string | number)[] {
  const option: Option = OPTIONS[name];
  if (option.kind === "number") {
    if (typeof value !== "number" || !Number.isInteger(value) || value < option.min || value > option.max)
      refuse(name, value, `an integer from ${option.min} to ${option.max} ${option.unit}`.trimEnd());
    return value;
  }
  if (option.kind === "flag") {
    if (typeof value !== "boolean") refuse(name, value, "true or false");
    return value;
  }
  if (option.kind === "path") {
    if (typeof value !== "string" || (value !== "" && !value.startsWith("/")) || value.includes("\0"))
      refuse(name, value, "an absolute path, or nothing");
    return value;
  }
  if (option.kind === "rules") {
    if (!Array.isArray(value) || value.length > MAX_RULES) refuse(name, value, `up to ${MAX_RULES} rules`);
    for (const rule of value) parseRule(String(rule));
    return Object.freeze(value.map(String));
  }
  if (option.kind === "ids") {
    const fits = (id: unknown): boolean => typeof id === "number" && Number.isInteger(id) && id >= 0 && id <= MAX_ID;
    if (!Array.isArray(value) || value.length > MAX_IDS || !value.every(fits))
      refuse(name, value, `up to ${MAX_IDS} numbers from 0 to ${MAX_ID}`);
    return Object.freeze([...value]);
  }
  if (!Array.isArray(value) || value.length > 8 || value.some((eid) => typeof eid !== "string" || !UEID.test(eid)))
    refuse(name, value, "up to 8 names of at most 32 characters A-Z 0-9 . -");
  return Object.freeze([...value]);
}

const toNumber = (text: string): number => (text.trim() === "" ? Number.NaN : Number(text));

function fromText(name: keyof SmcOptions, text: string): unknown {
  const option: Option = OPTIONS[name];
  if (option.kind === "number") return toNumber(text);
  if (option.kind === "flag") {
    const word = text.trim().toLowerCase();
    return OFF.has(word) ? false : ON.has(word) ? true : text;
  }
  if (option.kind === "path") return text;
  if (option.kind === "rules") return text.split(",").flatMap((item) => item.trim() || []);
  if (option.kind === "ids") return text.trim() === "" ? [] : text.split(",").map(toNumber);
  return text.split(",").map((item) => item.trim());
}

/**
 * The options in force: defaults, then the environment, then `overrides`. Frozen.
 *
 * Errors: SmcError EINVAL for a value out of its range, naming the option.
 */
export function readOptions(
  overrides: Partial<SmcOptions> = {},
  env: Record<string, string | undefined> = process.env,
): SmcOptions {
  const result: Record<string, unknown> = {};
  for (const name of Object.keys(OPTIONS) as (keyof SmcOptions)[]) {
    const text = env[OPTIONS[name].env];
    const given = overrides[name] ?? (text === undefined ? undefined : fromText(name, text));
    result[name] = check(name, given ?? OPTIONS[name].value);
  }
  return Object.freeze(result) as SmcOptions;
}

/** What was overridden last, and what it came to: a program says the same of each connection. */
let last:
  | { readonly base: SmcOptions; readonly overrides: Partial<SmcOptions>; readonly options: SmcOptions }
  | undefined;

/** Whether both override the same by the same. A list does not: it may have been changed in place. */
function areSame(some: Partial<SmcOptions>, others: Partial<SmcOptions>): boolean {
  const names = Object.keys(some) as (keyof SmcOptions)[];
  if (names.length !== Object.keys(others).length) return false;
  return names.every((name) => typeof some[name] !== "object" && Object.is(some[name], others[name]));
}

/** `base` with `overrides`. The same object for the same overrides, where others hang something on it. Errors: as readOptions. */
export function overrideOptions(base: SmcOptions, overrides: Partial<SmcOptions>): SmcOptions {
  if (last?.base === base && areSame(last.overrides, overrides)) return last.options;
  last = { base, overrides: { ...overrides }, options: readOptions({ ...base, ...overrides }, {}) };
  return last.options;
}
