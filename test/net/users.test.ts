/**
 * Processes whose users or kernels are not alike: user namespaces that map a user to itself or to another one, and a kernel that
 * refuses memfds. Who may meet is carried by shm, everybody else by TCP, with every byte right.
 *
 * User namespaces for root only.
 */
import { spawnSync } from "node:child_process";
import { chmodSync, chownSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { overflowId } from "../../src/rendezvous/runtime-directory.js";
import { rootMissing, shmMissing, testUnless } from "../support/missing.js";
import type { Container } from "../support/namespaces.js";
import type { Call } from "./guest.child.js";
import { type Guest, Guests } from "./guest.js";
import { NOTHING_LEFT } from "./peer.js";

const CALLEE = { host: "127.0.0.1", port: 0 };
const COUNT = 8;
/** A group that is nobody's here, and two users of it who are nobody either. */
const GROUP = 12_346;
const as = (user: number): string[] => ["setpriv", `--reuid=${user}`, `--regid=${GROUP}`, "--clear-groups"];
const [AS_STRANGER, AS_ANOTHER] = [as(12_345), as(12_347)];
/** The user is root inside, whoever it is outside; everybody else is unknown there. */
const INSIDE = ["unshare", "--user", "--map-root-user"];

const test = suite<{ guests: Guests }>("users");
test.before.each((context) => {
  context.guests = new Guests();
});
test.after.each(({ guests }) => guests.send());

function when(missing: string | undefined, name: string, body: (guests: Guests) => Promise<void>): void {
  testUnless(missing, test)(name, ({ guests }) => body(guests));
}

/** Why nothing can be run that way here; undefined where it can. Tried out: the program must be readable to whoever runs. */
function entryMissing(...entry: string[]): string | undefined {
  const [command, ...args] = [...entry, process.execPath, "--check", new URL(import.meta.url).pathname];
  const { status, error, stderr } = spawnSync(command!, args, { encoding: "utf8" });
  return status === 0 ? undefined : (error?.message ?? stderr.trim());
}

const noShm = shmMissing();
const notRoot = rootMissing();

/** Where a guest lives that is started by `entry`. */
const place = (guests: Guests, ...entry: string[]): Container => ({
  address: CALLEE.host,
  volume: guests.directory,
  entry,
});

/** COUNT calls each way between two guests, all bytes of which are right. Returns: what carried them. */
async function carriers(one: Guest, other: Guest): Promise<string[]> {
  const carried = new Set<string>();
  for (const [server, client] of [
    [one, other],
    [other, one],
  ] as const) {
    const port = await server.ask("listen", "smcnet", CALLEE, `from ${server.name}`);
    const calls = await client.ask("calls", "smcnet", { ...CALLEE, port }, client.name, COUNT);
    const taken = await server.ask("taken", COUNT);
    const words = (some: readonly Call[]) => some.map(({ heard }) => heard).sort();
    assert.equal(words(calls), Array(COUNT).fill(`from ${server.name}`));
    assert.equal(words(taken), Array.from({ length: COUNT }, (_, i) => `${client.name} ${i}`).sort());
    for (const { carrier } of [...calls, ...taken]) carried.add(carrier);
    assert.equal(await client.ask("leftovers"), { ...NOTHING_LEFT, sockets: client === one ? 1 : 0 });
  }
  return [...carried];
}

when(
  noShm ?? notRoot ?? entryMissing(...INSIDE),
  "a user namespace that maps the user to itself: shm",
  async (guests) => {
    const [outside, inside] = [guests.add("outside"), guests.add("inside", place(guests, ...INSIDE))];
    assert.equal(await carriers(outside, inside), ["shm"]);
  },
);

when(
  noShm ?? notRoot ?? entryMissing(...INSIDE),
  "two user namespaces that map the same user alike: shm",
  async (guests) => {
    const [one, other] = [guests.add("one", place(guests, ...INSIDE)), guests.add("other", place(guests, ...INSIDE))];
    assert.equal(await carriers(one, other), ["shm"]);
  },
);

/** Runs `body` with the runtime directory open to GROUP, whose members make in it what the others may use. */
async function sharing(guests: Guests, body: () => Promise<void>, umask = 0o007): Promise<void> {
  chownSync(guests.directory, 0, GROUP);
  chmodSync(guests.directory, 0o2770);
  const before = process.umask(umask);
  try {
    await body();
  } finally {
    process.umask(before);
    for (const name of ["SMC_SHM_GIDS", "SMC_SHM_UIDS"]) Reflect.deleteProperty(process.env, name);
  }
}

when(
  noShm ?? notRoot ?? entryMissing(...AS_STRANGER),
  "different users of a group that both trust: shm",
  async (guests) => {
    await sharing(guests, async () => {
      process.env["SMC_SHM_GIDS"] = String(GROUP);
      const [one, other] = [
        guests.add("one", place(guests, ...AS_STRANGER)),
        guests.add("other", place(guests, ...AS_ANOTHER)),
      ];
      assert.equal(await carriers(one, other), ["shm"]);
    });
  },
);

when(
  noShm ?? notRoot ?? entryMissing(...AS_STRANGER),
  "the same with the usual umask, which lets the group read alone: shm",
  async (guests) => {
    const meet = async (): Promise<void> => {
      process.env["SMC_SHM_GIDS"] = String(GROUP);
      const [one, other] = [
        guests.add("one", place(guests, ...AS_STRANGER)),
        guests.add("other", place(guests, ...AS_ANOTHER)),
      ];
      assert.equal(await carriers(one, other), ["shm"]);
    };
    await sharing(guests, meet, 0o022);
  },
);

when(
  noShm ?? notRoot ?? entryMissing(...AS_STRANGER, ...INSIDE),
  "members of the group, one of them where the other's user is unknown: TCP with every byte right, whatever its lists say",
  async (guests) => {
    await sharing(guests, async () => {
      process.env["SMC_SHM_GIDS"] = String(GROUP);
      const outside = guests.add("outside", place(guests, ...AS_ANOTHER));
      // Its own group is 0 inside.
      process.env["SMC_SHM_GIDS"] = `0,${overflowId("gid")}`;
      process.env["SMC_SHM_UIDS"] = String(overflowId("uid"));
      const inside = guests.add("inside", place(guests, ...AS_STRANGER, ...INSIDE));
      assert.equal(await carriers(outside, inside), ["TCP"]);
    });
  },
);

when(
  noShm ?? notRoot ?? entryMissing(...AS_STRANGER),
  "different users of a group that one of them does not trust: TCP with every byte right",
  async (guests) => {
    await sharing(guests, async () => {
      process.env["SMC_SHM_GIDS"] = String(GROUP);
      const one = guests.add("one", place(guests, ...AS_STRANGER));
      process.env["SMC_SHM_GIDS"] = "1";
      const other = guests.add("other", place(guests, ...AS_ANOTHER));
      assert.equal(await carriers(one, other), ["TCP"]);
    });
  },
);

when(
  noShm ?? notRoot ?? entryMissing(...AS_STRANGER),
  "another user, whom nobody trusts: TCP with every byte right",
  async (guests) => {
    const [root, stranger] = [guests.add("root"), guests.add("stranger", place(guests, ...AS_STRANGER))];
    assert.equal(await carriers(root, stranger), ["TCP"]);
  },
);

test.run();
