/**
 * `smcnet ss`: the sockets of running processes, with the options and columns of smcss.
 *
 * Owns the command line; the columns are render.ts's. Source: smc-protocol §11.5.
 */
import { parseArgs } from "node:util";
import { askProcesses, PROCESS_OPTION, pidOf } from "./processes.js";
import { renderSockets } from "./render.js";
import { UsageError } from "./usage.js";

export const SS_USAGE = `smcnet ss [options]

Lists the connected sockets of all processes of the runtime directory that were started with the preload.

-a, --all            opening and listening sockets too
-l, --listening      listening sockets alone
-d, --debug          sizes, cursors and flags, in hexadecimal
-D, --smcd           SMC-D sockets alone, with GIDs and tokens
-W, --wide           addresses in full
-p, --pid PID        this process alone
--json               one JSON object: processes with their sockets, whole records`;

const OPTIONS = {
  ...PROCESS_OPTION,
  all: { type: "boolean", short: "a", default: false },
  listening: { type: "boolean", short: "l", default: false },
  debug: { type: "boolean", short: "d", default: false },
  smcd: { type: "boolean", short: "D", default: false },
  wide: { type: "boolean", short: "W", default: false },
  json: { type: "boolean", default: false },
} as const;

function parse(argv: readonly string[]) {
  try {
    return parseArgs({ args: [...argv], options: OPTIONS }).values;
  } catch (error) {
    throw new UsageError((error as Error).message, SS_USAGE);
  }
}

export async function ssCommand(argv: readonly string[], write: (line: string) => void): Promise<void> {
  const values = parse(argv);
  const { all, listening, debug, smcd, json } = values;
  if (listening && (all || debug || smcd)) throw new UsageError("-l does not go with -a, -d or -D", SS_USAGE);
  const replies = await askProcesses({ ask: "sockets" }, pidOf(values.pid, SS_USAGE));
  if (!json) {
    const sockets = replies.flatMap(({ threads }) => threads.flatMap(({ answer }) => answer));
    return write(renderSockets(sockets, values).trimEnd());
  }
  const processes = replies.map(({ pid, program, threads, silent }) => {
    const sockets = threads.flatMap(({ thread, answer }) => answer.map((socket) => ({ thread, ...socket })));
    return { pid, program, sockets, silent };
  });
  write(JSON.stringify({ processes }));
}
