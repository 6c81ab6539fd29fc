/** The rendezvous words: listeners are found by address, intents close in order, a claim is matched or withdrawn, never both. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { LISTENER_ANY4, LISTENER_ANY6, LISTENER_EXACT, STATUS_NO_MEMORY } from "../../assembly/shared/codes.js";
import {
  CLAIM_CAPACITY,
  CLAIM_PROBES,
  CLAIM_SIZE,
  CLAIM_STATE,
  DESK_CLAIMS,
  DESK_INTENTS,
  LISTENER_CAPACITY,
} from "../../assembly/shared/layout.js";
import { keyView } from "../../src/engine/memory.js";
import { prngFor } from "../support/prng.js";
import { Rig } from "./rig.js";

const v4 = (...bytes: number[]): number[] => [...new Array<number>(10).fill(0), 0xff, 0xff, ...bytes];
const v6 = (...tail: number[]): number[] => [...new Array<number>(16 - tail.length).fill(0), ...tail];
const HOME = v4(127, 0, 0, 1);
const AWAY = v4(10, 0, 0, 7);
const HOME6 = v6(1);

class Scene {
  readonly rig = new Rig();
  readonly abi = this.rig.abi;
  readonly left = this.rig.stack(1);
  readonly right = this.rig.stack(2);
  /** Where the left stack announces itself. */
  readonly desk = this.abi.stackDesk(this.left);

  /** Writes the key argument of a stack. */
  key(
    stack: number,
    server: readonly number[],
    serverPort = 0,
    client: readonly number[] = HOME,
    clientPort = 0,
  ): void {
    const key = keyView(this.rig.memory, stack);
    for (let i = 0; i < 16; i++) {
      key.setUint8(i, client[i]);
      key.setUint8(16 + i, server[i]);
    }
    key.setUint16(32, clientPort, true);
    key.setUint16(34, serverPort, true);
    key.setUint32(36, 0, true);
  }

  listen(stack: number, address: readonly number[], port: number, wildcard = LISTENER_EXACT): number {
    this.key(stack, address);
    return this.abi.listenerEnter(stack, port, wildcard);
  }

  /** Stacks found to listen at `address`, by the left stack. */
  find(address: readonly number[], port: number): number[] {
    const stacks: number[] = [];
    this.key(this.left, address);
    for (let found = this.abi.listenerFind(this.left, port, 0); found >= 0; ) {
      stacks.push(found & 0xff);
      found = this.abi.listenerFind(this.left, port, (found >> 8) + 1);
    }
    return stacks;
  }

  claim(clientPort: number): number {
    this.key(this.left, HOME, 80, HOME, clientPort);
    return this.abi.claimMake(this.left, this.desk);
  }

  match(clientPort: number): number {
    this.key(this.right, HOME, 80, HOME, clientPort);
    return this.abi.claimMatch(this.right, this.desk);
  }
}

const listeners = suite("listeners");

listeners("found at their address and port, and at no other", () => {
  const scene = new Scene();
  assert.is(scene.listen(scene.right, HOME, 80), 0);
  assert.equal(scene.find(HOME, 80), [scene.right]);
  assert.equal(scene.find(HOME, 81), []);
  assert.equal(scene.find(AWAY, 80), []);
  assert.equal(scene.find(HOME6, 80), []);
});

listeners("a wildcard answers for every address of its family, a dual one for both", () => {
  const scene = new Scene();
  scene.listen(scene.right, v4(0, 0, 0, 0), 4, LISTENER_ANY4);
  scene.listen(scene.right, v6(), 6, LISTENER_ANY6);
  scene.listen(scene.right, v6(), 46, LISTENER_ANY4 | LISTENER_ANY6);
  for (const [port, fours, sixes] of [
    [4, 1, 0],
    [6, 0, 1],
    [46, 1, 1],
  ]) {
    for (const address of [HOME, AWAY]) assert.is(scene.find(address, port).length, fours);
    for (const address of [HOME6, v6(0xfe, 0x80, 1)]) assert.is(scene.find(address, port).length, sixes);
  }
});

listeners("an address that only begins like a mapped IPv4 one counts as IPv6", () => {
  const scene = new Scene();
  scene.listen(scene.right, v4(0, 0, 0, 0), 4, LISTENER_ANY4);
  const near = [...HOME];
  near[0] = 1;
  assert.equal(scene.find(near, 4), []);
  const compat = [...HOME];
  compat[10] = 0;
  assert.equal(scene.find(compat, 4), []);
});

listeners("several on one port are all found, and each leaves alone", () => {
  const scene = new Scene();
  const first = scene.listen(scene.right, HOME, 80);
  const second = scene.listen(scene.left, HOME, 80);
  const third = scene.listen(scene.right, v4(0, 0, 0, 0), 80, LISTENER_ANY4);
  assert.equal(scene.find(HOME, 80), [scene.right, scene.left, scene.right]);
  scene.abi.listenerLeave(scene.left, first);
  assert.is(scene.find(HOME, 80).length, 3, "nobody takes another's entry out");
  scene.abi.listenerLeave(scene.left, second);
  assert.equal(scene.find(HOME, 80), [scene.right, scene.right]);
  scene.abi.listenerLeave(scene.right, first);
  scene.abi.listenerLeave(scene.right, third);
  assert.equal(scene.find(HOME, 80), []);
  assert.is(scene.listen(scene.left, HOME, 81), first, "a freed entry is used again");
});

listeners("a full registry says so; an entry that leaves makes room", () => {
  const scene = new Scene();
  for (let i = 0; i < LISTENER_CAPACITY; i++) assert.is(scene.listen(scene.right, HOME, i), i);
  assert.is(scene.listen(scene.left, HOME, 1), STATUS_NO_MEMORY);
  scene.abi.listenerLeave(scene.right, 500);
  assert.equal(scene.find(HOME, 500), []);
  assert.is(scene.listen(scene.left, HOME, 9999), 500);
  assert.equal(scene.find(HOME, 9999), [scene.left]);
  assert.equal(scene.find(HOME, LISTENER_CAPACITY - 1), [scene.right]);
});

const intents = suite("intents");

intents("open from begin to close, each acceptor for itself", () => {
  const { abi, desk, left, right } = new Scene();
  assert.is(abi.intentOpen(desk, right, abi.intentBegun(desk, right)), 0, "none yet");
  const first = abi.intentBegin(desk, right);
  const second = abi.intentBegin(desk, right);
  assert.is(second, first + 1);
  assert.is(abi.intentBegun(desk, right), second);
  assert.is(abi.intentOpen(desk, right, second), 1);
  assert.is(abi.intentOpen(desk, left, abi.intentBegun(desk, left)), 0);
  abi.intentClosed(desk, right, first);
  assert.is(abi.intentOpen(desk, right, first), 0);
  assert.is(abi.intentOpen(desk, right, second), 1);
  abi.intentClosed(desk, right, second);
  assert.is(abi.intentOpen(desk, right, second), 0);
});

intents("sequence numbers go round", () => {
  const { abi, rig, desk, right } = new Scene();
  for (const offset of [0, 4]) rig.setU32(desk + DESK_INTENTS + right * 8 + offset, 0xffff_ffff);
  const sequence = abi.intentBegin(desk, right);
  assert.is(sequence, 0);
  assert.is(abi.intentOpen(desk, right, sequence), 1);
  abi.intentClosed(desk, right, sequence);
  assert.is(abi.intentOpen(desk, right, sequence), 0);
});

const claims = suite("claims");

claims("matched by the acceptor of the same 4-tuple, once", () => {
  const scene = new Scene();
  const index = scene.claim(5000);
  assert.is(scene.match(5001), 0);
  assert.is(scene.abi.claimMatched(scene.desk, index), 0);
  assert.is(scene.match(5000), 1);
  assert.is(scene.abi.claimMatched(scene.desk, index), 1);
  assert.is(scene.match(5000), 0, "a second acceptor gets nothing");
});

claims("every bit of the key counts", () => {
  const scene = new Scene();
  scene.claim(5000);
  scene.key(scene.right, HOME, 80, HOME, 5000);
  const key = keyView(scene.rig.memory, scene.right);
  for (let bit = 0; bit < 36 * 8; bit++) {
    const byte = bit >> 3;
    key.setUint8(byte, key.getUint8(byte) ^ (1 << (bit & 7)));
    assert.is(scene.abi.claimMatch(scene.right, scene.desk), 0, `bit ${bit}`);
    key.setUint8(byte, key.getUint8(byte) ^ (1 << (bit & 7)));
  }
  assert.is(scene.abi.claimMatch(scene.right, scene.desk), 1);
});

claims("withdrawn: not matched any more; matched: not withdrawn any more", () => {
  const scene = new Scene();
  const first = scene.claim(1);
  assert.is(scene.abi.claimWithdraw(scene.desk, first), 1);
  assert.is(scene.match(1), 0);
  assert.is(scene.abi.claimWithdraw(scene.desk, first), 0, "only once");
  const second = scene.claim(2);
  assert.is(scene.match(2), 1);
  assert.is(scene.abi.claimWithdraw(scene.desk, second), 0);
  assert.is(scene.abi.claimMatched(scene.desk, second), 1);
});

claims("a freed claim is used again under the next generation", () => {
  const scene = new Scene();
  const index = scene.claim(1);
  const state = scene.desk + DESK_CLAIMS + index * CLAIM_SIZE + CLAIM_STATE;
  const stale = scene.rig.u32(state);
  scene.match(1);
  scene.abi.claimFree(scene.desk, index);
  assert.is(scene.match(1), 0);
  assert.is(scene.claim(1), index);
  assert.is.not(scene.rig.u32(state), stale, "an acceptor that looked at the earlier one fails its swap");
  assert.is(scene.rig.u32(state) >>> 4, (stale >>> 4) + 1);
});

claims("claims that crowd one place are all matched; more than its probes hold are refused", () => {
  const scene = new Scene();
  const made: number[] = [];
  let refused = 0;
  for (let port = 0; port < CLAIM_CAPACITY + 64; port++) {
    if (scene.claim(port) < 0) refused++;
    else made.push(port);
  }
  assert.ok(made.length > CLAIM_CAPACITY / 2 && refused >= 64, `${made.length} made, ${refused} refused`);
  for (const port of made) assert.is(scene.match(port), 1, `port ${port}`);
  assert.ok(CLAIM_PROBES > 1);
});

claims("random claims, matches and withdrawals agree with a plain account", () => {
  const scene = new Scene();
  const prng = prngFor("claims");
  const open = new Map<number, { index: number; matched: boolean }>();
  for (let step = 0; step < 20_000; step++) {
    const port = prng.below(300);
    const claim = open.get(port);
    switch (prng.below(4)) {
      case 0:
        if (claim === undefined) open.set(port, { index: scene.claim(port), matched: false });
        break;
      case 1:
        assert.is(scene.match(port), claim !== undefined && !claim.matched ? 1 : 0);
        if (claim !== undefined) claim.matched = true;
        break;
      case 2:
        if (claim === undefined) break;
        assert.is(scene.abi.claimWithdraw(scene.desk, claim.index), claim.matched ? 0 : 1);
        if (!claim.matched) open.delete(port);
        break;
      default:
        if (claim === undefined) break;
        assert.is(scene.abi.claimMatched(scene.desk, claim.index), claim.matched ? 1 : 0);
        if (!claim.matched) break;
        scene.abi.claimFree(scene.desk, claim.index);
        open.delete(port);
    }
  }
});

listeners.run();
intents.run();
claims.run();
