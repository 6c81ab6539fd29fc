/**
 * What a running process can be asked, and the form of its reply: one line of JSON each way.
 *
 * Owns the questions and the check of one that came from outside. Who answers is thread.ts, who carries it endpoint.ts.
 */
import { SmcError } from "../errors.js";
import { type PolicyChange, parseRule } from "../policy.js";

/** A question without its line feed, bytes at most. 256 rules fit in twice. */
export const QUESTION_LIMIT = 65_536;
const MAX_RULES = 256;
/** Longest rule: an IPv6 address in brackets, bits, two ports. */
const MAX_RULE_LENGTH = 64;

export type Question =
  | { readonly ask: "sockets" }
  | { readonly ask: "devices" }
  | { readonly ask: "linkGroups" }
  /** Since the last reset, or since the beginning. */
  | { readonly ask: "counters"; readonly absolute: boolean }
  | { readonly ask: "reset" }
  /** Changes it first, if a change comes with it. */
  | { readonly ask: "policy"; readonly change?: PolicyChange };

/** One thread's say. */
export interface ThreadAnswer {
  readonly thread: number;
  readonly answer: unknown;
}

/** What a process replies. */
export interface Reply {
  /** Version of its smcnet. */
  readonly smcnet: string;
  readonly pid: number;
  /** What it runs, for people. */
  readonly program: string;
  readonly threads: readonly ThreadAnswer[];
  /** Threads that did not answer in time. */
  readonly silent: readonly number[];
}

function refuse(what: string): never {
  throw new SmcError("EINVAL", `no question: ${what}`);
}

function rulesOf(value: unknown, name: string): readonly string[] | undefined {
  if (value === undefined) return undefined;
  if (!Array.isArray(value) || value.length > MAX_RULES) return refuse(`${name} takes up to ${MAX_RULES} rules`);
  for (const rule of value) {
    if (typeof rule !== "string" || rule.length > MAX_RULE_LENGTH) refuse(`${name} has a rule that is none`);
    parseRule(rule);
  }
  return value as string[];
}

/** Errors: SmcError EINVAL. */
export function checkPolicyChange(value: unknown): PolicyChange {
  if (typeof value !== "object" || value === null) return refuse("change is no object");
  const { enabled, only, except } = value as Record<string, unknown>;
  if (enabled !== undefined && typeof enabled !== "boolean") return refuse("enabled is neither true nor false");
  return { enabled, only: rulesOf(only, "only"), except: rulesOf(except, "except") };
}

/** Takes: what somebody sent. Errors: SmcError EINVAL for what is no question. */
export function parseQuestion(text: string): Question {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return refuse("no JSON");
  }
  const { ask, absolute, change } = (value ?? {}) as Record<string, unknown>;
  switch (ask) {
    case "sockets":
    case "devices":
    case "linkGroups":
    case "reset":
      return { ask };
    case "counters":
      return { ask, absolute: absolute === true };
    case "policy":
      return change === undefined ? { ask } : { ask, change: checkPolicyChange(change) };
    default:
      return refuse("nothing that can be asked");
  }
}
