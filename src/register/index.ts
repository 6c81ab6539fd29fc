/**
 * `smcnet/register`: SMC for programs that know nothing of it.
 *
 * Loading it replaces the connect of TCP handles and the listening of servers, for everything in this thread that stands on
 * `net`; `uninstall` takes it back. Connections and listeners that exist already stay what they are.
 */
import { attend, isReporting } from "../diag/attend.js";
import { plainClientCounting } from "../diag/plain-clients.js";
import { threadContext } from "../net/context.js";
import { debug } from "../trace.js";
import { replace } from "./patch.js";
import { patches } from "./patches.js";

let restore: (() => void) | undefined;
/** Ends what answers `smcnet ss` and the like. */
let leave: (() => void) | undefined;

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
    // First: its socket is none that the patches should see.
    leave = attend(options);
    restore = replace(isReporting() ? [...table, ...plainClientCounting()] : table);
  } catch (error) {
    leave?.();
    leave = undefined;
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
  leave?.();
  restore = leave = undefined;
}
