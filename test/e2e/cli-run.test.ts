/** Programs that know nothing of smcnet, under `smcnet run`: what carries their connections, and how they end. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { happens } from "../support/watchdog.js";
import { Place } from "./cli.js";

/** Listens, and has clients of all kinds tell what carries them. Prints "KIND MODE" a client. */
const FAMILY = `
import { fork, spawn } from "node:child_process";
import { createServer } from "node:net";
import { SHARE_ENV, Worker } from "node:worker_threads";
import { writeFileSync } from "node:fs";

const client = \`
  const socket = require("node:net").connect({ port: +process.argv.at(-1), host: "127.0.0.1" }, () => {
    const { mode } = socket.smc ?? { mode: "none" };
    const parent = require("node:worker_threads").parentPort;
    if (parent) parent.postMessage(mode); else process.stdout.write(mode);
    socket.end();
  });
  socket.resume();
\`;
const file = process.argv[2];
writeFileSync(file, client);
const server = createServer((socket) => socket.resume().end()).listen(0, "127.0.0.1", async () => {
  const argv = [String(server.address().port)];
  const workers = {
    "worker": [file, { argv }],
    "worker-eval": [client, { argv, eval: true }],
    "worker-no-flags": [file, { argv, execArgv: [] }],
    "worker-no-env": [file, { argv, env: {} }],
    "worker-shared-env": [file, { argv, env: SHARE_ENV }],
  };
  for (const [kind, [what, options]] of Object.entries(workers)) {
    const worker = new Worker(what, options);
    worker.once("message", (mode) => console.log(kind, mode));
    await new Promise((resolve) => worker.once("exit", resolve));
  }
  const children = {
    "fork": () => fork(file, argv, { silent: true }),
    "spawn": () => spawn(process.execPath, [file, ...argv]),
    "fork-no-flags": () => fork(file, argv, { silent: true, execArgv: [] }),
    "shell": () => spawn(\`"\${process.execPath}" "\${file}" \${argv[0]}\`, { shell: true }),
  };
  for (const [kind, start] of Object.entries(children)) {
    const child = start();
    let text = "";
    child.stdout.on("data", (data) => { text += data; });
    await new Promise((resolve) => child.once("close", resolve));
    console.log(kind, text);
  }
  server.close();
});
`;

const run = suite("smcnet run");
const place = new Place();
run.after(() => place.close());

run("carries the program, its Workers of every kind and its children over SMC", async () => {
  const app = place.program("family.mjs", FAMILY);
  const { stdout, stderr, code } = await place.run(["run", app, `${place.folder}/client.cjs`]);
  assert.is(stderr, "");
  assert.equal(stdout.trim().split("\n"), [
    "worker SMCD",
    "worker-eval SMCD",
    "worker-no-flags SMCD",
    "worker-no-env SMCD",
    "worker-shared-env SMCD",
    "fork SMCD",
    "spawn SMCD",
    "fork-no-flags SMCD",
    "shell SMCD",
  ]);
  assert.is(code, 0);
});

run("passes arguments, input and output, and the exit code", async () => {
  const app = place.program(
    "echo.cjs",
    `process.stdin.pipe(process.stdout); process.stderr.write(process.argv.slice(2).join("|")); process.exitCode = 42;`,
  );
  const running = place.start(["run", "-r", "64K", app, "-r", "", "a b"]);
  running.child.stdin!.end("through\n");
  assert.equal(await running.ended(), { code: 42, signal: null, stdout: "through\n", stderr: "-r||a b" });
});

run("options reach the program as configuration", async () => {
  const app = place.program(
    "env.cjs",
    `console.log(process.env.SMC_RMEM, process.env.SMC_WMEM, process.env.NODE_DEBUG)`,
  );
  const { stdout } = await place.run(["run", "-r", "65536", "-t", "1M", "-d", app]);
  assert.match(stdout, /65536 1048576 smc/);
});

run("runs a command that starts Node.js", async () => {
  const app = place.program(
    "mode.cjs",
    `console.log(typeof require("node:net").Socket.prototype.__lookupGetter__("smc"))`,
  );
  for (const words of [
    ["sh", "-c", `node "${app}"`],
    ["node", app],
  ]) {
    const { stdout, code } = await place.run(["run", ...words]);
    assert.equal([stdout, code], ["function\n", 0], words.join(" "));
  }
});

run("forwards signals; what ends the program ends the command", async () => {
  const polite = place.program(
    "polite.cjs",
    `process.on("SIGTERM", () => { console.log("asked"); process.exit(3); }); setInterval(() => {}, 1e6); console.log("up");`,
  );
  const stubborn = place.program("stubborn.cjs", `setInterval(() => {}, 1e6); console.log("up");`);
  for (const command of [[], ["node"]]) {
    const first = place.start(["run", ...command, polite]);
    await first.says(/up/);
    first.child.kill("SIGTERM");
    assert.equal(await first.ended(), { code: 3, signal: null, stdout: "up\nasked\n", stderr: "" });
    for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
      const second = place.start(["run", ...command, stubborn]);
      await second.says(/up/);
      second.child.kill(signal);
      assert.is((await second.ended()).signal, signal);
    }
  }
});

run("dies of the signal that killed the program", async () => {
  const app = place.program("suicide.cjs", `process.kill(process.pid, "SIGKILL")`);
  for (const command of [[], ["node"]]) assert.is((await place.run(["run", ...command, app])).signal, "SIGKILL");
});

run(
  "says what cannot be run: 127 where there is nothing, 126 where it may not be, 2 for a wrong command line",
  async () => {
    const missing = await place.run(["run", "no-such-program.js"]);
    assert.equal(
      [missing.code, missing.stderr],
      [127, "smcnet: no-such-program.js is neither a script nor a command\n"],
    );
    const folder = await place.run(["run", place.folder]);
    assert.is(folder.code, 126);
    assert.match(folder.stderr, /cannot be run: EACCES/);
    const wrong = await place.run(["run", "--verbos", "x.js"]);
    assert.is(wrong.code, 2);
    assert.match(wrong.stderr, /no option is called "--verbos"/);
    const help = await place.run(["run", "--help"]);
    assert.is(help.code, 0);
    assert.match(help.stdout, /smcnet run \[options\]/);
  },
);

run("an uncaught exception looks as it does without", async () => {
  const app = place.program("throws.cjs", `throw new Error("as ever")`);
  const { code, stderr } = await place.run(["run", app]);
  assert.is(code, 1);
  assert.match(stderr, /throws\.cjs:1[\s\S]*Error: as ever/);
});

run("a program that has nothing to do any more ends by itself", async () => {
  const app = place.program("brief.cjs", `require("node:timers").setTimeout(() => console.log("done"), 1)`);
  const running = place.start(["run", app]);
  await happens(running.child, "exit");
  assert.is((await running.ended()).stdout, "done\n");
});

run.run();
