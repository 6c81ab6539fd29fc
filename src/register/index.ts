/**
 * `smcnet/register`: SMC for programs that know nothing of it.
 *
 * Loading it replaces the connect of TCP handles and the listening of servers, for everything in this thread that stands on
 * `net`; `uninstall` takes it back. Connections and listeners that exist already stay what they are.
 */
import { threadContext } from "../net/context.js";
import { debug } from "../trace.js";
import { replace } from "./patch.js";
import { patches } from "./patches.js";

let restore: (() => void) | undefined;

/** Idempotent. Where this thread cannot speak SMC at all, nothing is replaced, and a warning has said why. */
export function install(): void {
  if (restore !== undefined) return;
  const { options } = threadContext();
  if (!options.enabled) return;
  const table = patches();
  if (table === undefined) {
    threadContext().ready();
    return;
  }
  try {
    restore = replace(table);
  } catch (error) {
    process.emitWarning(`connections stay on TCP: ${(error as Error).message}`, {
      code: "SMC_UNSUPPORTED_NODE",
      type: "SmcWarning",
    });
  }
  debug("preload: %s", restore === undefined ? "nothing is replaced" : "installed");
}

/** From now on connections and listeners are plain; those that exist stay as they are. Idempotent. */
export function uninstall(): void {
  restore?.();
  restore = undefined;
}
