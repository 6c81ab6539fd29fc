/**
 * What all sockets of a thread share: the arena, the stack, the engine's parts; made once, however often smcnet is loaded.
 *
 * Reserving the arena happens at load, so that Workers created later inherit it; everything else at the first use.
 * A second copy of the same version uses what the first has made. One of another version steps aside, and its connections
 * stay on TCP: two stacks in a thread would share its id, its exit and its turns of the event loop.
 */
import { LAYOUT_VERSION } from "../../assembly/shared/layout.js";
import { type FallbackReason, localFallback } from "../clc/fallback.js";
import { readOptions, type SmcOptions } from "../config.js";
import { type Arena, openArena } from "../engine/arena.js";
import { Policy } from "../policy.js";
import { reapDeadWorkers } from "../reaper.js";
import { Stack } from "../stack.js";
import { debug } from "../trace.js";
import { DIAGNOSIS } from "../wire/clc-diagnosis.js";
import { engineBinding } from "./binding.js";
import { defineSmcHandle } from "./handle.js";
import type { NegotiationContext } from "./negotiate.js";
import { guardTransfers } from "./transfer.js";

/** Why this thread cannot speak SMC at all. */
export interface Unavailable {
  readonly reason: string;
}

/** The package's version, which the build puts in; sources that run otherwise are all of one version. */
declare const SMCNET_VERSION: string | undefined;
const VERSION = typeof SMCNET_VERSION === "string" ? SMCNET_VERSION : "source";

/** Where a copy of smcnet that came first says who it is. Read by every version to come: `version` and `layout` stay. */
const KEY = Symbol.for("smcnet/thread");
interface FirstCopy {
  readonly version: string;
  /** LAYOUT_VERSION. */
  readonly layout: number;
  /** Of use to a copy of the same version and layout alone. */
  readonly context: ThreadContext;
}

class ThreadContext {
  readonly options: SmcOptions;
  readonly arena: Arena | undefined;
  readonly policy = new Policy();
  /** The copy for which this one steps aside. */
  readonly #asideFor: FirstCopy | undefined;
  #ready: NegotiationContext | Unavailable | undefined;

  constructor(asideFor?: FirstCopy) {
    this.options = readOptions();
    this.policy.change(this.options);
    this.#asideFor = asideFor;
    this.arena = this.options.enabled && asideFor === undefined ? openArena(this.options) : undefined;
    if (this.arena === undefined) return;
    reapDeadWorkers(this.arena, () => this.stack);
    const { engine } = engineBinding();
    if (engine !== undefined) guardTransfers(engine);
  }

  /** The stack, if there is one or can be one. */
  get stack(): Stack | undefined {
    const ready = this.ready();
    return "stack" in ready ? ready.stack : undefined;
  }

  /** The stack if it was ever used; does not make one. */
  get stackIfAny(): Stack | undefined {
    return this.#ready !== undefined && "stack" in this.#ready ? this.#ready.stack : undefined;
  }

  /** Everything a negotiation needs, or why there is none. Decided once. */
  ready(): NegotiationContext | Unavailable {
    this.#ready ??= this.#open();
    return this.#ready;
  }

  #open(): NegotiationContext | Unavailable {
    if (!this.options.enabled) return { reason: "SMC=off" };
    if (this.#asideFor !== undefined) {
      const { version, layout } = this.#asideFor;
      const both = `smcnet ${version} (layout ${layout}) came before this smcnet ${VERSION} (layout ${LAYOUT_VERSION})`;
      return this.#unavailable("SMC_SECOND_COPY", `in this thread ${both}`);
    }
    if (this.arena === undefined) return this.#unavailable("SMC_NO_ARENA", "shared memory could not be reserved");
    const { engine, reason } = engineBinding();
    if (engine === undefined) return this.#unavailable("SMC_UNSUPPORTED_NODE", reason ?? "");
    const stack = Stack.open(this.arena, this.options);
    if (stack === undefined) return this.#unavailable("SMC_NO_ARENA", "all stack slots of this process are taken");
    debug("stack %d, copies %s", stack.slot, stack.ffiReason ?? "through the plain alias");
    const { shmReason } = stack;
    const detail = shmReason === undefined ? undefined : `other processes are out of reach: ${shmReason}`;
    const noPeer = localFallback(DIAGNOSIS.PEERNOSMC.code, detail);
    return { engine, stack, SmcHandle: defineSmcHandle(engine, stack), noPeer, policy: this.policy };
  }

  #unavailable(code: "SMC_NO_ARENA" | "SMC_UNSUPPORTED_NODE" | "SMC_SECOND_COPY", reason: string): Unavailable {
    process.emitWarning(`connections stay on TCP: ${reason}`, { code, type: "SmcWarning" });
    return { reason };
  }
}

function enter(): ThreadContext {
  const thread = globalThis as unknown as Record<symbol, FirstCopy | undefined>;
  const first = thread[KEY];
  if (first === undefined) {
    const context = new ThreadContext();
    thread[KEY] = { version: VERSION, layout: LAYOUT_VERSION, context };
    return context;
  }
  const same = first.version === VERSION && first.layout === LAYOUT_VERSION;
  return same ? first.context : new ThreadContext(first);
}

let entered: ThreadContext | undefined;

/** The context of this thread: the one, unless another version of smcnet was loaded first. */
export function threadContext(): ThreadContext {
  entered ??= enter();
  return entered;
}

export type { ThreadContext };

/** No device at all: `ready()` has the reason. */
export const noDevice = (reason: string): FallbackReason => localFallback(DIAGNOSIS.NOSMCDEV.code, reason);
