/**
 * Kernels that refuse what the shm device needs, as seccomp profiles of containers do: who cannot share memory is carried by
 * TCP, with every byte right, and threads of such a process go on by SMC.
 */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { shmMissing, testUnless } from "../support/missing.js";
import type { Call } from "./guest.child.js";
import { type Guest, Guests } from "./guest.js";
import { NOTHING_LEFT } from "./peer.js";
import type { Refusable } from "./refused.child.js";

const CALLEE = { host: "127.0.0.1", port: 0 };
const COUNT = 8;
const PRELOAD = new URL("../net/refused.child.mjs", import.meta.url).href;

const test = suite<{ guests: Guests }>("refused");
test.before.each((context) => {
  context.guests = new Guests();
});
test.after.each(({ guests }) => guests.send());

const missing = shmMissing();
const run = testUnless(missing, test);

/** A guest whose kernel refuses a call. */
function addRefused(guests: Guests, name: string, call: Refusable): Guest {
  const { NODE_OPTIONS } = process.env;
  process.env["NODE_OPTIONS"] = `${NODE_OPTIONS ?? ""} --import=${PRELOAD}`;
  process.env["SMC_TEST_REFUSE"] = call;
  try {
    return guests.add(name);
  } finally {
    Reflect.deleteProperty(process.env, "SMC_TEST_REFUSE");
    if (NODE_OPTIONS === undefined) Reflect.deleteProperty(process.env, "NODE_OPTIONS");
    else process.env["NODE_OPTIONS"] = NODE_OPTIONS;
  }
}

/** COUNT calls from one guest to another. Returns: what carried them, as both saw it. */
async function carried(client: Guest, server: Guest): Promise<string[]> {
  const port = await server.ask("listen", "smcnet", CALLEE, `from ${server.name}`);
  const calls = await client.ask("calls", "smcnet", { ...CALLEE, port }, client.name, COUNT);
  const taken = await server.ask("taken", COUNT);
  const words = (some: readonly Call[]) => some.map(({ heard }) => heard).sort();
  assert.equal(words(calls), Array(COUNT).fill(`from ${server.name}`));
  assert.equal(words(taken), Array.from({ length: COUNT }, (_, i) => `${client.name} ${i}`).sort());
  return [...new Set([...calls, ...taken].map(({ carrier }) => carrier))];
}

/** What carries connections of who is refused a call: to others, and from them. */
const CARRIED: Readonly<Record<Refusable, readonly [string, string]>> = {
  memfd_create: ["TCP", "TCP"],
  sendmsg: ["TCP", "TCP"],
  // Nobody can see that it listens; whom it sees, it meets.
  "fcntl(F_OFD_SETLK)": ["shm", "TCP"],
};

for (const [call, [to, from]] of Object.entries(CARRIED) as [Refusable, readonly [string, string]][]) {
  run(`${call} is refused: ${to} to other processes, ${from} from them, SMC within its own`, async ({ guests }) => {
    const [refused, other, third] = [
      addRefused(guests, "the refused", call),
      guests.add("another"),
      guests.add("a third"),
    ];
    for (let round = 0; round < 2; round++) {
      assert.equal(await carried(refused, other), [to]);
      assert.equal(await carried(other, refused), [from]);
    }
    assert.equal(await carried(refused, refused), ["lo"], "a stack meets itself");
    assert.equal(await carried(third, other), ["shm"], "the others meet all the same");
    assert.equal(await refused.ask("leftovers"), { ...NOTHING_LEFT, sockets: 3 });
  });
}

run("memfd_create is refused: each connection of the process says why, whoever made it", async ({ guests }) => {
  const [refused, other] = [addRefused(guests, "the refused", "memfd_create"), guests.add("another")];
  const why = /^other processes are out of reach: no sealed memory to share: .*memfd_create failed with EPERM$/;
  for (const [client, server] of [
    [refused, other],
    [other, refused],
  ] as const) {
    const port = await server.ask("listen", "smcnet", CALLEE, "welcome");
    const [call] = await client.ask("calls", "smcnet", { ...CALLEE, port }, "hello", 1);
    const [taken] = await server.ask("taken", 1);
    const [here, there] = client === refused ? [call, taken] : [taken, call];
    assert.match(here!.why ?? "", why);
    assert.is(there!.why, undefined, "nothing stands in the way of the other");
  }
});

run("memfd_create is refused: the device is absent, and chk says why", ({ guests }) => {
  const cli = fileURLToPath(import.meta.resolve("smcnet").replace(/index\.mjs$/, "cli.mjs"));
  const { stdout } = spawnSync(process.execPath, [`--import=${PRELOAD}`, cli, "chk"], {
    encoding: "utf8",
    env: { ...process.env, SMC_TEST_REFUSE: "memfd_create", SMC_RUNTIME_DIR: guests.directory },
  });
  assert.match(stdout, /shm.*no sealed memory to share: .*memfd_create failed with EPERM/);
});

test.run();
