/**
 * The pair table: phases, the channel's lock, doors, boxes and extents.
 *
 * A race is played in one thread: one side is interrupted before its nth atomic step, for every n, by all that the other does.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { EXTENT_NUMBERS, PAIR_CAPACITY, STACK_CAPACITY } from "../../assembly/shared/layout.js";
import { atEveryStep, interrupted } from "../support/interrupt.js";
import { elsewhere, fresh, GID, living, NONCE, table } from "./pair-stage.js";

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
lock.run();
words.run();
