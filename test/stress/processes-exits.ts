/**
 * How a party ends, by itself or by the hand of another: at once, in the middle of something, at a moment to the microsecond.
 *
 * Owns the ways to go. What the others see of it, they say themselves.
 */
import { closeSync, openSync } from "node:fs";
import { createRequire } from "node:module";
import { type TransportName, transport } from "../support/transports.js";
import { WATCHDOG_MS } from "../support/watchdog.js";
import { endOf, takeEnd } from "./processes-connections.js";
import { End, type Outcome } from "./processes-ends.js";

export type Died = "exit" | "throw" | "exec";

/** Turns of the event loop for so long: a moment to be struck at, in microseconds from now. */
async function turns(us: number): Promise<void> {
  const until = performance.now() + us / 1000;
  while (performance.now() < until) await new Promise((resolve) => setImmediate(resolve));
}

/** Replaces the program of this process by another one, which does nothing. */
function exec(): never {
  const koffi = createRequire(import.meta.url)("koffi") as {
    load(name: string): { func(signature: string): (path: string, argv: (string | null)[]) => number };
  };
  const execv = koffi.load("libc.so.6").func("int execv(const char *path, const char **argv)");
  execv("/bin/sleep", ["sleep", String(WATCHDOG_MS / 1000), null]);
  throw new Error("execv returned");
}

export const dying = {
  /** Ends with `bytes` of the stream `label` and goes in the same turn. */
  endAndExit(name: string, label: string, bytes: number): void {
    endOf(name).ending(label, bytes);
    process.exit();
  },

  /** The program of this party ends, in the middle of whatever it does. */
  die(way: Died): void {
    if (way === "exit") process.exit();
    if (way === "exec") exec();
    setImmediate(() => {
      // What it says about it is of no interest: from here on descriptor 2 is another file.
      closeSync(2);
      openSync("/dev/null", "w");
      throw new Error("on purpose");
    });
  },

  /** Kills process `pid` in `us` microseconds, and hears end `name` out. `ms`: from the kill to the first event. */
  async strike(name: string, label: string, pid: number, us: number): Promise<Outcome & { readonly ms: number }> {
    const end = takeEnd(name);
    end.hears(label);
    await turns(us);
    const killed = performance.now();
    process.kill(pid, "SIGKILL");
    const outcome = await end.outcome();
    return { ...outcome, ms: end.overAt - killed };
  },

  /** Connects and kills itself in `us` microseconds, whatever has become of it. */
  async dialAndDie(carrier: TransportName, port: number, us: number): Promise<void> {
    const { client: module, smc: overrides } = transport(carrier);
    module.connect({ port, host: "127.0.0.1", smc: overrides }).on("error", () => undefined);
    await turns(us);
    process.kill(process.pid, "SIGKILL");
  },

  /** Connects to a process and kills it in `us` microseconds. Returns: what became of the connection. */
  async dialAndKill(carrier: TransportName, port: number, pid: number, us: number): Promise<Outcome> {
    const { client: module, smc: overrides } = transport(carrier);
    const end = new End(module.connect({ port, host: "127.0.0.1", smc: overrides }));
    await turns(us);
    process.kill(pid, "SIGKILL");
    return end.outcome();
  },
};
