/**
 * The pair table: phases, users, the channel's lock, doors and extents; and that of all threads which leave, enter or begin anew
 * at the same time exactly one takes a pair down.
 *
 * A race is played in one thread: one side is interrupted before its nth atomic step, for every n, by all that the other does.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { EXTENT_NUMBERS, PAIR_CAPACITY, STACK_CAPACITY } from "../../assembly/shared/layout.js";
import { PairTable } from "../../src/engine/pair-table.js";
import { Rig } from "../assembly/rig.js";
import { atEveryStep, interrupted, killed } from "../support/interrupt.js";

const GID = 0xfedc_ba98_7654_3210n;
const NONCE = 0x0123_4567_89ab_cdefn;
const { memory } = new Rig();
let table: PairTable;
/** The same table as another thread has it. */
let elsewhere: PairTable;

function fresh(): void {
  table = new PairTable(memory);
  elsewhere = new PairTable(memory);
  for (const pair of table.used()) {
    table.die(pair);
    table.free(pair);
  }
}

/** A living pair with these stacks as users. */
function living(...slots: number[]): number {
  const pair = table.claim(GID, NONCE, slots[0]!)!;
  assert.ok(table.live(pair));
  for (const slot of slots.slice(1)) table.enter(pair, slot);
  return pair;
}

/** Takes a pair down as whoever leave() told to. */
function takeDown(pair: number): void {
  table.free(pair);
}

const phases = suite("phases of a pair");
phases.before.each(fresh);

phases("claimed it is contacting, then live, then dead, then free: no step back, none left out", () => {
  const pair = table.claim(GID, NONCE, 3)!;
  assert.equal([elsewhere.phase(pair), elsewhere.gid(pair), elsewhere.nonce(pair)], ["contacting", GID, NONCE]);
  assert.is(table.findLive(GID), undefined, "not yet");
  assert.ok(elsewhere.live(pair));
  assert.is(table.phase(pair), "live");
  assert.not(table.live(pair), "only once");
  table.die(pair);
  assert.is(elsewhere.phase(pair), "dead");
  table.die(pair);
  assert.not(table.live(pair), "the dead stay dead");
  assert.ok(table.leave(pair, 3));
  assert.is(table.phase(pair), "dead", "while it is taken down");
  assert.equal([...elsewhere.used()], [pair]);
  table.free(pair);
  assert.is(elsewhere.phase(pair), "free");
  assert.equal([...table.used()], []);
});

phases("contact that fails: it dies without having lived", () => {
  const pair = table.claim(GID, NONCE, 3)!;
  elsewhere.die(pair);
  assert.is(table.phase(pair), "dead");
  assert.not(table.live(pair));
  assert.ok(table.leave(pair, 3));
});

phases("found by the process and, among several with it, by the nonce, as long as it lives", () => {
  const pairs = [0n, 1n, 2n].map((i) => table.claim(GID, NONCE + i, 1)!);
  const stranger = table.claim(GID + 1n, NONCE, 1)!;
  for (const pair of [...pairs, stranger]) table.live(pair);
  assert.is(table.findLive(GID), pairs[0]);
  assert.is(table.findLive(GID, NONCE + 2n), pairs[2]);
  assert.is(table.findLive(GID + 1n), stranger);
  assert.is(table.findLive(GID + 2n), undefined);
  assert.is(table.findLive(GID, NONCE + 3n), undefined);
  table.die(pairs[0]!);
  assert.is(table.findLive(GID), pairs[1]);
  assert.is(table.findLive(GID, NONCE), undefined);
});

phases("a full table says so; a freed entry is used again, empty and under the next generation", () => {
  for (let i = 0; i < PAIR_CAPACITY; i++) assert.is(table.claim(GID, BigInt(i), i % STACK_CAPACITY), i);
  assert.is(elsewhere.claim(GID, 99n, 0), undefined);
  const generation = table.generation(17);
  table.setChannel(17, 5);
  table.setMostBlocks(17, 64);
  table.setOwnBox(17, 63, { extent: 7, descriptor: 8 });
  table.setDoor(17, 63, { extent: 1, generation: 2, bell: 3 });
  table.setOwnExtent(17, 63, 9);
  table.setPeerExtent(17, 63, 10);
  assert.ok(table.leave(17, 17));
  table.free(17);
  assert.is(elsewhere.claim(GID, 100n, 40), 17);
  assert.is(table.generation(17), generation + 1);
  assert.equal(
    [
      table.channel(17),
      table.mostBlocks(17),
      table.ownBox(17, 63),
      table.door(17, 63),
      table.ownExtent(17, 63),
      table.peerExtent(17, 63),
    ],
    [-1, 0, undefined, undefined, undefined, undefined],
  );
  assert.equal([table.uses(17, 17), table.uses(17, 40), table.nonce(17)], [false, true, 100n]);
});

const users = suite("users of a pair");
users.before.each(fresh);

users("each stack counts once; the last to leave takes it down, and it is dead from then on", () => {
  const pair = living(0, 31, 32, 63);
  table.enter(pair, 31);
  for (const slot of [1, 30, 33, 62]) {
    assert.not(table.uses(pair, slot));
    assert.not(table.leave(pair, slot), "a stranger");
  }
  for (const slot of [31, 0, 63]) {
    assert.not(elsewhere.leave(pair, slot), `stack ${slot} is not the last`);
    assert.is(table.phase(pair), "live");
  }
  assert.ok(table.leave(pair, 32));
  assert.is(table.phase(pair), "dead");
  assert.not(table.leave(pair, 32), "once");
});

users("two that leave at the same time: exactly one takes the pair down", () => {
  atEveryStep((at) => {
    fresh();
    const pair = living(3, 40);
    let second = false;
    const first = interrupted(
      at,
      () => table.leave(pair, 3),
      () => {
        second = elsewhere.leave(pair, 40);
      },
    );
    if (!first.reached) second = elsewhere.leave(pair, 40);
    assert.is(Number(first.result) + Number(second), 1, `at step ${at}`);
    assert.is(table.phase(pair), "dead");
    return first.reached;
  });
});

users("one that leaves late never ends what others have begun in the same entry", () => {
  let begun = 0;
  atEveryStep((at) => {
    fresh();
    const pair = living(3);
    let next: number | undefined;
    const late = interrupted(
      at,
      () => table.leave(pair, 3),
      () => {
        // Another one gave up its bit before and finds itself the last one now.
        if (elsewhere.uses(pair, 3)) return;
        elsewhere.die(pair);
        takeDown(pair);
        next = elsewhere.claim(GID + 1n, NONCE, 50);
      },
    );
    if (next === undefined) return late.reached;
    begun++;
    assert.is(next, pair, "the same entry");
    assert.not(late.result, `at step ${at}`);
    assert.is(table.phase(pair), "contacting", `at step ${at}`);
    assert.ok(table.uses(pair, 50));
    return late.reached;
  });
  assert.ok(begun > 2, `${begun} times`);
});

users("one that enters while the last one leaves keeps the pair up until it has left as well", () => {
  const seen = new Set<string>();
  atEveryStep((at) => {
    fresh();
    const pair = living(3);
    const first = interrupted(
      at,
      () => table.leave(pair, 3),
      () => elsewhere.enter(pair, 40),
    );
    if (!first.reached) return false;
    const { result: taken } = first;
    seen.add(`${taken} ${table.phase(pair)}`);
    if (taken) assert.is(table.phase(pair), "dead", "whoever came too late sees it");
    assert.is(elsewhere.leave(pair, 40), !taken, `at step ${at}: one of the two takes it down`);
    return true;
  });
  assert.equal([...seen].sort(), ["false dead", "false live", "true dead"], "in time, just in time, too late");
});

/** What the reaper of stack `dead` takes down, and in whose name it does. */
function reaped(dead: number, taker: number): number {
  let taken = 0;
  const takeAll = (pairs: Iterable<number>): void => {
    for (const pair of pairs) {
      takeDown(pair);
      taken++;
    }
  };
  takeAll(elsewhere.inherit(dead, taker));
  takeAll([...elsewhere.used()].filter((pair) => elsewhere.leave(pair, dead, taker)));
  return taken;
}

const KILLS: Readonly<Record<string, { alone: boolean; before: () => unknown; step: (before: unknown) => void }>> = {
  "claims a pair": { alone: true, before: () => undefined, step: () => table.claim(GID, NONCE, 40) },
  "makes first contact": {
    alone: true,
    before: () => table.claim(GID, NONCE, 40),
    step: (pair) => table.live(pair as number),
  },
  "leaves as the last one": { alone: true, before: () => living(40), step: (pair) => table.leave(pair as number, 40) },
  "leaves while another one stays": {
    alone: false,
    before: () => living(3, 40),
    step: (pair) => table.leave(pair as number, 40),
  },
  "takes a pair down": {
    alone: true,
    before: () => {
      const pair = living(40);
      for (let slot = 0; slot < 3; slot++) {
        table.setDoor(pair, slot, { extent: 0, generation: 1, bell: 5 });
        table.setOwnBox(pair, slot, { extent: 1, descriptor: 6 });
      }
      table.setChannel(pair, 7);
      return pair;
    },
    step: (pair) => {
      if (!table.leave(pair as number, 40)) return;
      [...table.takeDescriptors(pair as number)];
      table.free(pair as number);
    },
  },
};

for (const [what, { alone, before, step }] of Object.entries(KILLS)) {
  users(`killed while it ${what}: its reaper ends what nobody else uses, and the entry can be used again`, () => {
    atEveryStep((at) => {
      fresh();
      const scene = before();
      const reached = killed(at, () => step(scene));
      // Reaped by one that is killed as well, and its own reaper.
      const half = at % 7;
      killed(half, () => reaped(40, 50));
      reaped(50, 51);
      reaped(40, 51);
      assert.equal(
        [...table.used()].map((pair) => table.uses(pair, 3)),
        alone ? [] : [true],
        `at step ${at}`,
      );
      if (!alone) {
        assert.is(table.findLive(GID), scene, "whoever stays goes on");
        assert.is(reaped(3, 51), 1);
      }
      const next = table.claim(GID, NONCE, 8)!;
      assert.ok(table.live(next));
      assert.equal([...table.doors(next)], []);
      assert.equal([table.channel(next), table.uses(next, 40), table.uses(next, 8)], [-1, false, true]);
      return reached;
    });
  });
}

users("of two that inherit from the dead, and one that leaves last, each pair goes to one", () => {
  atEveryStep((at) => {
    fresh();
    const pair = living(3);
    const taken: number[] = [];
    const first = interrupted(
      at,
      () => table.leave(pair, 3),
      () => taken.push(...elsewhere.inherit(9, 10), ...elsewhere.inherit(9, 11)),
    );
    assert.is(taken.length + Number(first.result), 1, `at step ${at}`);
    return first.reached;
  });
});

users("each descriptor is told once, whoever asks, and is out of the table by then", () => {
  const pair = living(3);
  table.setChannel(pair, 0);
  table.setDoor(pair, 63, { extent: 1, generation: 2, bell: 3 });
  table.setOwnBox(pair, 63, { extent: 1, descriptor: 4 });
  const told: number[] = [];
  for (const descriptor of table.takeDescriptors(pair)) {
    told.push(descriptor);
    if (told.length === 2) break;
  }
  told.push(...elsewhere.takeDescriptors(pair), ...table.takeDescriptors(pair));
  assert.equal(told.sort(), [0, 3, 4]);
});

users("two that claim at the same time get two entries", () => {
  atEveryStep((at) => {
    fresh();
    let second: number | undefined;
    const first = interrupted(
      at,
      () => table.claim(GID, NONCE, 1),
      () => {
        second = elsewhere.claim(GID, NONCE + 1n, 2);
      },
    );
    if (!first.reached) return false;
    assert.is.not(first.result, second, `at step ${at}`);
    assert.equal([table.nonce(first.result!), table.nonce(second!)], [NONCE, NONCE + 1n]);
    assert.equal([table.phase(first.result!), table.phase(second!)], ["contacting", "contacting"]);
    return true;
  });
});

const lock = suite("the channel's lock");
lock.before.each(fresh);

const everybody = (): boolean => true;
const nobody = (): boolean => false;

lock("one reader at a time; only its holder gives it back", () => {
  const pair = living(3, 40);
  assert.ok(table.lock(pair, 3, 1, everybody));
  assert.not(elsewhere.lock(pair, 40, 1, everybody));
  elsewhere.unlock(pair, 40, 1);
  elsewhere.unlock(pair, 3, 2);
  assert.not(elsewhere.lock(pair, 40, 1, everybody), "still held");
  table.unlock(pair, 3, 1);
  assert.ok(elsewhere.lock(pair, 40, 1, everybody));
  assert.is(table.phase(pair), "live");
});

lock("a holder that died is asked for by name; the lock goes over, and the pair is dead", () => {
  const pair = living(3, 40);
  table.lock(pair, 63, 0xffffff, everybody);
  const asked: [number, number][] = [];
  const alive = (slot: number, generation: number): boolean => {
    asked.push([slot, generation]);
    return false;
  };
  assert.ok(elsewhere.lock(pair, 40, 5, alive));
  assert.equal(asked, [[63, 0xffffff]]);
  assert.is(table.phase(pair), "dead", "a message may be lost");
  table.unlock(pair, 63, 0xffffff);
  assert.not(table.lock(pair, 3, 1, everybody), "the dead gives nothing back");
});

lock("two that want it at the same time, free or of a dead holder: exactly one has it", () => {
  for (const held of [false, true]) {
    atEveryStep((at) => {
      fresh();
      const pair = living(3, 40);
      if (held) table.lock(pair, 9, 1, everybody);
      const alive = (slot: number): boolean => slot !== 9;
      let second = false;
      const first = interrupted(
        at,
        () => table.lock(pair, 3, 1, alive),
        () => {
          second = elsewhere.lock(pair, 40, 1, alive);
        },
      );
      if (!first.reached) return false;
      assert.is(Number(first.result) + Number(second), 1, `at step ${at}`);
      return true;
    });
  }
});

lock("nobody reads the channel of a pair that is being taken down", () => {
  const pair = living(3);
  assert.ok(table.leave(pair, 3));
  assert.not(table.lock(pair, 40, 1, nobody));
});

const words = suite("doors, boxes and extents");
words.before.each(fresh);

words("a door is there once it was set, seen by all, and replaced by the next stack of its slot", () => {
  const pair = living(3);
  assert.equal([...table.doors(pair)], []);
  const doors = [0, 31, 63].map((slot) => ({ slot, door: { extent: 0, generation: 0xffffff, bell: slot } }));
  for (const { slot, door } of doors) table.setDoor(pair, slot, door);
  assert.equal([...elsewhere.doors(pair)], doors);
  for (const { slot, door } of doors) assert.equal(elsewhere.door(pair, slot), door);
  assert.is(elsewhere.door(pair, 1), undefined);
  table.setDoor(pair, 31, { extent: 1023, generation: 7, bell: 0 });
  assert.equal(elsewhere.door(pair, 31), { extent: 1023, generation: 7, bell: 0 });
});

words("a door is seen whole or not at all, as is an own box", () => {
  const whole = { extent: 12, generation: 34, bell: 56 };
  const box = { extent: 12, descriptor: 34 };
  for (const [set, get, expected] of [
    [(pair: number) => table.setDoor(pair, 5, whole), (pair: number) => elsewhere.door(pair, 5), whole],
    [(pair: number) => table.setOwnBox(pair, 5, box), (pair: number) => elsewhere.ownBox(pair, 5), box],
  ] as const) {
    atEveryStep((at) => {
      fresh();
      const pair = living(3);
      let seen: unknown;
      const { reached } = interrupted(
        at,
        () => set(pair),
        () => {
          seen = get(pair);
        },
      );
      if (seen !== undefined) assert.equal(seen, expected, `at step ${at}`);
      assert.equal(get(pair), expected);
      return reached;
    });
  }
});

words("an own box stays with its slot for later stacks of it", () => {
  const pair = living(3, 40);
  table.setOwnBox(pair, 63, { extent: 0, descriptor: 0 });
  assert.equal(elsewhere.ownBox(pair, 63), { extent: 0, descriptor: 0 });
  assert.is(elsewhere.ownBox(pair, 62), undefined);
  assert.not(table.leave(pair, 3));
  assert.equal(elsewhere.ownBox(pair, 63), { extent: 0, descriptor: 0 });
});

words("numbers of own extents: the lowest free one; no extent before it is filled in; all taken is told", () => {
  const pair = living(3);
  for (let i = 0; i < EXTENT_NUMBERS; i++) {
    assert.is(table.takeOwnNumber(pair, 63), i);
    assert.equal([table.ownExtent(pair, i), elsewhere.ownPromised(pair, i)], [undefined, 0]);
    table.promiseOwn(pair, i, 63, 1024);
    assert.equal([table.ownExtent(pair, i), elsewhere.ownPromised(pair, i)], [undefined, 1024]);
    table.setOwnExtent(pair, i, 1000 - i);
    assert.equal([elsewhere.ownExtent(pair, i), table.ownPromised(pair, i)], [1000 - i, 0]);
  }
  assert.is(table.takeOwnNumber(pair, 63), undefined);
  table.setOwnExtent(pair, 40, undefined);
  assert.is(elsewhere.ownExtent(pair, 40), undefined);
  assert.is(elsewhere.takeOwnNumber(pair, 63), 40);
});

words("two that take a number at the same time get two", () => {
  atEveryStep((at) => {
    fresh();
    const pair = living(3);
    let second: number | undefined;
    const first = interrupted(
      at,
      () => table.takeOwnNumber(pair, 63),
      () => {
        second = elsewhere.takeOwnNumber(pair, 63);
      },
    );
    if (first.reached) assert.equal([first.result, second].sort(), [0, 1]);
    return first.reached;
  });
});

words("what is one pair's is no other's", () => {
  const pairs = [living(3), living(3), living(3)];
  const middle = pairs[1]!;
  const state = (pair: number): unknown => [
    table.channel(pair),
    table.mostBlocks(pair),
    [...table.doors(pair)],
    table.ownBox(pair, 63),
    table.ownExtent(pair, 63),
    table.peerExtent(pair, 63),
    table.uses(pair, 63),
  ];
  const before = [state(pairs[0]!), state(pairs[2]!)];
  table.setChannel(middle, 1);
  table.setMostBlocks(middle, 2 ** 32 - 1);
  table.setDoor(middle, 63, { extent: 1, generation: 1, bell: 1 });
  table.setDoor(middle, 0, { extent: 1, generation: 1, bell: 1 });
  table.setOwnBox(middle, 63, { extent: 1, descriptor: 1 });
  table.setOwnExtent(middle, 63, 1);
  table.setPeerExtent(middle, 63, 1);
  table.enter(middle, 63);
  assert.equal([state(pairs[0]!), state(pairs[2]!)], before);
  table.setOwnExtent(middle, 0, 5);
  table.setPeerExtent(middle, 0, 6);
  assert.equal([table.ownExtent(middle, 0), table.peerExtent(middle, 0)], [5, 6]);
});

phases.run();
users.run();
lock.run();
words.run();
