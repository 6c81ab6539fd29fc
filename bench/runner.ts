/**
 * The process from which a part of a bench is run, pinned and set up by launch.ts: runs the case it is told, sends records.
 *
 * Owns nothing but that. Started as a program; the plan is its only argument.
 */

import { runCase } from "./harness.js";
import { loadScenario, type RunnerMessage, type RunnerPlan } from "./launch.js";
import { needsSmc } from "./transports.js";

const plan = JSON.parse(process.argv[2]!) as RunnerPlan;
const scenario = await loadScenario(plan.scenario);
// The arena is handed down to Workers: it must exist before the first of them does. Processes make their own.
if (plan.fixed.contexts === "threads" && plan.transports.some(needsSmc)) await import("smcnet");
const subject = scenario.cases(plan.quick)[plan.caseIndex]!;
const records = await runCase(scenario, subject, plan.transports, plan.fixed);
const message: RunnerMessage = { records };
process.send!(message);
process.disconnect();
