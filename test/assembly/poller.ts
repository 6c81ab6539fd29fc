/**
 * A stack that polls its completion queue, in an arena of its own.
 *
 * Owns how slots are read off the ready list. Knows nothing of who posts: boards of peers in this process and in others do.
 */
import * as assert from "uvu/assert";
import { CONN_CAPACITY } from "../../assembly/shared/layout.js";
import { readyView } from "../../src/engine/memory.js";
import { Rig } from "./rig.js";

export class Poller {
  readonly rig = new Rig();
  readonly abi = this.rig.abi;
  readonly owner = this.rig.stack(1);
  readonly ready = readyView(this.rig.memory, this.owner);

  /** Slots of one poll, in list order. */
  poll(): number[] {
    const count = this.abi.cqPoll(this.owner);
    assert.ok(count <= CONN_CAPACITY, `${count} slots in a list of ${CONN_CAPACITY}`);
    return [...this.ready.subarray(0, count)];
  }

  /** Slots of as many polls as it takes, sorted. */
  drain(): number[] {
    const all: number[] = [];
    for (let slots = this.poll(); slots.length > 0; slots = this.poll()) for (const slot of slots) all.push(slot);
    return all.sort((a, b) => a - b);
  }
}
