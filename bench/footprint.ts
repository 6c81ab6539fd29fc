/**
 * What processes hold: resident memory, descriptors, mappings. Read from /proc, so nothing is asked of them.
 *
 * Owns the reading and the check that a number of connections, all of them closed, left nothing behind.
 */
import { readdirSync, readFileSync } from "node:fs";
import type { Metered } from "./meter.js";

export interface Footprint {
  readonly descriptors: number;
  /** All of them, those of JavaScript's heaps too, which come and go with garbage collection. */
  readonly mappings: number;
  /** Of memfds, the memory that processes share. */
  readonly sharedMappings: number;
}

/**
 * What may be there afterwards that was not before, whatever the number of connections. The young generation of a heap grows
 * to some 200 mappings, and threads have seven heaps in one process.
 */
const SLACK: Footprint = { descriptors: 8, mappings: 1500, sharedMappings: 4 };

const pidsOf = (processes: readonly Metered[]): readonly number[] => [...new Set(processes.map(({ pid }) => pid))];

/** Resident bytes of `processes` together; a page that several map counts in parts. Source: proc(5), Pss. */
export function residentBytes(processes: readonly Metered[]): number {
  let kib = 0;
  for (const pid of pidsOf(processes)) {
    const told = /^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "latin1"))?.[1];
    if (told === undefined) throw new Error(`/proc/${pid}/smaps_rollup tells no Pss`);
    kib += Number(told);
  }
  return kib * 1024;
}

export function footprint(processes: readonly Metered[]): Footprint {
  let [descriptors, mappings, sharedMappings] = [0, 0, 0];
  for (const pid of pidsOf(processes)) {
    const maps = readFileSync(`/proc/${pid}/maps`, "latin1").trimEnd().split("\n");
    descriptors += readdirSync(`/proc/${pid}/fd`).length;
    mappings += maps.length;
    sharedMappings += maps.filter((line) => line.includes("/memfd:")).length;
  }
  return { descriptors, mappings, sharedMappings };
}

/** What has grown with the number of connections, in words; undefined when nothing has. */
export function growth(before: Footprint, after: Footprint, connections: number): string | undefined {
  for (const name of ["descriptors", "sharedMappings", "mappings"] as const)
    if (after[name] - before[name] > SLACK[name])
      return `${connections} connections left ${after[name] - before[name]} ${name} behind (${before[name]} before)`;
  return undefined;
}
