#!/usr/bin/env node
/**
 * The command `smcnet`: finds the subcommand and turns its outcome into an exit code.
 *
 * Owns the list of subcommands and the exit codes: 0 done, 1 failed, 2 not understood; `run` has its program's. What a subcommand does is in the
 * file of its name. The same file is also the Worker that answers the built-in exchange of `smcnet stats`, and the process
 * that answers `smcnet chk`.
 */
import { isMainThread } from "node:worker_threads";
import { benchCommand } from "./bench.js";
import { answerCheck, CHECK_ARGUMENT, chkCommand } from "./chk.js";
import { PACKAGE_VERSION } from "./package.js";
import { runCommand } from "./run.js";
import { answerExchange, statsCommand } from "./stats.js";
import { UsageError } from "./usage.js";

const USAGE = `smcnet COMMAND [arguments]

bench NAME...        measure SMC beside TCP, unix sockets and MessagePort
chk                  say what this host can do: devices, and a live connection over each
run PROGRAM...       run a program with SMC for its sockets, its Workers and its child processes
stats [FILE.json]    print the counters of a saved snapshot, or of a short exchange made for the purpose
help, --help         this text
--version            the version of smcnet`;

type Command = (argv: readonly string[], write: (line: string) => void) => Promise<number | void> | number | void;

const help: Command = (_argv, write) => write(USAGE);
const version: Command = (_argv, write) => write(PACKAGE_VERSION);

const COMMANDS: ReadonlyMap<string, Command> = new Map([
  ["bench", benchCommand],
  ["chk", chkCommand],
  ["run", runCommand],
  ["stats", statsCommand],
  ["help", help],
  ["--help", help],
  ["-h", help],
  ["--version", version],
]);

function writeLine(line: string): void {
  process.stdout.write(`${line}\n`);
}

async function main([name, ...rest]: readonly string[]): Promise<number> {
  try {
    const command = name === undefined ? undefined : COMMANDS.get(name);
    if (!command) throw new UsageError(name === undefined ? "which command?" : `no command is called "${name}"`, USAGE);
    return (await command(rest, writeLine)) ?? 0;
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
