#!/usr/bin/env node
/**
 * The command `smcnet`: finds the subcommand and turns its outcome into an exit code.
 *
 * Owns the list of subcommands and the exit codes: 0 done, 1 failed, 2 not understood; `run` has its program's. What a subcommand does is in the
 * file of its name. The same file is also the Worker that answers the built-in exchange of `smcnet stats`, and the process
 * that answers `smcnet chk`.
 */
import { isMainThread } from "node:worker_threads";
import { BENCH_USAGE, benchCommand } from "./bench.js";
import { answerCheck, CHECK_ARGUMENT, CHK_USAGE, chkCommand } from "./chk.js";
import { PACKAGE_VERSION } from "./package.js";
import { POLICY_USAGE, policyCommand } from "./policy.js";
import { RUN_USAGE, runCommand } from "./run.js";
import { SS_USAGE, ssCommand } from "./ss.js";
import { answerExchange, STATS_USAGE, statsCommand } from "./stats.js";
import { UsageError } from "./usage.js";

const USAGE = `smcnet COMMAND [arguments]

run PROGRAM...       run a program with SMC for its sockets, its Workers and its child processes
ss                   list the sockets of running programs
stats [FILE.json]    print counters: of running programs (show, reset), of a saved snapshot, or of a short exchange
policy               show or change which connections of running programs may use SMC
chk [ADDRESS:PORT]   say what this host can do: devices, a live connection over each; or what carries one to a server
bench NAME...        measure SMC beside TCP, unix sockets and MessagePort
help [COMMAND]       this text, or that of a command; also COMMAND --help
--version            the version of smcnet`;

interface Command {
  readonly usage: string;
  /** Returns: the exit code, 0 if it says none. */
  readonly run: (argv: readonly string[], write: (line: string) => void) => Promise<number | void> | number | void;
}

const help: Command = {
  usage: USAGE,
  run([name], write) {
    const command = name === undefined ? help : COMMANDS.get(name);
    if (command === undefined) throw new UsageError(`no command is called "${name}"`, USAGE);
    write(command.usage);
  },
};

const COMMANDS: ReadonlyMap<string, Command> = new Map([
  ["run", { usage: RUN_USAGE, run: runCommand }],
  ["ss", { usage: SS_USAGE, run: ssCommand }],
  ["stats", { usage: STATS_USAGE, run: statsCommand }],
  ["policy", { usage: POLICY_USAGE, run: policyCommand }],
  ["chk", { usage: CHK_USAGE, run: chkCommand }],
  ["bench", { usage: BENCH_USAGE, run: benchCommand }],
  ["help", help],
  ["--help", help],
  ["-h", help],
  ["--version", { usage: USAGE, run: (_argv, write) => write(PACKAGE_VERSION) }],
]);

/** Whether a command is only asked for its text. The words of `run` are its program's from some point on: it looks itself. */
const asksForHelp = (name: string, argv: readonly string[]): boolean =>
  name !== "run" && argv.some((word) => word === "--help" || word === "-h");

function writeLine(line: string): void {
  process.stdout.write(`${line}\n`);
}

async function main([name, ...rest]: readonly string[]): Promise<number> {
  try {
    const command = name === undefined ? undefined : COMMANDS.get(name);
    if (name === undefined || command === undefined)
      throw new UsageError(name === undefined ? "which command?" : `no command is called "${name}"`, USAGE);
    if (asksForHelp(name, rest)) writeLine(command.usage);
    else return (await command.run(rest, writeLine)) ?? 0;
    return 0;
  } catch (error) {
    if (error instanceof UsageError) {
      process.stderr.write(`smcnet: ${error.message}\n\n${error.usage}\n`);
      return 2;
    }
    process.stderr.write(`smcnet: ${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  }
}

if (!isMainThread) await answerExchange();
else if (process.argv[2] === CHECK_ARGUMENT) await answerCheck();
else process.exitCode = await main(process.argv.slice(2));
