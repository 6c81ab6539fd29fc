/**
 * A process or thread with a registry of its own, which does what it is asked to and answers.
 *
 * Owns the things it can be asked for: argv is the runtime directory, the gid, and the trusted groups, comma separated.
 * What must come out is directory.test.ts.
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { parentPort } from "node:worker_threads";
import { networkNamespace } from "../../src/host/files.js";
import type { Endpoint } from "../../src/rendezvous/address.js";
import { ListenerDirectory } from "../../src/rendezvous/directory.js";
import type { Entry } from "../../src/rendezvous/entry.js";
import type { Wildcard } from "../../src/rendezvous/host.js";
import { keysToEnter } from "../../src/rendezvous/listener-key.js";
import { openRuntimeDirectory } from "../../src/rendezvous/runtime-directory.js";

/** What churning saw: enterings that were refused, entries that were gone while they were held. */
export interface Churned {
  readonly refused: number;
  readonly missing: number;
}

/** What can be asked for, each with its answer. */
export interface Jobs {
  enter(server: Endpoint, wildcard: Wildcard): boolean;
  /** Takes out all that was entered. */
  leave(): boolean;
  find(server: Endpoint): readonly Entry[];
  /** Enters and leaves, and looks for the entry in between. */
  churn(server: Endpoint, rounds: number): Churned;
  /** Removes what is stale, again and again. */
  sweep(rounds: number): boolean;
  /** Ends the process or thread without another word to the registry. */
  exit(): never;
}

export type Question = { [K in keyof Jobs]: readonly [K, ...Parameters<Jobs[K]>] }[keyof Jobs];

const SOCKET = "50c4e7.1";
const [path = "", gid = "", groups = ""] = process.argv.slice(2);
const gids = groups === "" ? [] : groups.split(",").map(Number);
const directory = openRuntimeDirectory({ path, gids }, () => "local");
if ("reason" in directory) throw new Error(directory.reason);
const registry = new ListenerDirectory(directory, { gid });
const leaves: (() => void)[] = [];

const jobs: Jobs = {
  enter(server, wildcard) {
    const leave = registry.enter(server, wildcard, SOCKET);
    if (leave !== undefined) leaves.push(leave);
    return leave !== undefined;
  },
  leave() {
    for (const leave of leaves.splice(0)) leave();
    return true;
  },
  find: (server) => registry.find(server),
  churn(server, rounds) {
    const folder = join(path, "l", keysToEnter(server, "none", networkNamespace(), [])[0]!);
    let refused = 0;
    let missing = 0;
    for (let round = 0; round < rounds; round++) {
      const leave = registry.enter(server, "none", SOCKET);
      if (leave === undefined) refused++;
      else if (!readdirSync(folder).some((name) => name.startsWith(gid))) missing++;
      leave?.();
    }
    return { refused, missing };
  },
  sweep(rounds) {
    for (let round = 0; round < rounds; round++) registry.sweep();
    return true;
  },
  exit: () => process.exit(),
};

const answer = (question: Question): unknown => {
  const [job, ...args] = question;
  return (jobs[job] as (...args: unknown[]) => unknown)(...args);
};

if (parentPort === null) {
  process.on("message", (question: Question) => process.send?.(answer(question)));
  process.send?.("ready");
} else {
  const port = parentPort;
  port.on("message", (question: Question) => port.postMessage(answer(question)));
  port.postMessage("ready");
}
