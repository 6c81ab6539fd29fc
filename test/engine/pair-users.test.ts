/**
 * Users of a pair: of all threads which leave, enter, begin anew or are killed at the same time exactly one takes a pair down.
 *
 * A race is played in one thread: one side is interrupted before its nth atomic step, for every n, by all that the other does.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { atEveryStep, interrupted, killed } from "../support/interrupt.js";
import { elsewhere, fresh, GID, living, NONCE, table, takeDown } from "./pair-stage.js";

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

users.run();
