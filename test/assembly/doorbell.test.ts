/** The doorbell: arming, re-checking, ringing, waiting; each ring goes to one sleeper that is really asleep. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  ARMED_BELL,
  ARMED_NONE,
  ARMED_NOTIFY,
  CONTROL_DETACHED,
  CONTROL_RENDEZVOUS,
  EVENT_READABLE,
  EVENT_RING,
  EVENT_STATE,
  EVENT_WRITABLE,
  STATE_DONE_WRITING,
} from "../../assembly/shared/codes.js";
import { STACK_ARMED, STACK_SUMMARY } from "../../assembly/shared/layout.js";
import { stackWord, wordView } from "../../src/engine/memory.js";
import { within } from "../support/watchdog.js";
import { ANYTHING, connectPair, type Pair, Rig } from "./rig.js";

type WaitAsync = (
  word: Int32Array<SharedArrayBuffer>,
  index: number,
  value: number,
) => { async: boolean; value: Promise<string> | string };
const waitAsync = Atomics.waitAsync as WaitAsync;

interface Scene extends Pair {
  readonly rig: Rig;
  /** The doorbell word of the right stack. */
  armed(): number;
}

function scene(): Scene {
  const rig = new Rig();
  const pair = connectPair(rig, { mode: "attached" }, rig.stack(1), rig.stack(2));
  return { ...pair, rig, armed: () => rig.u32(stackWord(pair.right.stack, STACK_ARMED)) };
}

const bell = suite("doorbell");

bell("armed with nothing pending: the stack may sleep", () => {
  const { rig, right, armed } = scene();
  assert.is(rig.abi.stackArm(right.stack, ARMED_BELL), 1);
  assert.is(armed(), ARMED_BELL);
  assert.is(rig.abi.stackDisarm(right.stack), 1, "nobody had rung");
  assert.is(armed(), ARMED_NONE);
});

bell("armed with news: it must not sleep, and is awake", () => {
  const { rig, left, right, armed } = scene();
  left.write(Buffer.from("x"));
  assert.is(rig.abi.stackArm(right.stack, ARMED_BELL), 0);
  assert.is(armed(), ARMED_NONE);
  rig.abi.cqPoll(right.stack);
  assert.is(rig.abi.stackArm(right.stack, ARMED_BELL), 1, "polled: no news any more");
});

bell("a post to a sleeper rings once, a post to a waking stack rings nothing", () => {
  const { rig, left, right, armed } = scene();
  assert.is(left.abi.connSignal(left.conn, 0), 0);
  rig.abi.cqPoll(right.stack);
  rig.abi.stackArm(right.stack, ARMED_BELL);
  assert.is(left.abi.connSignal(left.conn, 0), EVENT_RING);
  assert.is(armed(), ARMED_NONE);
  assert.is(left.abi.connSignal(left.conn, 0), 0, "its ring is under way");
  assert.is(rig.abi.stackDisarm(right.stack), 0, "the arming was taken");
});

bell("a slot that is pending already rings all the same", () => {
  const { rig, left, right } = scene();
  left.abi.connSignal(left.conn, 0);
  const summary = stackWord(right.stack, STACK_SUMMARY) + left.stack * 64;
  rig.setU64(summary, 0n);
  assert.is(rig.abi.stackArm(right.stack, ARMED_BELL), 1);
  assert.is(left.abi.connSignal(left.conn, 0), EVENT_RING);
});

bell("every way of publishing rings: data, a consumer update, flags", () => {
  const { rig, left, right } = scene();
  const arm = (): number => {
    rig.abi.cqPoll(right.stack);
    return rig.abi.stackArm(right.stack, ARMED_BELL);
  };
  right.write(Buffer.alloc(right.peerSize));
  left.abi.connSample(left.conn);
  assert.is(arm(), 1);
  assert.ok((left.abi.rxConsume(left.conn, left.size) & EVENT_RING) !== 0);
  assert.is(arm(), 1);
  assert.is(left.prepare(Buffer.from("x")), 1);
  assert.is(left.abi.txPublish(left.conn), EVENT_RING);
  assert.is(arm(), 1);
  assert.is(left.prepare(Buffer.from("y")), 1);
  assert.is(left.abi.txPublish(left.conn), EVENT_RING);
  assert.is(arm(), 1);
  assert.is(left.abi.connSignal(left.conn, STATE_DONE_WRITING << 8), EVENT_RING);
});

bell("a control bit rings and counts as news; taking it ends that", () => {
  const { rig, right } = scene();
  const door = rig.abi.stackDoor(right.stack);
  rig.abi.stackArm(right.stack, ARMED_BELL);
  assert.is(rig.abi.doorNudge(door, CONTROL_RENDEZVOUS), EVENT_RING);
  assert.is(rig.abi.doorNudge(door, CONTROL_DETACHED), 0);
  assert.is(rig.abi.stackArm(right.stack, ARMED_BELL), 0);
  assert.is(rig.abi.stackControl(right.stack), CONTROL_RENDEZVOUS | CONTROL_DETACHED, "each bit of each nudge");
  assert.is(rig.abi.stackControl(right.stack), 0);
  assert.is(rig.abi.stackArm(right.stack, ARMED_BELL), 1);
});

bell("armed although there is news is stuck; armed alone, and news alone, are not", () => {
  const { rig, left, right } = scene();
  assert.is(rig.abi.stackStuck(right.stack), 0);
  rig.abi.stackArm(right.stack, ARMED_BELL);
  assert.is(rig.abi.stackStuck(right.stack), 0);
  rig.setU64(stackWord(right.stack, STACK_SUMMARY) + left.stack * 64, 1n);
  assert.is(rig.abi.stackStuck(right.stack), 1);
  rig.abi.stackDisarm(right.stack);
  assert.is(rig.abi.stackStuck(right.stack), 0);
});

bell("a sleeper that awaits the word is notified by the post, and asks for no bell", async () => {
  const { rig, left, right } = scene();
  rig.abi.stackArm(right.stack, ARMED_NOTIFY);
  const wait = waitAsync(wordView(rig.memory, stackWord(right.stack, STACK_ARMED)), 0, ARMED_NOTIFY);
  assert.is(wait.async, true);
  assert.is(left.abi.connSignal(left.conn, 0), 0);
  assert.is(await within(wait.value as Promise<string>, "notification"), "ok");
});

bell("a post between arming and awaiting is not missed: the word no longer holds the arming", () => {
  const { rig, left, right } = scene();
  rig.abi.stackArm(right.stack, ARMED_NOTIFY);
  left.abi.connSignal(left.conn, 0);
  const wait = waitAsync(wordView(rig.memory, stackWord(right.stack, STACK_ARMED)), 0, ARMED_NOTIFY);
  assert.equal({ ...wait }, { async: false, value: "not-equal" });
});

const wait = suite("blocking wait");

wait("returns at once with what is there already, and leaves the doorbell disarmed", () => {
  const { left, right, armed } = scene();
  left.write(Buffer.from("x"));
  assert.is(right.abi.connWait(right.stack, right.conn, -1, ANYTHING), EVENT_READABLE);
  assert.is(armed(), ARMED_NONE);
  left.abi.connSignal(left.conn, STATE_DONE_WRITING << 8);
  assert.is(right.abi.connWait(right.stack, right.conn, -1, ANYTHING), EVENT_READABLE | EVENT_STATE);
});

wait("without news it ends with the time, empty-handed and disarmed", () => {
  const { right, armed } = scene();
  assert.is(right.abi.connWait(right.stack, right.conn, 1000, ANYTHING), 0);
  assert.is(armed(), ARMED_NONE);
});

wait("shows the peer what was consumed before it sleeps", () => {
  const { left, right } = scene();
  left.write(Buffer.alloc(100));
  right.read(100);
  assert.is(left.abi.txRefresh(left.conn), 0);
  right.abi.connWait(right.stack, right.conn, 0, ANYTHING);
  assert.is(left.abi.txRefresh(left.conn), EVENT_WRITABLE);
});

bell.run();
wait.run();
