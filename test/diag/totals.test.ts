/** Sums and differences of snapshots. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { COUNTERS, type CounterName, Counters } from "../../src/diag/counters.js";
import { countedSince, snapshotFault, totalOf } from "../../src/diag/totals.js";

const NAMES = Object.keys(COUNTERS) as CounterName[];

function filled(step: number, reasons: readonly number[]): Counters {
  const counters = new Counters();
  NAMES.forEach((name, at) => {
    counters[name] = step * (at + 1);
  });
  counters.txSizes[2] = step;
  for (const code of reasons) counters.fellBack("client", code);
  return counters;
}

const totals = suite("totals");

totals("the total of none is all zero", () => {
  assert.equal(totalOf([]), new Counters().snapshot());
});

totals("every counter, bin and reason is added up", () => {
  const total = totalOf([filled(1, [7, 8]).snapshot(), filled(10, [8]).snapshot()]);
  NAMES.forEach((name, at) => {
    assert.is(total[name], 11 * (at + 1), name);
  });
  assert.is(total.txSizes[2], 11);
  assert.equal(total.fallback.client, {
    total: 3,
    reasons: [
      { code: 7, count: 1 },
      { code: 8, count: 2 },
    ],
  });
});

totals("what was counted since is the difference; what is in use is as it is", () => {
  const counters = filled(1, [7]);
  const before = counters.snapshot();
  counters.txBytes += 5;
  counters.rxInUse = 3;
  counters.txSizes[2]++;
  counters.fellBack("client", 9);
  const since = countedSince(before, counters.snapshot());
  assert.equal([since.txBytes, since.rxInUse, since.txInUse, since.txSizes[2]], [5, 3, before.txInUse, 1]);
  assert.is(since.rxBytes, 0);
  assert.equal(since.fallback.client, { total: 1, reasons: [{ code: 9, count: 1 }] });
});

totals("what is no snapshot is told by what it lacks", () => {
  const whole = filled(1, [7]).snapshot();
  assert.is(snapshotFault(JSON.parse(JSON.stringify(whole))), undefined);
  assert.is(snapshotFault(null), "it is no object");
  assert.is(snapshotFault({ ...whole, parks: "1" }), "parks is no number");
  assert.is(snapshotFault({ ...whole, txSizes: [null] }), "txSizes is no list of numbers");
  assert.is(snapshotFault({ ...whole, fallback: { client: whole.fallback.client } }), "fallback is incomplete");
});

totals.run();
