/** The demo, cut short: real files over both transports, every response compared, figures and sockets printed. */
import * as assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { suite } from "uvu";
import { within } from "../support/watchdog.js";

const DEMO = join(dirname(createRequire(import.meta.url).resolve("smcnet/package.json")), "dist", "bench", "demo.mjs");

const demo = suite("demo");

demo("fetches the installed files over TCP and SMC, compares them and prints figures and sockets", async () => {
  const run = promisify(execFile)(process.execPath, [DEMO, "--seconds", "0.3"]);
  const { stdout } = await within(run, "the demo", 120_000);
  const files = Number(/^(\d+) files of /.exec(stdout)?.[1]);
  const compared = Number(/^(\d+) responses compared/m.exec(stdout)?.[1]);
  assert.ok(files >= 300, `${files} files`);
  assert.ok(compared >= 2 * files, `${compared} responses for ${files} files`);
  assert.match(stdout, /^TCP +[1-9]\d* /m);
  assert.match(stdout, /^SMC +[1-9]\d* /m);
  assert.match(stdout, /^State +UID +Inode +Local Address/m);
  assert.match(stdout, /^ACTIVE .* SMCD /m);
});

demo.run();
