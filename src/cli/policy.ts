/**
 * `smcnet policy`: which connections of running processes may use SMC, shown and changed while they run.
 *
 * Owns the command line and the text. The grammar of rules is src/policy.ts's.
 */
import { parseArgs } from "node:util";
import type { CheckedReply } from "../diag/answers.js";
import type { PolicyRecord } from "../diag/records.js";
import { type PolicyChange, parseRule } from "../policy.js";
import { askProcesses, PROCESS_OPTION, pidOf } from "./processes.js";
import { UsageError } from "./usage.js";

export const POLICY_USAGE = `smcnet policy [show | on | off | only RULES | except RULES] [options]

Shows or changes, in every thread of running processes that were started with the preload, which connections may use
SMC. It counts for new connections; those that exist stay what they are. Without -p all processes are meant.

on, off              SMC at all
only RULES           SMC only for these servers; "none" takes the rules away
except RULES         SMC for all servers but these; "none" likewise
RULES                PORT, PORT-PORT, ADDRESS, ADDRESS/BITS or ADDRESS:PORT, comma separated
-p, --pid PID        this process alone
--json               one JSON object`;

const OPTIONS = { ...PROCESS_OPTION, json: { type: "boolean", default: false } } as const;

function parse(argv: readonly string[]) {
  try {
    return parseArgs({ args: [...argv], options: OPTIONS, allowPositionals: true });
  } catch (error) {
    throw new UsageError((error as Error).message, POLICY_USAGE);
  }
}

function rulesOf(text: string | undefined): string[] {
  if (text === undefined) throw new UsageError("which rules?", POLICY_USAGE);
  const rules = text === "none" ? [] : text.split(",").map((rule) => rule.trim());
  try {
    for (const rule of rules) parseRule(rule);
  } catch (error) {
    throw new UsageError((error as Error).message, POLICY_USAGE);
  }
  return rules;
}

/** Errors: UsageError. Returns: undefined for none. */
function changeOf([verb = "show", rules, ...rest]: readonly string[]): PolicyChange | undefined {
  const takesRules = verb === "only" || verb === "except";
  if (rest.length > 0 || (rules !== undefined && !takesRules)) throw new UsageError("too many words", POLICY_USAGE);
  if (verb === "show") return undefined;
  if (verb === "on" || verb === "off") return { enabled: verb === "on" };
  if (takesRules) return { [verb]: rulesOf(rules) };
  throw new UsageError(`policy cannot "${verb}"`, POLICY_USAGE);
}

function policyText({ enabled, only, except, hook }: PolicyRecord): string {
  const rules = [
    enabled ? "on" : "off",
    ...(only.length > 0 ? [`only ${only.join(",")}`] : []),
    ...(except.length > 0 ? [`except ${except.join(",")}`] : []),
    ...(hook ? ["and the program's own say"] : []),
  ];
  return rules.join(", ");
}

/** One line where all threads have the same policy, else one a thread. */
function processLines({ pid, program, threads }: CheckedReply<"policy">): string[] {
  const texts = threads.map(({ thread, answer }) => ({ thread, text: policyText(answer) }));
  const same = texts.every(({ text }) => text === texts[0]?.text);
  const lines = same ? [texts[0]?.text ?? ""] : texts.map(({ thread, text }) => `${text} (thread ${thread})`);
  return lines.map((line) => `${String(pid).padStart(7)}  ${line.padEnd(30)}  ${program}`);
}

export async function policyCommand(argv: readonly string[], write: (line: string) => void): Promise<void> {
  const { values, positionals } = parse(argv);
  const change = changeOf(positionals);
  const pid = pidOf(values.pid, POLICY_USAGE);
  const replies = await askProcesses({ ask: "policy", ...(change && { change }) }, pid);
  if (values.json) {
    const processes = replies.map(({ pid, program, threads, silent }) => {
      return { pid, program, threads: threads.map(({ thread, answer }) => ({ thread, ...answer })), silent };
    });
    return write(JSON.stringify({ processes }));
  }
  write("    PID  Policy                          Program");
  for (const line of replies.flatMap(processLines)) write(line);
}
