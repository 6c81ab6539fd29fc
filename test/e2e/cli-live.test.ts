/** Running programs asked and steered by the command line: ss, stats, policy, chk, and the report of `run --verbose`. */
import { existsSync, readdirSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { happens } from "../support/watchdog.js";
import { Place, type Running } from "./cli.js";

/**
 * Listens; "connect" on stdin makes a Worker of its own connect and stay, and prints what carries it: "mode SMCD 1". Ends
 * with stdin.
 */
const SERVER = `
const { createServer } = require("node:net");
const { Worker } = require("node:worker_threads");
const server = createServer((socket) => socket.on("error", () => {}).resume());
server.listen(0, "127.0.0.1", () => console.log("port", server.address().port, process.pid));
const worker = new Worker(\`
  const { connect } = require("node:net");
  const { parentPort } = require("node:worker_threads");
  let count = 0;
  parentPort.on("message", (port) => {
    const socket = connect(port, "127.0.0.1", () => parentPort.postMessage("mode " + socket.smc.mode + " " + ++count));
    socket.on("error", () => {}).resume().write("hello");
  });
\`, { eval: true });
worker.on("message", (text) => console.log(text));
process.stdin.on("data", () => worker.postMessage(server.address().port));
process.stdin.on("end", () => process.exit());
`;

interface Program {
  readonly running: Running;
  readonly port: number;
  readonly pid: string;
  connect(): Promise<string>;
}

const live = suite("running programs");
const place = new Place();
live.after(() => place.close());

const server = place.program("server.cjs", SERVER);
const programs: Program[] = [];

async function start(...options: string[]): Promise<Program> {
  const running = place.start(["run", ...options, server]);
  const [, port, pid] = await running.says(/port (\d+) (\d+)/);
  let count = 0;
  const connect = async (): Promise<string> => {
    running.child.stdin!.write("connect\n");
    const [, mode] = await running.says(new RegExp(`mode (\\w+) ${++count}\n`));
    return mode!;
  };
  const program = { running, port: Number(port), pid: pid!, connect };
  programs.push(program);
  return program;
}

async function smcnet(...words: string[]): Promise<string> {
  const { code, stdout, stderr } = await place.run(words);
  assert.equal([code, stderr], [0, ""], words.join(" "));
  return stdout;
}

/** Lines of a table without its heading, in an order that does not depend on ports. */
const rows = (text: string): string[] => text.trimEnd().split("\n").slice(1).sort();

live.before(async () => {
  const first = await start();
  await start();
  assert.is(await first.connect(), "SMCD");
  assert.is(await first.connect(), "SMCD");
});

live("ss lists the connections of all processes and threads in the columns of smcss", async () => {
  const [first] = programs as [Program];
  const text = await smcnet("ss");
  assert.is(
    text.split("\n")[0],
    "State          UID   Inode   Local Address           Peer Address            Intf Mode",
  );
  const lines = rows(text);
  assert.is(lines.length, 4);
  for (const line of lines)
    assert.match(line, /^ACTIVE {9}\d{5} \d{7,} 127\.0\.0\.1:\d+ +127\.0\.0\.1:\d+ +0000 SMCD$/);
  assert.is(lines.filter((line) => line.includes(` 127.0.0.1:${first.port} `)).length, 4);
});

live("ss -D names both ends of a connection alike, -d shows the inside, -l and -a the listeners", async () => {
  const [first, second] = programs as [Program, Program];
  const ids = rows(await smcnet("ss", "-D")).map((line) => line.split(/\s+/).slice(7));
  assert.is(ids.length, 4);
  for (const [, token, , peerToken, link] of ids) {
    assert.match(token!, /^[0-9a-f]{16}$/);
    assert.match(link!, /^[0-9a-f]{8}$/);
    assert.ok(ids.some(([, other, , otherPeer]) => other === peerToken && otherPeer === token));
  }
  const inside = rows(await smcnet("ss", "-d"));
  assert.match(inside[0]!, /SMCD {2}<-> {2}[0-9a-f]{8} 0001ffe0 0001ffe0 0001ffe0 [0-9a-f]{4}:[0-9a-f]{8} /);
  const ports = (text: string): number[] => rows(text).map((line) => Number(/127\.0\.0\.1:(\d+)$/.exec(line)?.[1]));
  assert.equal(ports(await smcnet("ss", "-l")).sort(), [first.port, second.port].sort());
  assert.is(rows(await smcnet("ss", "-a")).length, 6);
  assert.is(rows(await smcnet("ss", "-a", "-p", second.pid)).length, 1);
});

live("ss --json has whole records by process and thread", async () => {
  const [first, second] = programs as [Program, Program];
  const { processes } = JSON.parse(await smcnet("ss", "--json")) as {
    processes: { pid: number; program: string; silent: number[]; sockets: { thread: number; state: string }[] }[];
  };
  assert.equal(processes.map(({ pid }) => String(pid)).sort(), [first.pid, second.pid].sort());
  const one = processes.find(({ pid }) => String(pid) === first.pid)!;
  assert.equal([one.program, one.silent], [server, []]);
  assert.is(one.sockets.length, 5);
  const clients = one.sockets.filter(({ thread }) => thread !== 0);
  assert.is(clients.length, 2);
  for (const { state } of clients) assert.is(state, "ACTIVE");
});

live("stats adds up threads and processes; reset counts from there on, -a does not", async () => {
  const [first] = programs as [Program];
  const smc = async (...words: string[]): Promise<[number, number, number]> => {
    const { SMCD } = JSON.parse(await smcnet("stats", ...words, "--json")) as { SMCD: Record<string, number> };
    return [SMCD["SMC_CLNT_V2_SUCC_CNT"]!, SMCD["SMC_SRV_V2_SUCC_CNT"]!, SMCD["SMC_TX_BYTES"]!];
  };
  assert.equal(await smc("show"), [2, 2, 10]);
  assert.match(await smcnet("stats", "show"), /^Counters of 2 processes, 3 threads\n/);
  assert.equal(await smc("reset"), [2, 2, 10]);
  await first.connect();
  assert.equal(await smc("show"), [1, 1, 5]);
  assert.equal(await smc("show", "-a", "-p", first.pid), [3, 3, 15]);
});

live("policy switches every thread of a running process, and back", async () => {
  const [first, second] = programs as [Program, Program];
  assert.match(await smcnet("policy", "off", "-p", first.pid), new RegExp(`^ +${first.pid} {2}off `, "m"));
  assert.is(await first.connect(), "TCP");
  assert.match(await smcnet("policy", "show", "-p", second.pid), new RegExp(`^ +${second.pid} {2}on `, "m"));
  await smcnet("policy", "on");
  assert.is(await first.connect(), "SMCD");
  await smcnet("policy", "except", `10.0.0.0/8,${first.port}`);
  assert.is(await first.connect(), "TCP");
  const { processes } = JSON.parse(await smcnet("policy", "--json", "-p", first.pid));
  assert.equal(
    processes[0].threads.map(({ except }: { except: string[] }) => except),
    [
      ["10.0.0.0/8", String(first.port)],
      ["10.0.0.0/8", String(first.port)],
    ],
  );
  await smcnet("policy", "except", "none");
  assert.is(await first.connect(), "SMCD");
});

live("chk ADDRESS:PORT says what carries a connection to a server: 0 for SMC, 1 for TCP with the reason", async () => {
  const [first] = programs as [Program];
  const name = `127.0.0.1:${first.port}`;
  assert.is(await smcnet("chk", name), `${name.padEnd(21)} SMC-D over shm\n`);
  assert.is(JSON.parse(await smcnet("chk", name, "--json")).status.mode, "SMCD");
  const off = await place.run(["chk", name], { SMC: "off" });
  assert.equal([off.code, off.stdout], [1, `${name.padEnd(21)} TCP: NOSMCDEV, SMC=off\n`]);
  const refused = await place.run(["chk", "127.0.0.1:1"]);
  assert.equal([refused.code, refused.stderr], [1, "smcnet: 127.0.0.1:1: ECONNREFUSED\n"]);
  for (const word of ["127.0.0.1", "x:0", "::1:80", ":80", "a:b"])
    assert.is((await place.run(["chk", word])).code, 2, word);
});

live("a blocked thread is named, and the others are listed", async () => {
  const app = place.program(
    "blocked.cjs",
    `const net = require("node:net");
     const { Worker } = require("node:worker_threads");
     const server = net.createServer((socket) => socket.resume()).listen(0, "127.0.0.1", () => {
       const text = 'const net = require("node:net"); const { port } = require("node:worker_threads").workerData;' +
         'const socket = net.connect(port, "127.0.0.1", () => { console.log("blocked");' +
         'setImmediate(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)); });';
       new Worker(text, { eval: true, stdout: false, workerData: server.address() });
       server.once("connection", () => console.log("pid", process.pid));
     });`,
  );
  const running = place.start(["run", app]);
  const [, pid] = await running.says(/pid (\d+)/);
  let stderr = "";
  let stdout = "";
  // The Worker blocks when it has had its turn: until then it answers.
  for (let asked = 0; stderr === "" && asked < 50; asked++)
    ({ stderr, stdout } = await place.run(["ss", "-a", "-p", pid!]));
  assert.is(stderr, `smcnet: process ${pid}: no answer from thread 1\n`);
  assert.is(rows(stdout).length, 2);
  await running.stop();
});

live("an endpoint goes with its process; the subcommands say what they do not understand", async () => {
  const [first, second] = programs as [Program, Program];
  second.running.child.stdin!.end();
  assert.is((await second.running.ended()).code, 0);
  assert.not.ok(readdirSync(join(place.runtime, "d")).some((name) => name.startsWith(`${second.pid}-`)));
  const gone = await place.run(["ss", "-p", second.pid]);
  assert.is(gone.code, 1);
  assert.match(gone.stderr, /no process \d+ can be asked in/);
  assert.ok(existsSync(place.runtime));
  assert.is(rows(await smcnet("ss", "-l", "-p", first.pid)).length, 1);
  const wrong = [
    ["ss", "-l", "-a"],
    ["ss", "-p", "x"],
    ["policy", "only"],
    ["policy", "only", "x"],
    ["policy", "of"],
  ];
  for (const words of [...wrong, ["stats", "-a"], ["stats", "a", "b"], ["chk", "a:1", "b:2"]])
    assert.is((await place.run(words)).code, 2, words.join(" "));
});

live("every subcommand tells its usage, by --help and by help", async () => {
  for (const name of ["run", "ss", "stats", "policy", "chk", "bench"]) {
    const text = await smcnet(name, "--help");
    assert.match(text, new RegExp(`^smcnet ${name} `));
    assert.is(await smcnet("help", name), text);
  }
  assert.match(await smcnet("--help"), /^smcnet COMMAND/);
  assert.is((await place.run(["help", "nothing"])).code, 2);
});

live(
  "--verbose: each process says at its end what went which way, Workers included, also when a signal ends it",
  async () => {
    const byExit = await start("--verbose");
    assert.is(await byExit.connect(), "SMCD");
    await smcnet("policy", "off", "-p", byExit.pid);
    assert.is(await byExit.connect(), "TCP");
    byExit.running.child.stdin!.end();
    const { stderr } = await byExit.running.ended();
    const reason = "          1  PEERNOSMC: the peer does not speak SMC";
    assert.is(
      stderr,
      [
        `smcnet: server.cjs (${byExit.pid}): 2 SMC-D connections, 2 TCP connections`,
        ...["  as client: 1 SMC-D, 1 TCP", reason, "  as server: 1 SMC-D, 1 TCP", reason, ""],
      ].join("\n"),
    );
    const bySignal = await start("--verbose");
    await bySignal.connect();
    bySignal.running.child.kill("SIGINT");
    const ended = await bySignal.running.ended();
    assert.is(ended.signal, "SIGINT");
    assert.match(ended.stderr, /\(\d+\): 2 SMC-D connections, 0 TCP connections\n/);
  },
);

live("--verbose: clients of plain servers count as TCP, once, and only when they are connected", async () => {
  const plain = createServer((socket) => socket.resume().end()).listen(0, "127.0.0.1");
  await happens(plain, "listening");
  const { port } = plain.address() as AddressInfo;
  const app = place.program(
    "client.cjs",
    `const net = require("node:net");
     net.connect(1, "127.0.0.1").on("error", () => {});
     for (let i = 0; i < 3; i++) net.connect(${port}, "127.0.0.1").resume();`,
  );
  const { stderr } = await place.run(["run", "--verbose", app]);
  plain.close();
  assert.match(stderr, /client\.cjs \(\d+\): 0 SMC-D connections, 3 TCP connections\n {2}as client: 0 SMC-D, 3 TCP\n/);
});

live("--verbose: a Worker that has ended is counted, and a program without connections says so", async () => {
  const app = place.program(
    "ended.cjs",
    `const net = require("node:net");
     const { Worker } = require("node:worker_threads");
     const server = net.createServer((socket) => socket.resume().end()).listen(0, "127.0.0.1", () => {
       const text = 'require("node:net").connect(require("node:worker_threads").workerData.port, "127.0.0.1").resume()';
       new Worker(text, { eval: true, workerData: server.address() }).on("exit", () => server.close());
     });`,
  );
  const ended = await place.run(["run", "--verbose", app]);
  assert.match(
    ended.stderr,
    /^smcnet: ended\.cjs \(\d+\): 2 SMC-D connections, 0 TCP connections\n {2}as client: 1 SMC-D, 0 TCP\n {2}as server: 1 SMC-D, 0 TCP\n$/,
  );
  const idle = await place.run(["run", "--verbose", place.program("idle.cjs", "")]);
  assert.match(idle.stderr, /^smcnet: idle\.cjs \(\d+\): 0 SMC-D connections, 0 TCP connections\n$/);
});

live.run();
