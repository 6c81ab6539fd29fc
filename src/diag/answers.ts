/**
 * What a process replied, checked: plain records made anew, with nothing in them that was not looked at.
 *
 * Owns the form of each answer. A reply is input: text that is printed to a terminal has no control characters, numbers are
 * numbers, lists are bounded by what was read.
 */
import type { CountersSnapshot } from "./counters.js";
import type { Question } from "./question.js";
import type {
  AddressRecord,
  ConnRecord,
  CursorRecord,
  DeviceRecord,
  DmbRecord,
  LinkGroupRecord,
  PolicyRecord,
  SocketRecord,
} from "./records.js";
import { snapshotFault } from "./totals.js";

/** A thread's answer to each question. */
export interface Answers {
  readonly sockets: readonly SocketRecord[];
  readonly devices: readonly DeviceRecord[];
  readonly linkGroups: readonly LinkGroupRecord[];
  readonly counters: CountersSnapshot;
  readonly reset: CountersSnapshot;
  readonly policy: PolicyRecord;
}

/** A reply that passed. */
export interface CheckedReply<Ask extends Question["ask"]> {
  readonly smcnet: string;
  readonly pid: number;
  readonly program: string;
  readonly threads: readonly { readonly thread: number; readonly answer: Answers[Ask] }[];
  readonly silent: readonly number[];
}

type Fields = Readonly<Record<string, unknown>>;

/** What is wrong, in words. Never leaves this file. */
class Fault extends Error {}

const HEX = /^[0-9a-f]{1,32}$/;
const WORD = /^[A-Za-z0-9_.+-]{1,64}$/;
const ADDRESS = /^[0-9A-Za-z:.%_-]{0,64}$/;
const RULE = /^[0-9A-Fa-f:.[\]/-]{1,64}$/;
const MAX_TEXT = 4096;

function fields(value: unknown, what: string): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Fault(`${what} is no object`);
  return value as Fields;
}

function list<T>(value: unknown, what: string, item: (value: unknown) => T): T[] {
  if (!Array.isArray(value)) throw new Fault(`${what} is no list`);
  return value.map(item);
}

function integer(from: Fields, name: string): number {
  const value = from[name];
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) throw new Fault(`${name} is no number`);
  return value;
}

function flag(from: Fields, name: string): boolean {
  const value = from[name];
  if (typeof value !== "boolean") throw new Fault(`${name} is neither true nor false`);
  return value;
}

function word(from: Fields, name: string, pattern: RegExp): string {
  const value = from[name];
  if (typeof value !== "string" || !pattern.test(value)) throw new Fault(`${name} is not what it should be`);
  return value;
}

/** Text for people: without what a terminal would act on. */
function text(from: Fields, name: string): string {
  const value = from[name];
  if (typeof value !== "string") throw new Fault(`${name} is no text`);
  return value.slice(0, MAX_TEXT).replace(/[^\P{C}]/gu, "?");
}

const given = <T>(value: unknown, read: (value: unknown) => T): T | undefined =>
  value === undefined ? undefined : read(value);

function oneOf<T>(from: Fields, name: string, allowed: readonly T[]): T {
  if (!allowed.includes(from[name] as T)) throw new Fault(`${name} is not what it should be`);
  return from[name] as T;
}

function address(value: unknown): AddressRecord {
  const from = fields(value, "an address");
  return { address: word(from, "address", ADDRESS), port: integer(from, "port") };
}

function cursor(value: unknown): CursorRecord {
  const from = fields(value, "a cursor");
  return { wrap: integer(from, "wrap"), count: integer(from, "count") };
}

const CURSORS = ["rxProd", "rxCons", "txProd", "txCons", "txPrep", "txSent", "txFin"] as const;
const NUMBERS = [
  ...(["token", "sndbufBytes", "rmbeBytes", "peerRmbeBytes"] as const),
  ...(["rxProducerFlags", "rxStateFlags", "txProducerFlags", "txStateFlags"] as const),
];

function conn(value: unknown): ConnRecord {
  const from = fields(value, "conn");
  const record: Record<string, unknown> = {};
  for (const name of NUMBERS) record[name] = integer(from, name);
  for (const name of CURSORS) record[name] = cursor(from[name]);
  return record as unknown as ConnRecord;
}

function dmb(value: unknown): DmbRecord {
  const from = fields(value, "dmb");
  const id = (name: string): string => word(from, name, HEX);
  const linkId = integer(from, "linkId");
  return { gid: id("gid"), token: id("token"), peerGid: id("peerGid"), peerToken: id("peerToken"), linkId };
}

function fallback(value: unknown): { code: number; peerDiagnosis?: number } {
  const from = fields(value, "fallback");
  const peerDiagnosis = given(from["peerDiagnosis"], () => integer(from, "peerDiagnosis"));
  return { code: integer(from, "code"), ...(peerDiagnosis !== undefined && { peerDiagnosis }) };
}

function socket(value: unknown): SocketRecord {
  const from = fields(value, "a socket");
  const shutdown = fields(from["shutdown"], "shutdown");
  const peer = given(from["peer"], address);
  const why = given(from["fallback"], fallback);
  const inside = given(from["conn"], conn);
  const names = given(from["dmb"], dmb);
  return {
    state: word(from, "state", WORD),
    uid: integer(from, "uid"),
    inode: integer(from, "inode"),
    local: address(from["local"]),
    ...(peer && { peer }),
    mode: oneOf(from, "mode", ["SMCD", "SMCR", "TCP"] as const),
    ...(why && { fallback: why }),
    shutdown: { receive: flag(shutdown, "receive"), send: flag(shutdown, "send") },
    ...(inside && { conn: inside }),
    ...(names && { dmb: names }),
  };
}

function device(value: unknown): DeviceRecord {
  const from = fields(value, "a device");
  const name = word(from, "name", WORD);
  if (from["reason"] !== undefined) return { name, reason: text(from, "reason") };
  return { name, gid: word(from, "gid", HEX), gidExt: word(from, "gidExt", HEX), chid: integer(from, "chid") };
}

function linkGroup(value: unknown): LinkGroupRecord {
  const from = fields(value, "a link group");
  return {
    id: integer(from, "id"),
    device: word(from, "device", WORD),
    peerGid: word(from, "peerGid", HEX),
    version: oneOf(from, "version", [1, 2] as const),
    connections: integer(from, "connections"),
  };
}

function counters(value: unknown): CountersSnapshot {
  const fault = snapshotFault(value);
  if (fault !== undefined) throw new Fault(fault);
  return value as CountersSnapshot;
}

function policy(value: unknown): PolicyRecord {
  const from = fields(value, "policy");
  const rules = (name: string): string[] => list(from[name], name, (rule) => word({ rule }, "rule", RULE));
  return { enabled: flag(from, "enabled"), only: rules("only"), except: rules("except"), hook: flag(from, "hook") };
}

const READERS: { readonly [Ask in Question["ask"]]: (value: unknown) => Answers[Ask] } = {
  sockets: (value) => list(value, "sockets", socket),
  devices: (value) => list(value, "devices", device),
  linkGroups: (value) => list(value, "link groups", linkGroup),
  counters,
  reset: counters,
  policy,
};

/**
 * Reads a reply to a question.
 *
 * Returns: the reply; or, in words, what the process refused or what is wrong with what it sent.
 */
export function readReply<Ask extends Question["ask"]>(ask: Ask, line: string): CheckedReply<Ask> | { fault: string } {
  try {
    const from = fields(JSON.parse(line) as unknown, "the reply");
    if (from["error"] !== undefined) return { fault: text(from, "error") };
    const read = READERS[ask];
    return {
      smcnet: word(from, "smcnet", WORD),
      pid: integer(from, "pid"),
      program: text(from, "program"),
      threads: list(from["threads"], "threads", (value) => {
        const one = fields(value, "a thread");
        return { thread: integer(one, "thread"), answer: read(one["answer"]) };
      }),
      silent: list(from["silent"], "silent", (thread) => integer({ thread }, "thread")),
    };
  } catch (error) {
    return { fault: error instanceof Fault ? error.message : "it is no JSON" };
  }
}
