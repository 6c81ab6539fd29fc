/**
 * The types of what is shipped, as a TypeScript user sees them under `module: node16`: every entry, from ESM and from CommonJS.
 *
 * Owns the programs of that user. The compiler is asked once; whatever it reports fails.
 */
import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";

const root = (() => {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!readdirSync(folder).includes("asconfig.json")) folder = dirname(folder);
  return folder;
})();

/** By file name. An expected error that does not come is an error. */
const PROGRAMS: Readonly<Record<string, string>> = {
  "module.mts": `
    import smc, { attach, connect, type SmcOptions, SmcError, Server } from "smcnet";
    import * as all from "smcnet";
    import ring, { END, openRing } from "smcnet/ring";
    const socket = connect({ port: 1, smc: { rmem: 16384 } });
    export const mode: string | undefined = socket.smc?.mode;
    export const sameByDefault: typeof connect = smc.connect;
    export const sameByName: typeof connect = all.connect;
    export const options: SmcOptions = all.options();
    export const server: Server = attach(new Server());
    export const code: string = new SmcError("EINVAL", "…").code;
    import { Agent } from "smcnet/http";
    import comlink, { endpoint, type SocketEndpoint } from "smcnet/comlink";
    export const agent = new Agent({ keepAlive: true, smc: { rmem: 16384 } });
    export const left1: SocketEndpoint = endpoint(socket, { serving: true });
    export const right1: typeof left1 = comlink.endpoint(socket);
    // @ts-expect-error: bytes
    endpoint(socket, { maxFrameBytes: "1 MiB" });
    const left = openRing(socket);
    export const right: typeof left = ring.openRing(socket);
    export const end: number = END;
    // @ts-expect-error: a number, in bytes
    connect({ port: 1, smc: { rmem: "16 KiB" } });
    // @ts-expect-error: nothing of the kind
    all.nothingOfTheKind;`,
  "script.cts": `
    import smc = require("smcnet");
    import ring = require("smcnet/ring");
    import { connect, SmcError } from "smcnet";
    import { openRing } from "smcnet/ring";
    const socket = smc.connect(1, "localhost");
    const mode: string | undefined = socket.smc?.mode;
    const same: typeof connect = smc.connect;
    import { Agent, attach } from "smcnet/http";
    import { endpoint } from "smcnet/comlink";
    endpoint(new Agent().createConnection({ port: 1 })).start();
    const attached: typeof smc.attach = attach;
    const left = openRing(socket);
    const right: typeof left = ring.openRing(socket);
    const code: string = new SmcError("EINVAL", "…").code;
    // @ts-expect-error: a number, in bytes
    smc.connect({ port: 1, smc: { rmem: "16 KiB" } });
    // @ts-expect-error: there is no default export to require
    smc.default;
    export = { mode, same, right, code, ring: left };`,
  "mixed.mts": `
    import script from "./script.cjs";
    import { openRing } from "smcnet/ring";
    import { connect } from "smcnet";
    export const same: ReturnType<typeof openRing> = script.ring;
    export const call: typeof connect = script.same;`,
};

/** What the compiler says about the programs, in a folder where the package is installed. */
function check(folder: string): string {
  mkdirSync(join(folder, "node_modules"));
  symlinkSync(root, join(folder, "node_modules/smcnet"));
  for (const [name, text] of Object.entries(PROGRAMS)) writeFileSync(join(folder, name), text);
  const compilerOptions = {
    module: "node16",
    target: "es2022",
    strict: true,
    noEmit: true,
    skipLibCheck: false,
    types: ["node"],
    typeRoots: [join(root, "node_modules/@types")],
  };
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, files: Object.keys(PROGRAMS) }));
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  const { status, stdout, stderr } = spawnSync(process.execPath, [tsc, "-p", folder, "--pretty", "false"], {
    cwd: folder,
    encoding: "utf8",
  });
  assert.is(stderr, "");
  assert.is(stdout === "", status === 0, stdout);
  return stdout;
}

interface Condition {
  readonly types: string;
  readonly default: string;
}

const test = suite("types");

test("they are there, or can be built: a run of single tests builds none", () => {
  if (existsSync(join(root, "dist/index.d.cts"))) return;
  const build = join(root, "scripts/build.mjs");
  const { status, stdout } = spawnSync(process.execPath, [build, "--types"], { encoding: "utf8" });
  assert.is(status, 0, stdout);
});

test("every condition of every entry leads to a file, its types to one of the same kind beside it", () => {
  const { exports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    exports: Record<string, string | { import: Condition; require: Condition }>;
  };
  const kinds: string[] = [];
  for (const [entry, conditions] of Object.entries(exports)) {
    if (typeof conditions === "string") continue;
    for (const condition of [conditions.import, conditions.require]) {
      for (const file of Object.values(condition)) assert.ok(existsSync(join(root, file)), `${entry}: ${file}`);
      assert.is(
        condition.types,
        condition.default.replace(/\.(.js)$/, (_, ending) => `.d.${ending.replace("js", "ts")}`),
      );
    }
    kinds.push(`${entry} ${conditions.import.default.slice(-4)} ${conditions.require.default.slice(-4)}`);
  }
  assert.equal(
    kinds,
    [".", "./ring", "./register", "./http", "./comlink"].map((entry) => `${entry} .mjs .cjs`),
  );
});

test("an ESM and a CommonJS program that import every entry compile, and agree on what they get", () => {
  const folder = mkdtempSync(join(tmpdir(), "smcnet-types-"));
  try {
    assert.is(check(folder), "");
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test.run();
