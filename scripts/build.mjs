/**
 * Builds everything: `assembly/` to wasm, `src/` to CommonJS with thin ESM entries and types, `bench/` beside them.
 * `node scripts/build.mjs --tests` builds the test files into build/test as well; `--no-types` leaves out the types,
 * `--types` builds nothing else.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = fileURLToPath(new URL("..", import.meta.url));
const flags = new Set(process.argv.slice(2));

/** Public entries: package sub-path -> source file. They live in one CommonJS core, so one stack serves them all. */
const ENTRIES = { index: "src/index.ts", ring: "src/ring/index.ts", register: "src/register/index.ts" };
/** Entries that stand on the core as any user of it does: bundles of their own, so that the core never loads what they need. */
const BESIDE = { http: "src/http/index.ts", comlink: "src/comlink/index.ts" };
/** Entries that do something when they are loaded: what is called then. */
const AT_LOAD = { register: "install" };

function run(command, args) {
  const { status } = spawnSync(process.execPath, [join(root, command), ...args], { cwd: root, stdio: "inherit" });
  if (status !== 0) process.exit(status ?? 1);
}

function walk(folder, accept) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile() && accept(path));
}

const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

const common = {
  absWorkingDir: root,
  bundle: true,
  platform: "node",
  target: "node20",
  loader: { ".wasm": "binary" },
  define: { SMCNET_VERSION: JSON.stringify(version) },
  logLevel: "warning",
  sourcemap: "linked",
  sourcesContent: false,
};

function buildWasm() {
  mkdirSync(join(root, "build"), { recursive: true });
  run("node_modules/assemblyscript/bin/asc.js", ["--config", "asconfig.json", "--target", "release"]);
}

async function buildCore() {
  rmSync(join(root, "dist"), { recursive: true, force: true });
  await build({
    ...common,
    stdin: {
      contents: Object.entries(ENTRIES)
        .map(([name, file]) => `export * as ${name} from "./${file}";`)
        .join("\n"),
      resolveDir: root,
      loader: "ts",
    },
    outfile: "dist/core.cjs",
    format: "cjs",
    external: ["koffi"],
  });
  for (const name of Object.keys(ENTRIES)) {
    const atLoad = AT_LOAD[name] === undefined ? "" : `module.exports.${AT_LOAD[name]}();\n`;
    writeFileSync(
      join(root, `dist/${name}.cjs`),
      `"use strict";\nmodule.exports = require("./core.cjs").${name};\n${atLoad}`,
    );
  }
}

/** The public API, where an entry beside the core imports it: the package's own. */
const throughCore = {
  name: "through the core",
  setup(builder) {
    builder.onResolve({ filter: /^\.\.\/index\.js$/ }, () => ({ path: "./index.cjs", external: true }));
  },
};

async function buildBeside() {
  for (const [name, file] of Object.entries(BESIDE)) {
    const outfile = `dist/${name}.cjs`;
    await build({ ...common, entryPoints: [file], outfile, format: "cjs", plugins: [throughCore] });
  }
}

/** ESM in front of every entry: the same objects, by name. */
function writeModules() {
  const require = createRequire(import.meta.url);
  const core = require(join(root, "dist/core.cjs"));
  for (const name of Object.keys({ ...ENTRIES, ...BESIDE })) {
    const entry = core[name] ?? require(join(root, `dist/${name}.cjs`));
    const names = Object.keys(entry).filter((key) => key !== "default");
    const lines = [`import entry from "./${name}.cjs";`, "export default entry;"];
    lines.push(`export const { ${names.join(", ")} } = entry;`);
    writeFileSync(join(root, `dist/${name}.mjs`), `${lines.join("\n")}\n`);
  }
}

/** The CLI, the benches and their workers: ESM beside the core, which they load as the package `smcnet`. */
async function buildTools() {
  const bench = walk(join(root, "bench"), (path) => path.endsWith(".ts"));
  const points = {};
  for (const path of bench) points[relative(root, path).replace(/\.ts$/, "")] = path;
  if (existsSync(join(root, "src/cli/main.ts"))) points.cli = join(root, "src/cli/main.ts");
  await build({
    ...common,
    entryPoints: points,
    outdir: "dist",
    outExtension: { ".js": ".mjs" },
    format: "esm",
    splitting: true,
    chunkNames: "chunks/[name]-[hash]",
    external: ["koffi", "smcnet", "smcnet/*"],
  });
}

async function buildTests() {
  rmSync(join(root, "build/test"), { recursive: true, force: true });
  const tests = walk(join(root, "test"), (path) => /\.(test|worker|child)\.ts$/.test(path));
  if (tests.length === 0) return;
  await build({
    ...common,
    entryPoints: tests,
    outbase: "test",
    outdir: "build/test",
    outExtension: { ".js": ".mjs" },
    format: "esm",
    splitting: true,
    chunkNames: "chunks/[name]-[hash]",
    packages: "external",
    // src/host loads koffi by require, which ESM does not have.
    banner: {
      js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
    },
  });
}

/**
 * The declarations as CommonJS, which the core is, under thin ESM ones: a class is the same type however it was loaded.
 * What is imported from here needs no global of ours: u32 and i32 are AssemblyScript's.
 */
function buildTypes() {
  run("node_modules/typescript/bin/tsc", ["-p", "tsconfig.types.json"]);
  const types = join(root, "dist/types");
  for (const path of walk(join(types, "assembly/shared"), (name) => name.endsWith(".d.ts")))
    writeFileSync(path, readFileSync(path, "utf8").replace(/: [ui]32\b/g, ": number"));
  writeFileSync(join(types, "package.json"), `${JSON.stringify({ type: "commonjs" })}\n`);
  for (const [name, file] of Object.entries({ ...ENTRIES, ...BESIDE })) {
    writeFileSync(join(root, `dist/${name}.d.cts`), `export * from "./types/${file.replace(/\.ts$/, ".js")}";\n`);
    const lines = [`export * from "./${name}.cjs";`, `import type * as core from "./${name}.cjs";`];
    lines.push("declare const entry: typeof core;", "export default entry;");
    writeFileSync(join(root, `dist/${name}.d.mts`), `${lines.join("\n")}\n`);
  }
}

if (flags.has("--types")) buildTypes();
else {
  buildWasm();
  await buildCore();
  await buildBeside();
  writeModules();
  await buildTools();
  if (flags.has("--tests")) await buildTests();
  if (!flags.has("--no-types")) buildTypes();
}
