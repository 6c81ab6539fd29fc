/**
 * Where the tests of the pair table begin: an empty table, seen by two threads.
 */
import * as assert from "uvu/assert";
import { PairTable } from "../../src/engine/pair-table.js";
import { Rig } from "../assembly/rig.js";

export const GID = 0xfedc_ba98_7654_3210n;
export const NONCE = 0x0123_4567_89ab_cdefn;
const { memory } = new Rig();
export let table: PairTable;
/** The same table as another thread has it. */
export let elsewhere: PairTable;

export function fresh(): void {
  table = new PairTable(memory);
  elsewhere = new PairTable(memory);
  for (const pair of table.used()) {
    table.die(pair);
    table.free(pair);
  }
}

/** A living pair with these stacks as users. */
export function living(...slots: number[]): number {
  const pair = table.claim(GID, NONCE, slots[0]!)!;
  assert.ok(table.live(pair));
  for (const slot of slots.slice(1)) table.enter(pair, slot);
  return pair;
}

/** Takes a pair down as whoever leave() told to. */
export function takeDown(pair: number): void {
  table.free(pair);
}
