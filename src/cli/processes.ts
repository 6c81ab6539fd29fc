/**
 * Running processes, as subcommands ask them: all in the runtime directory, or one.
 *
 * Owns the choice by `-p`, and what is said on stderr of those that gave no answer.
 */
import { readOptions } from "../config.js";
import { type CheckedReply, readReply } from "../diag/answers.js";
import type { Question } from "../diag/question.js";
import { askEndpoint, findEndpoints, openEndpointFolder } from "../diag/reach.js";
import { UsageError } from "./usage.js";

/** Processes asked at the same time. */
const AT_ONCE = 16;

export const PROCESS_OPTION = { pid: { type: "string", short: "p" } } as const;

/** Errors: UsageError. */
export function pidOf(text: string | undefined, usage: string): number | undefined {
  if (text === undefined) return undefined;
  if (!/^[1-9]\d{0,9}$/.test(text)) throw new UsageError(`-p takes the id of a process, not "${text}"`, usage);
  return Number(text);
}

const note = (text: string): boolean => process.stderr.write(`smcnet: ${text}\n`);

/**
 * Asks.
 *
 * Takes:  pid, of one process; undefined for all.
 * Errors: Error where there is no runtime directory, and where the one process asked for gave no answer.
 */
export async function askProcesses<Ask extends Question["ask"]>(
  question: Question & { readonly ask: Ask },
  pid?: number,
): Promise<CheckedReply<Ask>[]> {
  const folder = openEndpointFolder(readOptions());
  if ("reason" in folder) throw new Error(`no running process can be reached: ${folder.reason}`);
  const replies: CheckedReply<Ask>[] = [];
  const failures: string[] = [];
  try {
    const found = findEndpoints(folder).filter((endpoint) => pid === undefined || endpoint.pid === pid);
    const next = found.values();
    const askOn = async (): Promise<void> => {
      for (const endpoint of next) {
        const outcome = await askEndpoint(endpoint, question);
        if (outcome === "gone") continue;
        if (outcome === "silent") failures.push(`process ${endpoint.pid} does not answer`);
        else if (outcome === "too long") failures.push(`process ${endpoint.pid} answers without end`);
        else {
          const reply = readReply(question.ask, outcome);
          if ("fault" in reply) failures.push(`process ${endpoint.pid}: ${reply.fault}`);
          else replies.push(reply);
        }
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, askOn));
  } finally {
    folder.close();
  }
  if (pid !== undefined && replies.length === 0)
    throw new Error(failures[0] ?? `no process ${pid} can be asked in ${folder.path}: was it started by smcnet run?`);
  for (const failure of failures) note(failure);
  for (const reply of replies)
    if (reply.silent.length > 0)
      note(`process ${reply.pid}: no answer from ${reply.silent.map((id) => `thread ${id}`).join(", ")}`);
  return replies.sort((a, b) => a.pid - b.pid);
}
