/**
 * Two unmodified programs under the preload, one of which is not like the other: another version of Node, another layout
 * of shared memory, no koffi, no runtime directory to use. Every byte arrives, and who cannot be met is named with a reason.
 *
 * Another version of Node is no stranger: what processes share are words and bytes whose layout is smcnet's, not Node's,
 * so they meet and SMC carries them. All others are carried by TCP. A client that has found a listener tells what
 * stood in the way; a server sees nothing of who was refused but a plain connection.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { LAYOUT_VERSION } from "../../assembly/shared/layout.js";
import { shmMissing, skip, testUnless } from "../support/missing.js";
import { PATIENCE } from "../support/patience.js";
import { RUNTIME, root, start } from "./preload.js";

/** Connections one after the other: the second comes while the first one's failure is remembered. */
const COUNT = 2;

/** What each side sends: 3 MB, of its own kind. */
const WORDS = 750_000;
const FACTOR = { server: 3, client: 5 } as const;
const bytesOf = (factor: number): Uint8Array =>
  new Uint8Array(Uint32Array.from({ length: WORDS }, (_, i) => i * factor).buffer);
const NOTHING = createHash("sha256").digest("hex");
const hashOf = (side: "server" | "client"): string => createHash("sha256").update(bytesOf(FACTOR[side])).digest("hex");

/** Sends its own bytes, takes those of the other, and says what carried them. */
const EXCHANGE = `
const { createHash } = require("node:crypto");
const { connect, createServer } = require("node:net");
const exchange = (socket, factor) => {
  const { mode, device, fallback } = socket.smc;
  const hash = createHash("sha256");
  socket.on("error", () => {}).on("data", (bytes) => hash.update(bytes));
  socket.on("close", () => say({ mode, device, name: fallback?.name, detail: fallback?.detail, hash: hash.digest("hex") }));
  socket.end(new Uint8Array(Uint32Array.from({ length: ${WORDS} }, (_, i) => i * factor).buffer));
};
`;
const SERVER = `${EXCHANGE}
const server = createServer((socket) => exchange(socket, ${FACTOR.server}));
server.listen(0, "127.0.0.1", () => say(server.address().port));
process.stdin.on("end", () => server.close()).resume();
`;
const CLIENT = `${EXCHANGE}
const call = (left) => {
  if (left === 0) return;
  const socket = connect(Number(process.argv[1]), "127.0.0.1", () => exchange(socket, ${FACTOR.client}));
  socket.on("close", () => call(left - 1));
};
call(${COUNT});
`;

/** One of the two: which node runs it, with which copy of smcnet, and what its environment adds. */
interface Side {
  readonly node?: string;
  /** Folder of the package. */
  readonly copy?: string;
  readonly env?: Readonly<Record<string, string>>;
}
const ORDINARY: Side = {};

/** What a program says of one connection. */
interface Seen {
  readonly mode: string;
  readonly device?: string;
  readonly name?: string;
  readonly detail?: string;
  readonly hash: string;
}

const environment = ({ env }: Side): object => ({ ...PATIENCE, ...env });
const run = (code: string, side: Side, args: string[] = []) =>
  start(code, {
    ...(side.node === undefined ? {} : { node: side.node }),
    flags: ["--require", join(side.copy ?? root, "dist/register.cjs")],
    env: environment(side),
    args,
  });

/** COUNT connections, and then `smcnet chk`, which sends nothing, by the client's copy. Errors: fails where a byte is wrong or somebody warns. */
async function exchange(client: Side, server: Side): Promise<{ client: Seen[]; server: Seen[]; chk: string }> {
  const serving = run(SERVER, server);
  const port = await serving.first();
  const calling = await run(CLIENT, client, [String(port)]).ended;
  const cli = [join(client.copy ?? root, "dist/cli.mjs"), "chk", `127.0.0.1:${port}`];
  const { stdout: chk, stderr } = spawnSync(client.node ?? process.execPath, cli, {
    encoding: "utf8",
    env: { ...process.env, SMC_RUNTIME_DIR: RUNTIME, ...environment(client) },
  });
  serving.child.stdin?.end();
  const served = await serving.ended;
  assert.equal([calling.errors, served.errors, stderr], ["", "", ""]);
  const seen = {
    client: calling.lines as Seen[],
    server: (served.lines.slice(1) as Seen[]).filter(({ hash }) => hash !== NOTHING),
  };
  const hashes = (side: Seen[]): string[] => side.map(({ hash }) => hash);
  assert.equal(hashes(seen.client), Array(COUNT).fill(hashOf("server")));
  assert.equal(hashes(seen.server), Array(COUNT).fill(hashOf("client")));
  return { ...seen, chk };
}

/** Errors: fails unless TCP carried all of them for the reason given. Takes: detail, undefined for none. */
function carriedByTcp(seen: Seen[], detail: RegExp | undefined): void {
  for (const { mode, name, detail: said } of seen) {
    assert.equal([mode, name], ["TCP", "PEERNOSMC"]);
    if (detail === undefined) assert.is(said, undefined);
    else assert.ok(detail.test(said ?? ""), `it says: ${said}`);
  }
}

const test = suite("e2e/strangers");
const folder = mkdtempSync(join(tmpdir(), "smcnet-strangers-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));
const missing = shmMissing();
const define = testUnless(missing, test);

/** A copy of the package as it is shipped, with koffi or without. Errors: fails where a change finds nothing to change. */
function copyOf(name: string, { koffi, changes = [] }: { koffi: boolean; changes?: [RegExp, string][] }): string {
  const copy = join(folder, name);
  cpSync(join(root, "dist"), join(copy, "dist"), { recursive: true });
  copyFileSync(join(root, "package.json"), join(copy, "package.json"));
  if (koffi) symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
  const core = join(copy, "dist/core.cjs");
  for (const [pattern, replacement] of changes) {
    const text = readFileSync(core, "utf8");
    const changed = text.replace(pattern, replacement);
    assert.is.not(changed, text, `${pattern} is nowhere in ${core}`);
    writeFileSync(core, changed);
  }
  return copy;
}

/** Versions of Node in PATH that are not the one of this run. */
const others = ["node20", "node22", "node24", "node26"]
  .map((node) => ({ node, version: spawnSync(node, ["-p", "process.version"], { encoding: "utf8" }).stdout?.trim() }))
  .filter(({ version }) => version && version.split(".")[0] !== process.version.split(".")[0]);
if (others.length === 0)
  skip(test, "another version of Node", "no node20, node22, node24 or node26 of another version");

for (const { node, version } of others)
  for (const [roles, client, server] of [
    ["asks", { node }, ORDINARY],
    ["answers", ORDINARY, { node }],
  ] as const)
    define(`Node ${version} ${roles}: SMC between the processes`, async () => {
      const seen = await exchange(client, server);
      for (const { mode, device } of [...seen.client, ...seen.server]) assert.equal([mode, device], ["SMCD", "shm"]);
      assert.match(seen.chk, /^127\.0\.0\.1:\d+ +SMC-D over shm\n$/);
    });

/** Copies that speak of shared memory in another way; each with what is told: field, number there and number here. */
const OTHER = 99;
const FOREIGN: readonly { what: string; changes: [RegExp, string][]; field: string; own: number }[] = [
  {
    what: "another layout of shared memory",
    // The wasm keeps its own number: that the two differ is for another test.
    changes: [
      [/(var LAYOUT_VERSION = )\d+;/, `$1${OTHER};`],
      [/if \(version !== LAYOUT_VERSION\)/, `if (version !== ${LAYOUT_VERSION})`],
    ],
    field: "layout at byte 6",
    own: LAYOUT_VERSION,
  },
  {
    what: "another version of the channel",
    changes: [[/(var MAGIC = 1397572437;\s+var VERSION = )2;/, `$1${OTHER};`]],
    field: "version at byte 4",
    own: 2,
  },
];

for (const { what, changes, field, own } of FOREIGN)
  define(`${what}: TCP, and whoever asks says what stood in the way`, async () => {
    const copy = copyOf(what, { koffi: true, changes });
    for (const [client, server, there, here] of [
      [{ copy }, ORDINARY, own, OTHER],
      [ORDINARY, { copy }, OTHER, own],
    ] as const) {
      const seen = await exchange(client, server);
      const reason = `who listens there could not be met: EPROTO: channel frame: ${field} is ${there}, not ${here}`;
      carriedByTcp(seen.client, new RegExp(`^${reason}$`));
      carriedByTcp(seen.server, undefined);
      assert.match(seen.chk, new RegExp(`^127\\.0\\.0\\.1:\\d+ +TCP: PEERNOSMC, ${reason}\n$`));
    }
  });

/** Programs that no other process is within reach of; each with the reason it gives. */
const ALONE: readonly { what: string; make: () => Side; reason: string }[] = [
  {
    what: "koffi is not installed",
    make: () => ({ copy: copyOf("no koffi", { koffi: false }) }),
    reason: "koffi: Cannot find module 'koffi'",
  },
  { what: "SMC_FFI=off", make: () => ({ env: { SMC_FFI: "off" } }), reason: "FFI is switched off" },
  {
    what: "a runtime directory that lets everybody in",
    make: () => {
      const path = join(folder, "open");
      mkdirSync(path);
      chmodSync(path, 0o755);
      return { env: { SMC_RUNTIME_DIR: path } };
    },
    reason: ".*/open has mode 0755, which lets everybody in",
  },
  {
    what: "a runtime directory where nothing can be written",
    make: () => ({ env: { SMC_RUNTIME_DIR: "/sys/smcnet" } }),
    reason: "/sys/smcnet cannot be made: E[A-Z]+",
  },
];

for (const { what, make, reason } of ALONE)
  define(`${what}: TCP, and that side says why, asking or answering`, async () => {
    const alone = make();
    const detail = `other processes are out of reach: ${reason}`;
    const asks = await exchange(alone, ORDINARY);
    carriedByTcp(asks.client, new RegExp(`^${detail}`));
    carriedByTcp(asks.server, undefined);
    assert.match(asks.chk, new RegExp(`^127\\.0\\.0\\.1:\\d+ +TCP: PEERNOSMC, ${detail}`));
    const answers = await exchange(ORDINARY, alone);
    carriedByTcp(answers.client, undefined);
    carriedByTcp(answers.server, new RegExp(`^${detail}`));
    assert.match(answers.chk, /TCP: PEERNOSMC, the peer does not speak SMC\n$/);
  });

test.run();
