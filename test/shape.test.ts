/**
 * The shape of the source tree: who may import whom, who may touch shared memory, what the data plane may use.
 */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, posix } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";

const root = (() => {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!readdirSync(folder).includes("asconfig.json")) folder = dirname(folder);
  return folder;
})();

interface Source {
  readonly path: string;
  readonly text: string;
}

const sources = (folder: string): Source[] =>
  readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => posix.join(folder, name.replaceAll("\\", "/")))
    .map((path) => ({ path, text: readFileSync(join(root, path), "utf8") }));

/** Relative imports of a file, as paths from the root without ending. */
function imports({ path, text }: Source): string[] {
  const found = [...text.matchAll(/(?:from|import)\s+"(\.[^"]+)"/g)].map((match) => match[1]!);
  return found.map((name) => posix.join(posix.dirname(path), name).replace(/\.(js|wasm)$/, ""));
}

/** The text without comments and strings: what the compiler acts on. */
const code = (text: string): string =>
  text
    .replace(/\/\*[\s\S]*?\*\//g, "")
    .replace(/\/\/.*$/gm, "")
    .replace(/"(?:[^"\\\n]|\\.)*"/g, '""');

/** Files anybody in src may import. */
const LEAVES = [
  "src/errors",
  "src/config",
  "src/policy",
  "src/trace",
  "src/uv",
  "src/diag/counters",
  "src/diag/records",
];

/** Folder (or file) -> what it may import besides leaves, itself and assembly/shared. Source: src/README.md. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  "src/errors": [],
  "src/config": [],
  "src/policy": [],
  "src/trace": [],
  "src/uv": [],
  "src/wire": [],
  "src/engine": ["build/smcnet"],
  "src/host": [],
  "src/device": ["src/engine", "src/host", "src/wire"],
  "src/rendezvous": ["src/engine", "src/host"],
  "src/lgr": ["src/device", "src/wire"],
  "src/conn": ["src/engine", "src/lgr"],
  "src/clc": ["src/wire", "src/device", "src/lgr"],
  "src/poller": ["src/engine"],
  "src/stack": [
    "src/engine",
    "src/host",
    "src/wire",
    "src/device",
    "src/rendezvous",
    "src/lgr",
    "src/conn",
    "src/clc",
    "src/poller",
    "src/neighbours",
    "src/reaper",
  ],
  "src/reaper": ["src/engine", "src/host", "src/device"],
  "src/neighbours": ["src/device", "src/rendezvous", "src/host"],
  "src/net": [
    "src/engine",
    "src/host",
    "src/wire",
    "src/device",
    "src/rendezvous",
    "src/lgr",
    "src/conn",
    "src/clc",
    "src/poller",
    "src/stack",
    "src/reaper",
  ],
  "src/diag": ["src/engine", "src/host", "src/wire", "src/rendezvous", "src/conn", "src/lgr", "src/stack", "src/net"],
  "src/ring": ["src/engine", "src/conn", "src/stack", "src/net", "src/diag"],
  "src/register": ["src/net", "src/diag"],
  "src/http": ["src/index"],
  "src/comlink": ["src/index"],
  "src/cli": ["src/wire", "src/diag", "src/net"],
  "src/index": ["src/net", "src/diag", "src/stack", "src/conn"],
};

const roomOf = (path: string): string =>
  Object.keys(MAY_IMPORT).find((room) => path === room || path === `${room}.ts` || path.startsWith(`${room}/`)) ?? "?";

const shape = suite("shape");

shape("imports go downwards only", () => {
  const wrong: string[] = [];
  for (const source of sources("src")) {
    const room = roomOf(source.path);
    assert.is.not(room, "?", `${source.path} lies in a folder that the import table does not know`);
    for (const target of imports(source)) {
      const free = LEAVES.includes(target) || target.startsWith("assembly/shared/") || roomOf(target) === room;
      const allowed = MAY_IMPORT[room]!.some((other) => target === other || roomOf(target) === other);
      if (!free && !allowed) wrong.push(`${source.path} -> ${target}`);
    }
  }
  assert.equal(wrong, []);
});

shape("no import cycle in assembly", () => {
  const graph = new Map(sources("assembly").map((source) => [source.path.replace(/\.ts$/, ""), imports(source)]));
  const state = new Map<string, "open" | "done">();
  const visit = (node: string, path: string[]): void => {
    if (state.get(node) === "done") return;
    assert.is.not(state.get(node), "open", `cycle: ${[...path, node].join(" -> ")}`);
    state.set(node, "open");
    for (const next of graph.get(node) ?? []) visit(next, [...path, node]);
    state.set(node, "done");
  };
  for (const node of graph.keys()) visit(node, []);
});

shape("the portable constants are constants and nothing else", () => {
  for (const { path, text } of sources("assembly/shared")) {
    for (const line of code(text).split("\n")) {
      if (line.trim() === "") continue;
      assert.match(line, /^export const [A-Z][A-Z0-9_]*: (u32|i32) = -?(0x[0-9a-f]+|\d+);\s*$/, `${path}: ${line}`);
    }
  }
});

shape(
  "only the engine and the doorbell touch shared memory: no Atomics, no element access to the arena elsewhere",
  () => {
    for (const { path, text } of sources("src")) {
      if (path.startsWith("src/engine/")) continue;
      const body = code(text);
      if (path !== "src/poller/loop.ts") assert.not.match(body, /\bAtomics\b/, `${path} uses Atomics`);
      assert.not.match(body, /memory\.buffer|SharedArrayBuffer\(/, `${path} makes a view of the arena`);
      assert.not.match(
        body,
        /new (Int|Uint|BigInt|BigUint|Float)\d+Array\((?!\d+\)|\[)[^)]*\b(shared|alias|arena)\b/i,
        path,
      );
    }
  },
);

shape("the poll loop's only atomic is the wait on the doorbell word", () => {
  const loop = sources("src/poller").find(({ path }) => path.endsWith("loop.ts"))!;
  const uses = [...code(loop.text).matchAll(/Atomics\.(\w+)/g)].map((match) => match[1]);
  assert.equal([...new Set(uses)], ["waitAsync"]);
});

shape("atomic wait and notify stand in the doorbell alone", () => {
  for (const { path, text } of sources("assembly")) {
    if (path === "assembly/doorbell.ts") continue;
    assert.not.match(code(text), /atomic\.(wait|notify)/, path);
  }
});

shape("the data plane does not allocate: no new, no strings, no arrays, no closures", () => {
  for (const { path, text } of sources("assembly")) {
    const body = code(text);
    assert.not.match(body, /\bnew\b|=>|\bArray\b|\bMap\b|\bstring\b|`/, path);
  }
});

shape("FFI is loaded in host alone, and munmap is bound nowhere", () => {
  for (const { path, text } of [...sources("src"), ...sources("assembly")]) {
    const body = text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/\/\/.*$/gm, "");
    if (!path.startsWith("src/host/")) assert.not.match(body, /(require\(|from )"koffi"/, path);
    assert.not.match(body, /munmap/, path);
  }
});

shape("each SYNC POINT label stands at both of its ends", () => {
  const counts = new Map<string, number>();
  for (const { text } of sources("assembly")) {
    for (const match of text.matchAll(/SYNC POINT ([a-z-]+)/g)) counts.set(match[1]!, (counts.get(match[1]!) ?? 0) + 1);
  }
  assert.ok(counts.size >= 5, "there are sync points");
  for (const [label, count] of counts) assert.ok(count >= 2, `SYNC POINT ${label} stands in one place only`);
});

shape("files open with what they own", () => {
  for (const { path, text } of [...sources("src"), ...sources("assembly"), ...sources("bench")])
    assert.match(text, /^(#!.*\n)?\/\*\*/, `${path} has no header`);
});

shape.run();
