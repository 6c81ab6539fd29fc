/**
 * What this thread answers when it is asked.
 *
 * Owns the counters' reset: a reset moves the point they are counted from, so that nobody who counts or reads `smc.stats()`
 * notices. Makes no stack: a thread that has not used SMC yet says so by empty lists.
 */
import { getEnvironmentData, setEnvironmentData } from "node:worker_threads";
import { type ThreadContext, threadContext } from "../net/context.js";
import type { PolicyChange } from "../policy.js";
import { Counters, type CountersSnapshot } from "./counters.js";
import { checkPolicyChange, type Question } from "./question.js";
import type { LinkGroupRecord, PolicyRecord } from "./records.js";
import { deviceRecords, linkGroupRecords, socketRecords } from "./snapshot.js";
import { countedSince } from "./totals.js";

/** Under it Workers to come find the policy, if it was changed while the process ran. */
const POLICY_KEY = "smcnet/policy";

let resetAt: CountersSnapshot | undefined;

function counters(context: ThreadContext, absolute: boolean): CountersSnapshot {
  const now = (context.stackIfAny?.counters ?? new Counters()).snapshot();
  return absolute || resetAt === undefined ? now : countedSince(resetAt, now);
}

function policyRecord(): PolicyRecord {
  const { enabled = true, only = [], except = [], hook } = threadContext().policy.state;
  return { enabled, only, except, hook };
}

/** Changes the policy of this thread, and of the Workers it will make. Errors: SmcError EINVAL. */
export function changePolicy(change: PolicyChange): PolicyRecord {
  threadContext().policy.change(change);
  const record = policyRecord();
  const { enabled, only, except } = record;
  setEnvironmentData(POLICY_KEY, { enabled, only: [...only], except: [...except] });
  return record;
}

/** The policy as it was changed while the process ran, and before this thread began; undefined if it was not. */
export function changedPolicy(): PolicyChange | undefined {
  const value = getEnvironmentData(POLICY_KEY) as unknown;
  return value === undefined ? undefined : checkPolicyChange(value);
}

/**
 * Answers for this thread.
 *
 * Returns: SocketRecord[], DeviceRecord[], LinkGroupRecord[], CountersSnapshot, or the PolicyRecord, as plain data.
 */
export function answerQuestion(question: Question): unknown {
  const context = threadContext();
  const { stackIfAny } = context;
  switch (question.ask) {
    case "sockets":
      // With the preload every TCP server of the thread accepts SMC.
      return stackIfAny === undefined ? [] : socketRecords(stackIfAny, () => true);
    case "devices":
      return stackIfAny === undefined ? [] : deviceRecords(stackIfAny);
    case "linkGroups":
      return stackIfAny === undefined ? ([] satisfies LinkGroupRecord[]) : linkGroupRecords(stackIfAny);
    case "counters":
      return counters(context, question.absolute);
    case "reset": {
      const before = counters(context, false);
      resetAt = counters(context, true);
      return before;
    }
    case "policy":
      return question.change === undefined ? policyRecord() : changePolicy(question.change);
  }
}
