/**
 * `smcnet bench`: reads the command line of the benches and hands it to them.
 *
 * Owns the options. The benches are built beside the CLI and loaded only when they are asked for; how they measure is
 * told in bench/README.md.
 */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { PACKAGE_FOLDER } from "./package.js";
import { UsageError } from "./usage.js";

/** What this file needs of bench/launch.ts. */
interface BenchModule {
  readonly SCENARIOS: readonly string[];
  readonly TRANSPORTS: readonly string[];
  readonly CONTEXTS: readonly string[];
  bench(
    options: {
      readonly scenarios: readonly string[];
      readonly quick: boolean;
      readonly json: boolean;
      readonly ffi: boolean;
      readonly contexts: string;
      readonly transports?: readonly string[];
    },
    write: (line: string) => void,
  ): Promise<void>;
}

export const BENCH_USAGE = `smcnet bench NAME... [options]

Measures SMC beside the kernel's sockets, in the same run.

NAME                  pingpong, stream, msgrate, http, idle, short, crowd, or all
--quick               small parameters: shows that it runs, the figures mean little
--transports a,b      only these: floor, ring, smcd, smcd-copy, tcp, uds, messageport
--contexts threads    both sides are Workers of one process
--contexts processes  each side is a process; floor and messageport need threads
--no-ffi              with SMC_FFI=off
--json                one JSON object a line instead of tables`;

const OPTIONS = {
  quick: { type: "boolean", default: false },
  json: { type: "boolean", default: false },
  "no-ffi": { type: "boolean", default: false },
  contexts: { type: "string", default: "threads" },
  transports: { type: "string" },
} as const;

function pick(given: readonly string[], known: readonly string[], what: string): readonly string[] {
  const unknown = given.find((name) => !known.includes(name));
  if (unknown !== undefined) throw new UsageError(`no ${what} is called "${unknown}"`, BENCH_USAGE);
  return given;
}

/** Errors: UsageError for a command line that cannot be meant; otherwise the bench's own. */
export async function benchCommand(argv: readonly string[], write: (line: string) => void): Promise<void> {
  const { values, positionals } = parse(argv);
  const { SCENARIOS, TRANSPORTS, CONTEXTS, bench } = (await import(
    pathToFileURL(join(PACKAGE_FOLDER, "dist", "bench", "launch.mjs")).href
  )) as BenchModule;
  if (positionals.length === 0) throw new UsageError("which scenario?", BENCH_USAGE);
  pick([values.contexts], CONTEXTS, "context");
  const transports = values.transports?.split(",");
  await bench(
    {
      scenarios: positionals.includes("all") ? SCENARIOS : pick(positionals, SCENARIOS, "scenario"),
      quick: values.quick,
      json: values.json,
      ffi: !values["no-ffi"],
      contexts: values.contexts,
      ...(transports && { transports: pick(transports, TRANSPORTS, "transport") }),
    },
    write,
  );
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({ args: [...argv], options: OPTIONS, allowPositionals: true });
  } catch (error) {
    throw new UsageError((error as Error).message, BENCH_USAGE);
  }
}
