/** Running out: of blocks and of table entries; what is refused leaves nothing behind, what is freed can be had again. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { STATUS_NO_MEMORY, STATUS_OK } from "../../assembly/shared/codes.js";
import { BLOCK_SIZE, DMB_CAPACITY, DMB_ENTRY_SIZE, DMB_TABLE_OFFSET } from "../../assembly/shared/layout.js";
import type { Abi } from "../../src/engine/abi.js";
import { prngFor } from "../support/prng.js";
import { Rig } from "./rig.js";

let rig: Rig;
let abi: Abi;
let owner: number;

const exhaustion = suite("arena exhaustion");
exhaustion.before.each(() => {
  rig = new Rig();
  abi = rig.abi;
  owner = rig.stack(1);
});

exhaustion("blocks: the last one is given out, then STATUS_NO_MEMORY, and what is freed can be had again", () => {
  const taken: number[] = [];
  for (;;) {
    const index = abi.dmbRegister(owner, 0, 0, taken.length, 1);
    if (index < 0) {
      assert.is(index, STATUS_NO_MEMORY);
      break;
    }
    taken.push(index);
  }
  assert.is(taken.length, rig.blocks);
  assert.is(abi.arenaFreeBlocks(), 0);
  assert.is(abi.dmbRegister(owner, 1, 0, 0, 2), STATUS_NO_MEMORY);
  assert.is(new Set(taken.map((index) => rig.base(index))).size, taken.length, "each its own block");
  const [victim] = taken.splice(prngFor("exhaustion").below(taken.length), 1);
  abi.dmbUnregister(owner, victim);
  assert.is(abi.dmbRegister(owner, 1, 0, 0, 2), STATUS_NO_MEMORY, "one block is no run of two");
  const again = abi.dmbRegister(owner, 0, 0, 0, 3);
  assert.ok(again >= 0);
  for (const index of [...taken, again]) assert.is(abi.dmbUnregister(owner, index), STATUS_OK);
  assert.is(abi.arenaFreeBlocks(), rig.blocks);
});

exhaustion("a failed registration leaves its entry free", () => {
  const used = (): number => {
    let count = 0;
    for (let index = 0; index < DMB_CAPACITY; index++)
      if ((rig.u32(DMB_TABLE_OFFSET + index * DMB_ENTRY_SIZE) & 0xf) !== 0) count++;
    return count;
  };
  const big: number[] = [];
  for (let index = 0; index >= 0; ) if ((index = abi.dmbRegister(owner, 6, 0, 1, 1)) >= 0) big.push(index);
  const before = used();
  for (let i = 0; i < 100; i++) assert.is(abi.dmbRegister(owner, 6, 0, 1, 1), STATUS_NO_MEMORY);
  assert.is(used(), before);
  for (const index of big) abi.dmbUnregister(owner, index);
  assert.is(abi.arenaFreeBlocks(), rig.blocks);
});

exhaustion("entries: with blocks left over, the table's end is STATUS_NO_MEMORY too", () => {
  const wide = new Rig(160 + Math.ceil((DMB_CAPACITY * BLOCK_SIZE) / (1 << 20)) + 8);
  const stack = wide.stack(1);
  const free = wide.abi.arenaFreeBlocks();
  assert.ok(free > DMB_CAPACITY);
  for (let i = 0; i < DMB_CAPACITY; i++) assert.ok(wide.abi.dmbRegister(stack, 0, 0, i, 1) >= 0);
  assert.is(wide.abi.dmbRegister(stack, 0, 0, 0, 1), STATUS_NO_MEMORY);
  for (let i = 0; i < DMB_CAPACITY; i++) assert.is(wide.abi.dmbUnregister(stack, i), STATUS_OK);
  assert.is(wide.abi.arenaFreeBlocks(), free);
});

exhaustion.run();
