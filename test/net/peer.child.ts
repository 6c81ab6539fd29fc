/**
 * A process that runs ends of scenarios by name, tells its counters, and what it still holds of a peer that is gone.
 *
 * Owns the loop of requests, and carries the sideline of its end over the channel to its parent. The main side is process-peer.ts.
 */
import { once } from "node:events";
import { readdirSync, readlinkSync } from "node:fs";
import { MessageChannel, type MessagePort } from "node:worker_threads";
import * as smc from "../../src/index.js";
import { udpSockets } from "../support/udp-sockets.js";
import { goesByItself, until } from "../support/watchdog.js";
import { answer, failedReply } from "./peer.js";
import type { ProcessReply, ProcessRequest, ProcessTask } from "./process-peer.js";

/** What a process that was never met by another holds. */
interface Holding {
  readonly freePages: number;
  readonly memfds: number;
  /** Of any kind but UDP. */
  readonly sockets: number;
}

/** Targets of the open descriptors; the one that lists them is gone by then. */
function descriptors(): string[] {
  return readdirSync("/proc/self/fd").flatMap((name) => {
    try {
      return [readlinkSync(`/proc/self/fd/${name}`)];
    } catch {
      return [];
    }
  });
}

function holding(): Holding {
  const freePages = smc.poolFreePages();
  const probes = udpSockets();
  const targets = descriptors().filter((target) => !probes.includes(target));
  return {
    freePages,
    memfds: targets.filter((target) => target.startsWith("/memfd:")).length,
    sockets: targets.filter((target) => target.startsWith("socket:")).length,
  };
}

const atStart = holding();
/** Whether this process has listened: then others may still come, and the socket for them stays. */
let listened = false;
let sideline: MessagePort | undefined;

function reply(message: ProcessReply): void {
  process.send!(message);
}

async function run(task: ProcessTask): Promise<void> {
  const { port1, port2 } = new MessageChannel();
  sideline = port2;
  if (task.side === "server" && task.transport !== "net" && task.transport !== "fallback: plain server")
    listened = true;
  port2.on("message", (word: unknown) => reply({ kind: "word", word }));
  // The end's last words are out before its result is.
  const silent = once(port2, "close");
  const result = await answer({ kind: "run", task: { ...task, port: port1 } });
  port1.close();
  await silent;
  sideline = undefined;
  reply(result);
}

/** Replies once nothing is left of the other process. */
async function beAlone(): Promise<void> {
  const expected = { ...atStart, sockets: atStart.sockets + (listened ? 1 : 0) };
  // Once an address had to be proven, one socket stays for probes.
  const back = () => JSON.stringify(holding()) === JSON.stringify(expected) && udpSockets().length <= 1;
  try {
    await until(back, "pages, memfds and sockets to be given back");
    reply({ kind: "alone" });
  } catch (cause) {
    const told = `${(cause as Error).message}: ${JSON.stringify(holding())}, not ${JSON.stringify(expected)}`;
    reply(failedReply(new Error(`${told}; open: ${descriptors().join(" ")}`)));
  }
}

process.on("message", async (request: ProcessRequest) => {
  if (request.kind === "word") sideline?.postMessage(request.word);
  else if (request.kind === "run") await run(request.task);
  else if (request.kind === "alone") await beAlone();
  else reply(await answer(request));
});
process.on("disconnect", () => goesByItself("its parent let it go"));
