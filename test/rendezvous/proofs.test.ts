/** What is remembered of addresses: of which stack, for how long, and of how many. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Proofs } from "../../src/rendezvous/proofs.js";

const ADDRESS = "10.1.2.3";

/** Runs `body` at a time that stands still until it is moved on, ms. */
function atTimes(body: (pass: (ms: number) => void) => void): void {
  let now = performance.now();
  performance.now = () => now;
  try {
    body((ms) => {
      now += ms;
    });
  } finally {
    Reflect.deleteProperty(performance, "now");
  }
}

const test = suite("proofs");

test("what was found out of one stack and one address says nothing of any other", () => {
  const proofs = new Proofs();
  proofs.enter("a", ADDRESS, true);
  proofs.enter("b", ADDRESS, false);
  assert.equal([proofs.find("a", ADDRESS), proofs.find("b", ADDRESS)], [true, false]);
  assert.equal(
    [proofs.find("c", ADDRESS), proofs.find("a", "10.1.2.4"), proofs.find("a", "")],
    Array(3).fill(undefined),
  );
});

test("an address that leads to a stack is believed to for a minute, one that does not for a second", () => {
  atTimes((pass) => {
    const proofs = new Proofs();
    proofs.enter("a", ADDRESS, true);
    proofs.enter("b", ADDRESS, false);
    pass(999);
    assert.equal([proofs.find("a", ADDRESS), proofs.find("b", ADDRESS)], [true, false]);
    pass(1);
    assert.equal([proofs.find("a", ADDRESS), proofs.find("b", ADDRESS)], [true, undefined]);
    pass(58_999);
    assert.is(proofs.find("a", ADDRESS), true);
    pass(1);
    assert.is(proofs.find("a", ADDRESS), undefined);
  });
});

test("the last answer counts", () => {
  const proofs = new Proofs();
  for (const leads of [true, false, true]) {
    proofs.enter("a", ADDRESS, leads);
    assert.is(proofs.find("a", ADDRESS), leads);
  }
});

test("1024 are remembered; one more, and only that one is", () => {
  const proofs = new Proofs();
  const known = () => Array.from({ length: 1025 }, (_, i) => proofs.find(`${i}`, ADDRESS)).filter(Boolean).length;
  for (let i = 0; i < 1024; i++) proofs.enter(`${i}`, ADDRESS, true);
  proofs.enter("0", ADDRESS, true);
  assert.is(known(), 1024);
  proofs.enter("1024", ADDRESS, true);
  assert.is(known(), 1);
});

test.run();
