/**
 * The arena as a thread holds it: its memory, an instance of the engine on it, and the thread it was inherited from.
 *
 * Owns the first step on a fresh arena, and the family tree of threads. Knows nothing of stacks.
 */
import { randomFillSync } from "node:crypto";
import { getEnvironmentData, setEnvironmentData, threadId } from "node:worker_threads";
import { LAYOUT_VERSION } from "../../assembly/shared/layout.js";
import type { SmcOptions } from "../config.js";
import type { Abi } from "./abi.js";
import { instantiateEngine } from "./load.js";
import { bequeathArena, type Reservation, reserveArena } from "./memory.js";

const PARENT_KEY = `smcnet/parent/${LAYOUT_VERSION}`;

export interface Arena {
  readonly reservation: Reservation;
  readonly abi: Abi;
  /** Nearest ancestor thread that loaded smcnet; -1 for the first. */
  readonly parentThread: number;
}

/** Reserves or inherits the arena and hands it on; undefined when the system grants none. */
export function openArena(options: SmcOptions): Arena | undefined {
  const reservation = reserveArena(options.arenaMiB);
  if (reservation === undefined) return undefined;
  const abi = instantiateEngine(reservation.module, reservation.memory);
  if (reservation.fresh) {
    const random = randomFillSync(new Uint32Array(2));
    abi.arenaInit(random[0]!, random[1]!);
    bequeathArena(reservation);
  }
  const parent = getEnvironmentData(PARENT_KEY);
  setEnvironmentData(PARENT_KEY, threadId);
  return { reservation, abi, parentThread: typeof parent === "number" ? parent : -1 };
}
