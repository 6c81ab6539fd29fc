/**
 * DMBs that others left: buffers that a peer process held on to, and all that a dead thread had.
 *
 * Owns the two walks over the table. What a buffer goes through on its way out is dmb.ts's.
 */
import { blocksSweep } from "./arena";
import { dmbAttached, dmbDrop, dmbRelease, foreign, freeWord, headAt } from "./dmb";
import { stillHeld } from "./dmb-head";
import {
  attacherOf,
  dmbTouch,
  dmbZone,
  entriesUsed,
  flagsOf,
  freeEntry,
  generationOf,
  loadState,
  ownerOf,
  stateOf,
  swapState,
  tokenOf,
} from "./dmb-table";
import { extentPair } from "./extent";
import { DMB_ATTACHED, DMB_BUSY, DMB_HELD, DMB_REGISTERED, DMB_REMOTE } from "./shared/codes";

/**
 * Frees what owners have unregistered and a peer process held on to, where it has let go since.
 *
 * Takes:   actor, who does the work; pair + 1 whose process is gone, so that nothing of it is held any more, or 0.
 * Returns: how many are still held.
 * Order:   SYNC POINT dmb-detach: the last access before the link.
 */
export function dmbReclaim(actor: u32, gone: u32): u32 {
  let held: u32 = 0;
  const used = entriesUsed();
  for (let index: u32 = 0; index < used; index++) {
    const state = loadState(index);
    if ((flagsOf(state) & ~DMB_HELD) != DMB_ATTACHED || attacherOf(state) != DMB_REMOTE) continue;
    const zone = dmbZone(index);
    if (zone < 0) continue;
    const over = gone != 0 && extentPair(zone) == gone - 1;
    if (!over && stillHeld(headAt(index, zone), tokenOf(index))) {
      held++;
      continue;
    }
    if (swapState(index, state, stateOf(generationOf(state), 0, actor, DMB_BUSY))) dmbRelease(index);
  }
  return held;
}

/**
 * Finishes what stack `dead` left in the table. By `actor`, after the dead thread has stopped for good.
 *
 * Takes:   spareFresh: keep buffers that nobody has attached yet. A server may be about to read the Confirm of the dead,
 *          and what the dead wrote before its end stands in the server's own buffer.
 * Returns: how many were spared.
 */
export function dmbReap(dead: u32, actor: u32, spareFresh: bool): u32 {
  let spared: u32 = 0;
  const used = entriesUsed();
  for (let index: u32 = 0; index < used; index++) {
    const state = loadState(index);
    const flags = flagsOf(state);
    if (flags == 0) continue;
    if (flags == DMB_BUSY) {
      if (ownerOf(state) != dead) continue;
      // Died while allocating or freeing: the base may be unwritten, so its blocks are found by their tag.
      // Died while taking hold of a peer's buffer: whether it had is not known, so that buffer stays until the pair ends.
      if (!foreign(dmbZone(index))) blocksSweep(index + 1, freeWord(dmbZone(index)));
      freeEntry(index);
      continue;
    }
    const zone = dmbZone(index);
    const mine = (flags & DMB_REGISTERED) != 0 && ownerOf(state) == dead;
    const fresh = zone < 0 ? (flags & DMB_HELD) == 0 : mine && !dmbAttached(index);
    if (spareFresh && fresh && mine) {
      spared++;
      continue;
    }
    // A killed writer may have been copying anywhere: the whole ring counts as touched.
    // The owner of a foreign one is a number of another process.
    if ((ownerOf(state) == dead && !foreign(zone)) || attacherOf(state) == dead) dmbTouch(index, <u32>-1);
    if ((flags & DMB_ATTACHED) != 0 && attacherOf(state) == dead) dmbDrop(index, DMB_ATTACHED, dead, actor);
    if ((flags & DMB_REGISTERED) != 0 && ownerOf(state) == dead) dmbDrop(index, DMB_REGISTERED, dead, actor);
  }
  return spared;
}
