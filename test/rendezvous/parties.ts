/**
 * Stacks with their rendezvous, in one arena and one thread, and what each asked of its host. Knows no oracle.
 */
import { keyView } from "../../src/engine/memory.js";
import type { Wait } from "../../src/rendezvous/acceptor.js";
import type { Endpoint } from "../../src/rendezvous/address.js";
import { ArenaRendezvous } from "../../src/rendezvous/arena.js";
import type { Neighbourhood } from "../../src/rendezvous/host.js";
import { Rig } from "../assembly/rig.js";

/** The acceptor's wait where the test ends it by an event: far longer than the test. Milliseconds. */
export const LONG_MS = 20_000;

/** A stack with its rendezvous, and what that asked of its host. */
export class Party {
  readonly stack: number;
  readonly rendezvous: ArenaRendezvous;
  /** Stacks nudged, in order. */
  readonly nudged: number[] = [];
  /** Things that wait now. */
  held = 0;

  constructor(rig: Rig, thread: number, neighbourhood?: Neighbourhood) {
    this.stack = rig.stack(thread);
    this.rendezvous = new ArenaRendezvous({
      abi: rig.abi,
      stack: this.stack,
      key: keyView(rig.memory, this.stack),
      neighbourhood,
      nudge: (slot) => this.nudged.push(slot),
      hold: (change) => {
        this.held += change;
      },
    });
  }
}

export class Scene {
  readonly rig = new Rig();
  readonly client = new Party(this.rig, 1);
  readonly server = new Party(this.rig, 2);

  party(thread: number): Party {
    return new Party(this.rig, thread);
  }
}

export const at = (port: number, address = "127.0.0.1"): Endpoint => ({ address, port });
export const SERVICE = at(80);

/** Counts calls, and the values they came with. */
export function spy<T>(): { (value: T): void; readonly calls: T[] } {
  const calls: T[] = [];
  return Object.assign((value: T) => void calls.push(value), { calls });
}

/** All immediates scheduled so far have run. */
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));

export function waits(found: boolean | Wait): Wait {
  if (typeof found === "boolean") throw new Error(`decided at once: ${found}`);
  return found;
}
