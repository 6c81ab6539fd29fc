/**
 * The programs in the README, run as they stand there against what is shipped.
 *
 * Owns what each of them needs around it and what it must print. Needs dist/, which the test run builds first.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import net, { type AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { happens, within } from "./support/watchdog.js";

const root = (() => {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!readdirSync(folder).includes("asconfig.json")) folder = dirname(folder);
  return folder;
})();

const PROGRAMS = [...readFileSync(join(root, "README.md"), "utf8").matchAll(/^```js\n([\s\S]*?)^```/gm)].map(
  ([, program]) => program!,
);

/** The one program with `word` in it. */
function program(word: string): string {
  const found = PROGRAMS.filter((text) => text.includes(word));
  assert.is(found.length, 1, `programs with ${word}`);
  return found[0]!;
}

const test = suite<{ folder: string }>("README");
test.before.each((context) => {
  // Inside the package, so that it is found by its name.
  context.folder = mkdtempSync(join(root, "build", "readme-"));
});
test.after.each(({ folder }) => rmSync(folder, { recursive: true }));

/** Runs a program until it has printed `expected`, or has ended. Returns: what it printed. */
async function printed(folder: string, text: string, expected: string): Promise<string> {
  const path = join(folder, "program.mjs");
  writeFileSync(path, text);
  const child = spawn(process.execPath, [path], { stdio: ["ignore", "pipe", "pipe"] });
  let [stdout, stderr] = ["", ""];
  child.stderr.on("data", (piece: Buffer) => {
    stderr += piece;
  });
  try {
    const done = new Promise<void>((resolve) => {
      child.stdout.on("data", (piece: Buffer) => {
        stdout += piece;
        if (stdout.length >= expected.length) resolve();
      });
      child.on("close", () => resolve());
    });
    await within(done, `${JSON.stringify(expected)}; so far: ${stdout}${stderr}`);
  } finally {
    child.kill("SIGKILL");
  }
  assert.is(stderr, "");
  return stdout;
}

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0);
  await happens(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await happens(server, "close");
  return port;
}

test("the one on its first screen carries bytes between two threads, and ends by itself", async ({ folder }) => {
  const path = join(folder, "program.mjs");
  writeFileSync(path, program("isMainThread"));
  const child = spawn(process.execPath, [path], { stdio: ["ignore", "pipe", "inherit"] });
  let stdout = "";
  child.stdout.on("data", (piece: Buffer) => {
    stdout += piece;
  });
  const [code] = await happens(child, "close", "the end of the program");
  assert.equal([stdout, code], ["hello over SMCD\n", 0]);
});

test("the http server and client", async ({ folder }) => {
  const text = program("http.Agent")
    .replaceAll("8080", String(await freePort()))
    .replace(
      "const server",
      "const handler = (request, response) => response.end(request.socket.smc.mode);\nconst server",
    );
  assert.is(await printed(folder, text, "SMCD"), "SMCD");
});

test("the ring: copying both ways, then in place both ways", async ({ folder }) => {
  const echo = `require("smcnet").createServer((socket) => socket.pipe(socket)).listen(0, "127.0.0.1", function () {
    require("node:worker_threads").parentPort.postMessage(this.address().port);
  });`;
  writeFileSync(join(folder, "echo.cjs"), echo);
  const before = `import { once } from "node:events";
    import { Worker } from "node:worker_threads";
    const [port] = await once(new Worker(new URL("./echo.cjs", import.meta.url)), "message");\n`;
  const expected = "copied\nin place\n";
  // Loaded before the Worker, as the README asks.
  assert.is(await printed(folder, `import "smcnet";\n${before}${program("openRing")}`, expected), expected);
});

test.run();
