/**
 * What all sockets of a thread share: the arena, the stack, the engine's parts; made once, however often smcnet is loaded.
 *
 * Reserving the arena happens at load, so that Workers created later inherit it; everything else at the first use.
 */
import { type FallbackReason, localFallback } from "../clc/fallback.js";
import { readOptions, type SmcOptions } from "../config.js";
import { type Arena, openArena, reapDeadWorkers, Stack } from "../stack.js";
import { debug } from "../trace.js";
import { DIAGNOSIS } from "../wire/clc-diagnosis.js";
import { engineBinding } from "./binding.js";
import { defineSmcHandle } from "./handle.js";
import type { NegotiationContext } from "./negotiate.js";

/** Why this thread cannot speak SMC at all. */
export interface Unavailable {
  readonly reason: string;
}

class ThreadContext {
  readonly options: SmcOptions;
  readonly arena: Arena | undefined;
  #ready: NegotiationContext | Unavailable | undefined;

  constructor() {
    this.options = readOptions();
    this.arena = this.options.enabled ? openArena(this.options) : undefined;
    if (this.arena !== undefined) reapDeadWorkers(this.arena, () => this.stack);
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
    if (this.arena === undefined) return this.#unavailable("SMC_NO_ARENA", "shared memory could not be reserved");
    const { engine, reason } = engineBinding();
    if (engine === undefined) return this.#unavailable("SMC_UNSUPPORTED_NODE", reason ?? "");
    const stack = Stack.open(this.arena, this.options);
    if (stack === undefined) return this.#unavailable("SMC_NO_ARENA", "all stack slots of this process are taken");
    debug("stack %d, copies %s", stack.slot, stack.ffiReason ?? "through the plain alias");
    return { engine, stack, SmcHandle: defineSmcHandle(engine, stack) };
  }

  #unavailable(code: "SMC_NO_ARENA" | "SMC_UNSUPPORTED_NODE", reason: string): Unavailable {
    process.emitWarning(`connections stay on TCP: ${reason}`, { code, type: "SmcWarning" });
    return { reason };
  }
}

const KEY = Symbol.for("smcnet/thread");

/** The one context of this thread. Loading smcnet a second time finds the first. */
export function threadContext(): ThreadContext {
  const holder = globalThis as unknown as Record<symbol, ThreadContext | undefined>;
  holder[KEY] ??= new ThreadContext();
  return holder[KEY];
}

export type { ThreadContext };

/** The peer did not say that it speaks SMC, or we do not: nothing was tried. */
export const PEER_NO_SMC: FallbackReason = localFallback(DIAGNOSIS.PEERNOSMC.code);
export const NO_DEVICE: FallbackReason = localFallback(DIAGNOSIS.NOSMCDEV.code);
