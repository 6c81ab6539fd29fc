/**
 * `smcnet run`: starts a program, and all it starts, with the preload.
 *
 * Owns the command line and what becomes of it: which file is run with which arguments in which environment. How that is
 * started and waited for is launch.ts's.
 *
 * The preload comes twice. As a flag it is inherited by Workers without an environment of their own (`env: {}`) and by
 * `fork`; in NODE_OPTIONS by children, and by Workers with flags of their own (`execArgv: []`). A Worker with both, and a
 * child started with an empty environment, go without.
 */
import { statSync } from "node:fs";
import { basename, extname, join, resolve } from "node:path";
import { OPTIONS, readOptions, type SmcOptions } from "../config.js";
import { SmcError } from "../errors.js";
import { launch } from "./launch.js";
import { PACKAGE_FOLDER } from "./package.js";
import { UsageError } from "./usage.js";

export const RUN_USAGE = `smcnet run [options] [--] PROGRAM [arguments]

Runs a program with SMC for its sockets, for its Workers and for the Node.js processes it starts. PROGRAM is a script
(.js .mjs .cjs .ts .mts .cts), or a command that starts Node.js somewhere inside, such as "npm start".

-r SIZE              receive buffers wanted, bytes, or with K or M (SMC_RMEM)
-t SIZE              send buffers wanted in copy mode, likewise (SMC_WMEM)
-d                   trace handshakes to stderr (NODE_DEBUG=smc)
--verbose            each process says at its end on stderr how many connections went which way, and why
-h, --help           this text
--                   ends the options

Signals go to the program. The exit code is the program's: 128 + N where signal N ended it and cannot be repeated,
126 where PROGRAM may not be run, 127 where there is none.`;

/** Asks the preload for its report at the end of a process. */
export const REPORT_VARIABLE = "SMC_REPORT";

const SCRIPT_ENDINGS: ReadonlySet<string> = new Set([".js", ".mjs", ".cjs", ".ts", ".mts", ".cts"]);
const MAGNITUDES: Readonly<Record<string, number>> = { "": 1, k: 1 << 10, m: 1 << 20 };

/** What is to be started. */
export interface Launch {
  readonly file: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Node.js itself: nothing about the way it is started can be inherited by somebody it does not suit. */
  readonly isNode: boolean;
}

type Environment = Readonly<Record<string, string | undefined>>;

function sizeOf(option: "rmem" | "wmem", flag: string, text: string | undefined): string {
  const [, digits = "", magnitude = ""] = /^(\d+)([kKmM]?)$/.exec(text ?? "") ?? [];
  if (digits === "") throw new UsageError(`${flag} takes a size, such as 65536 or 64K`, RUN_USAGE);
  const size = Number(digits) * MAGNITUDES[magnitude.toLowerCase()]!;
  try {
    readOptions({ [option]: size } satisfies Partial<SmcOptions>, {});
  } catch (error) {
    if (!(error instanceof SmcError)) throw error;
    throw new UsageError(`${flag} ${text}: allowed is ${String(error.values["allowed"])}`, RUN_USAGE);
  }
  return String(size);
}

interface Parsed {
  /** Variables to be set. */
  readonly set: Environment;
  readonly program: readonly string[];
}

/** Options end at the first word that is none: all after it is the program's. */
function parse(argv: readonly string[], env: Environment): Parsed | "help" {
  const set: Record<string, string> = {};
  let at = 0;
  for (; at < argv.length; at++) {
    const word = argv[at]!;
    if (word === "--") {
      at++;
      break;
    }
    if (!word.startsWith("-")) break;
    if (word === "-h" || word === "--help") return "help";
    else if (word === "-r") set[OPTIONS.rmem.env] = sizeOf("rmem", word, argv[++at]);
    else if (word === "-t") set[OPTIONS.wmem.env] = sizeOf("wmem", word, argv[++at]);
    else if (word === "-d") set["NODE_DEBUG"] = env["NODE_DEBUG"] ? `${env["NODE_DEBUG"]},smc` : "smc";
    else if (word === "--verbose") set[REPORT_VARIABLE] = "1";
    else throw new UsageError(`no option is called "${word}"`, RUN_USAGE);
  }
  const program = argv.slice(at);
  if (program.length === 0) throw new UsageError("which program?", RUN_USAGE);
  return { set, program };
}

/** A word of NODE_OPTIONS, whatever it holds. */
const quoted = (word: string): string => `"${word.replace(/["\\]/g, "\\$&")}"`;

/** Ours comes first, so that what others preload finds SMC there. */
function nodeOptions(register: string, before: string | undefined): string {
  const own = `--require ${quoted(register)}`;
  if (!before) return own;
  return before.includes(own) ? before : `${own} ${before}`;
}

function isScript(word: string): boolean {
  return SCRIPT_ENDINGS.has(extname(word)) && (statSync(word, { throwIfNoEntry: false })?.isFile() ?? false);
}

/**
 * What a command line of `run` starts.
 *
 * Takes:  argv, the words after `run`; env, that of this process; register, absolute path of the preload.
 * Errors: UsageError.
 */
export function planRun(argv: readonly string[], env: Environment, register: string): Launch | "help" {
  const parsed = parse(argv, env);
  if (parsed === "help") return parsed;
  const [word = "", ...rest] = parsed.program;
  const all = { ...env, ...parsed.set, NODE_OPTIONS: nodeOptions(register, env["NODE_OPTIONS"]) };
  if (isScript(word))
    return { file: process.execPath, args: ["--require", register, resolve(word), ...rest], env: all, isNode: true };
  if (basename(word) === "node") return { file: word, args: ["--require", register, ...rest], env: all, isNode: false };
  return { file: word, args: rest, env: all, isNode: false };
}

export async function runCommand(argv: readonly string[], write: (line: string) => void): Promise<number> {
  const plan = planRun(argv, process.env, join(PACKAGE_FOLDER, "dist", "register.cjs"));
  if (plan !== "help") return launch(plan);
  write(RUN_USAGE);
  return 0;
}
