/**
 * Counting what a party holds: descriptors, mappings, blocks, pairs, connections; and waiting until it is what it was.
 *
 * Owns the reading of /proc and of the arena's tables. What a count has to be, the tests say.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { dirname } from "node:path";
import { arenaGid } from "../../src/engine/memory.js";
import { PairTable } from "../../src/engine/pair-table.js";
import * as smc from "../../src/index.js";
import { threadContext } from "../../src/net/context.js";
import { until } from "../support/watchdog.js";

/** Directory of the test: the runtime directory lies in it. */
const HOME = dirname(process.env["SMC_RUNTIME_DIR"]!);

/** What one process holds. */
export interface Census {
  readonly descriptors: number;
  /** Mappings of memfds of ours. */
  readonly memfds: number;
  /** Mappings and descriptors of files in /dev/shm, but for those of the test. */
  readonly devShm: number;
  /** Blocks of the arena. */
  readonly freeBlocks: number;
  /** Entries of the pair table in use. */
  readonly pairs: number;
  readonly connections: number;
  /** Doorbells that came too late: must be 0. */
  readonly rescued: number;
}

const inTable = (): number => {
  const arena = threadContext().arena;
  return arena === undefined ? 0 : [...new PairTable(arena.reservation.memory).used()].length;
};

/** Numbers and files of all open descriptors, but that of the listing itself. */
function descriptors(): [string, string][] {
  return readdirSync("/proc/self/fd").flatMap((number): [string, string][] => {
    try {
      return [[number, readlinkSync(`/proc/self/fd/${number}`)]];
    } catch {
      return [];
    }
  });
}

function census(): Census {
  // First, for it makes the stack where there is none yet.
  const freeBlocks = smc.poolFreePages();
  const open = descriptors();
  const maps = readFileSync("/proc/self/maps", "utf8").split("\n");
  const inDevShm = (line: string): boolean => line.includes("/dev/shm/") && !line.includes(HOME);
  return {
    descriptors: open.length,
    memfds: maps.filter((line) => line.includes("memfd:smcnet")).length,
    devShm: [...open.map(([, file]) => file), ...maps].filter(inDevShm).length,
    freeBlocks,
    pairs: inTable(),
    connections: smc.sockets().filter(({ mode, conn }) => mode === "SMCD" && conn !== undefined).length,
    rescued: smc.stats().doorbellRescued,
  };
}

export const counting = {
  census,

  /** The process's own, 16 hexadecimal digits. */
  gid(): string {
    const arena = threadContext().arena;
    return arena === undefined ? "" : arenaGid(arena.reservation.memory).toString(16).padStart(16, "0");
  },

  /** Resolves once this thread uses no pair any more, whatever other threads do. */
  left(): Promise<void> {
    const { stack, arena } = threadContext();
    const table = new PairTable(arena!.reservation.memory);
    return until(() => [...table.used()].every((pair) => !table.uses(pair, stack!.slot)), "the pairs to be left");
  },

  /** A census once all peers are gone: it equals `wanted` in every field that this one has. */
  async settled(wanted: Partial<Census>): Promise<Census> {
    let now = census();
    const same = (): boolean => {
      now = census();
      return Object.entries(wanted).every(([field, value]) => now[field as keyof Census] === value);
    };
    await until(same, "everything to be given back").catch((error: Error) => {
      const open = descriptors().map(([number, file]) => `${number} ${file}`);
      throw new Error(`${error.message}; wanted ${JSON.stringify(wanted)}, there is ${JSON.stringify(now)}, ${open}`);
    });
    return now;
  },
};
