/** Link groups: which connections share one, and when a group is forgotten. The clock is set by hand. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { LinkGroups } from "../../src/lgr/link-group.js";

const PEER = 0x1111n;
const EXT = 0x2222n;
const TEN_MINUTES = 600_000;
const realNow = Date.now;
let now = 1_000_000;

const test = suite("link groups");
test.before.each(() => {
  Date.now = () => now;
});
test.after.each(() => {
  Date.now = realNow;
});

test("nobody is known at first; a group is found only once its first connection is confirmed", () => {
  const groups = new LinkGroups();
  assert.is(groups.find("lo", PEER, EXT), undefined);
  const group = groups.create("lo", PEER, EXT, 2);
  groups.join(group);
  assert.is(groups.find("lo", PEER, EXT), undefined, "others make first contact as well");
  group.established = true;
  assert.is(groups.find("lo", PEER, EXT), group);
});

test("a group is for one device, one GID and one extension", () => {
  const groups = new LinkGroups();
  const group = groups.create("lo", PEER, EXT, 2);
  group.established = true;
  groups.join(group);
  assert.is(groups.find("shm", PEER, EXT), undefined);
  assert.is(groups.find("lo", PEER + 1n, EXT), undefined);
  assert.is(groups.find("lo", PEER, EXT + 1n), undefined);
  assert.is(groups.find("lo", PEER, undefined), undefined, "a peer met through version 1 is another one");
  const old = groups.create("lo", PEER, undefined, 1);
  old.established = true;
  groups.join(old);
  assert.is(groups.find("lo", PEER, undefined), old);
  assert.is(groups.find("lo", PEER, EXT), group);
});

test("ids are different, never 0, and leave the last byte to link ids", () => {
  const groups = new LinkGroups();
  const ids = Array.from({ length: 1000 }, () => groups.create("lo", PEER, EXT, 2).id);
  assert.is(new Set(ids).size, 1000);
  assert.ok(ids.every((id) => id > 0 && id <= 0xffffffff && id % 256 === 0));
});

test("a group whose first contact failed is gone with its connection", () => {
  const groups = new LinkGroups();
  const group = groups.create("lo", PEER, EXT, 2);
  groups.join(group);
  groups.leave(group);
  assert.equal(groups.list(), []);
});

test("a group that failed for one of two connections stays for the other", () => {
  const groups = new LinkGroups();
  const group = groups.create("lo", PEER, EXT, 2);
  groups.join(group);
  groups.join(group);
  groups.leave(group);
  assert.equal(groups.list(), [group]);
});

test("an established group outlives its last connection by ten minutes", () => {
  const groups = new LinkGroups();
  const group = groups.create("lo", PEER, EXT, 2);
  groups.join(group);
  group.established = true;
  now += 10 * TEN_MINUTES;
  groups.leave(group);
  now += TEN_MINUTES - 1;
  assert.is(groups.find("lo", PEER, EXT), group);
  now += 1;
  assert.is(groups.find("lo", PEER, EXT), undefined);
});

test("as a client a group is known ten seconds longer than it is reused: the peer may have come by later", () => {
  const groups = new LinkGroups();
  const group = groups.create("lo", PEER, EXT, 2);
  groups.join(group);
  group.established = true;
  groups.leave(group);
  now += TEN_MINUTES;
  assert.is(groups.find("lo", PEER, EXT), undefined);
  assert.is(groups.meant("lo", PEER, EXT), group);
  now += 9_999;
  assert.is(groups.meant("lo", PEER, EXT), group);
  now += 1;
  assert.is(groups.meant("lo", PEER, EXT), undefined);
  assert.equal(groups.list(), []);
});

test("a peer that makes no first contact means the established group, else one that is still to be confirmed here", () => {
  const groups = new LinkGroups();
  assert.is(groups.meant("lo", PEER, EXT), undefined);
  const waiting = groups.create("lo", PEER, EXT, 2);
  groups.join(waiting);
  assert.is(groups.meant("lo", PEER, EXT), waiting);
  for (const [device, gid, ext] of [
    ["shm", PEER, EXT],
    ["lo", PEER + 1n, EXT],
    ["lo", PEER, undefined],
  ] as const)
    assert.is(groups.meant(device, gid, ext), undefined);
  const established = groups.create("lo", PEER, EXT, 2);
  groups.join(established);
  established.established = true;
  assert.is(groups.meant("lo", PEER, EXT), established);
});

test("a group in use is never forgotten, however long it lasts; a connection in time keeps it", () => {
  const groups = new LinkGroups();
  const group = groups.create("lo", PEER, EXT, 2);
  groups.join(group);
  group.established = true;
  now += 10 * TEN_MINUTES;
  assert.is(groups.find("lo", PEER, EXT), group);
  groups.leave(group);
  now += TEN_MINUTES - 1;
  groups.join(group);
  now += TEN_MINUTES;
  assert.is(groups.find("lo", PEER, EXT), group);
});

test("a dropped group is not found again, and its connections may still leave it", () => {
  const groups = new LinkGroups();
  const group = groups.create("lo", PEER, EXT, 2);
  const other = groups.create("lo", PEER, EXT, 2);
  for (const each of [group, other]) {
    groups.join(each);
    each.established = true;
  }
  groups.drop(group);
  assert.is(groups.find("lo", PEER, EXT), other);
  groups.leave(group);
  assert.equal(groups.list(), [other]);
});

test.run();
