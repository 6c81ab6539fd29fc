/**
 * Peers that are not ours, and are not Node's: a program with the preload is to them the plain TCP peer it always was, to the byte.
 *
 * Programs that are not installed are skipped by name.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { chownSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import net, { type AddressInfo, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { testUnless } from "../support/missing.js";
import { happens, until, within } from "../support/watchdog.js";
import { abandonAll, type Manner, Program } from "./program.js";
import { bodyOf, type Seen, sha256 } from "./programs/seen.js";

const test = suite("foreign peers");
const started = new Set<ChildProcess>();
const folders = new Set<string>();
test.after.each(() => {
  abandonAll();
  for (const child of started) child.kill("SIGKILL");
  started.clear();
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  folders.clear();
});

const found = (command: string): string | undefined => {
  const { stdout, status } = spawnSync("sh", ["-c", `command -v ${command}`], { encoding: "utf8" });
  return status === 0 ? stdout.trim() : undefined;
};

function needs(command: string | undefined, what: string, name: string, body: (path: string) => Promise<void>): void {
  testUnless(command === undefined ? `there is no ${what} here` : undefined, test)(name, () => body(command!));
}

function folder(): string {
  const made = mkdtempSync(join(tmpdir(), "smcnet-foreign-"));
  folders.add(made);
  return made;
}

async function output(command: string, args: string[]): Promise<Buffer> {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] });
  started.add(child);
  const chunks: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
  const [code] = await happens(child, "close", `${command} to end`);
  assert.is(code, 0, `${command} ${args.join(" ")}`);
  return Buffer.concat(chunks);
}

async function port(server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await happens(server, "listening");
  return (server.address() as AddressInfo).port;
}

async function freePort(): Promise<number> {
  const server = net.createServer();
  const free = await port(server);
  const closed = happens(server, "close");
  server.close();
  await closed;
  return free;
}

/** Once somebody answers at `target`. */
async function answering(target: number): Promise<void> {
  let up = false;
  const knock = (): void => {
    const socket = net.connect(target, "127.0.0.1");
    socket.on("connect", () => {
      up = true;
      socket.destroy();
    });
    socket.on("error", () => setImmediate(knock));
  };
  knock();
  await until(() => up, `an answer at port ${target}`);
}

interface Recorder {
  readonly port: number;
  /** What each client has sent, in the order of their connections. */
  readonly heard: Buffer[][];
  close(): void;
}

/** Stands between a client and the server at `target`, and keeps what the client sends. Plain: this process has no preload. */
async function recorder(target: number): Promise<Recorder> {
  const heard: Buffer[][] = [];
  const sockets = new Set<Socket>();
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    const mine: Buffer[] = [];
    heard.push(mine);
    const onward = net.connect({ port: target, host: "127.0.0.1", allowHalfOpen: true });
    for (const end of [socket, onward]) end.on("error", () => undefined);
    for (const end of [socket, onward]) sockets.add(end);
    socket.on("data", (chunk: Buffer) => mine.push(chunk));
    socket.pipe(onward).pipe(socket);
  });
  const close = (): void => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  return { port: await port(server), heard, close };
}

/** The same conversation with and without SMC: what was seen, what was sent. Errors: fails where they differ. */
async function sameBytes(target: number, verb: string, ...args: unknown[]): Promise<Seen> {
  // One for both: its port stands in what http clients send.
  const between = await recorder(target);
  const talk = async (manner: Manner): Promise<{ seen: Seen; sent: string[] }> => {
    const client = new Program("stores", manner);
    const seen = await client.ask<Seen>(verb, between.port, ...args);
    const expected = manner === "smc" ? "TCP" : "none";
    for (const carrier of (await client.carriers()).client) assert.is(carrier, expected);
    await client.stop();
    const heard = between.heard.splice(0);
    return { seen, sent: heard.map((chunks) => sha256(Buffer.concat(chunks))).sort() };
  };
  const reference = await talk("off");
  const smc = await talk("smc");
  between.close();
  assert.equal(smc, reference);
  assert.ok(reference.sent.length > 0, "there was a conversation");
  return reference.seen;
}

test("a server that speaks first: its client hears it, and sends no byte of its own before", async () => {
  const said: Record<string, string> = {};
  for (const manner of ["off", "smc"] as const) {
    let heard = Buffer.alloc(0);
    const server = net.createServer((socket) => {
      // Whatever a client says by itself is there before it can have read the greeting.
      socket.write("220 ready");
      socket.on("data", (chunk: Buffer) => {
        heard = Buffer.concat([heard, chunk]);
      });
      socket.on("end", () => socket.end(" bye"));
    });
    const client = new Program("stores", manner);
    assert.is(await client.ask("greeted", await port(server)), "220 ready bye");
    said[manner] = heard.toString("latin1");
    await client.stop();
    server.close();
  }
  assert.equal(said, { off: "EHLO to 220 ready", smc: "EHLO to 220 ready" });
});

needs(found("curl"), "curl", "curl gets and posts what it would without the preload", async (curl) => {
  const server = new Program("fastify", "smc");
  const at = `http://127.0.0.1:${await server.ask<number>("serve")}`;
  const file = join(folder(), "body");
  const body = bodyOf(3, 700_000);
  writeFileSync(file, body);
  const echoed = await output(curl, [
    "-sS",
    "-H",
    "content-type: application/octet-stream",
    "--data-binary",
    `@${file}`,
    `${at}/echo`,
  ]);
  assert.is(sha256(echoed), sha256(body));
  const twice = await output(curl, [
    "-sS",
    `${at}/json/a`,
    `${at}/json/b`,
    "--next",
    "-sS",
    "--http1.0",
    `${at}/stream`,
  ]);
  const stream = Buffer.concat(Array.from({ length: 40 }, (_, i) => bodyOf(i, 9_000)));
  assert.ok(twice.toString("latin1").startsWith('{"params":{"name":"a"}'));
  assert.is(sha256(twice.subarray(twice.length - stream.length)), sha256(stream));
  assert.equal([...new Set((await server.carriers()).server)], ["TCP"]);
  await server.stop();
});

needs(found("wrk"), "wrk", "wrk finds no error at a server with the preload", async (wrk) => {
  const server = new Program("fastify", "smc");
  const at = `http://127.0.0.1:${await server.ask<number>("serve")}/json/wrk`;
  const told = (await output(wrk, ["-t1", "-c16", "-d1s", at])).toString();
  assert.match(told, /[1-9]\d* requests in/);
  assert.not.match(told, /Socket errors|Non-2xx/);
  assert.equal([...new Set((await server.carriers()).server)], ["TCP"]);
  await server.stop();
});

needs(
  found("nginx") ?? found("/usr/sbin/nginx"),
  "nginx",
  "nginx: files by keep-alive http, no byte differs",
  async (nginx) => {
    const home = folder();
    const listen = await freePort();
    const sizes = [0, 1, 70_000, 1_000_000];
    for (const size of sizes) writeFileSync(join(home, `${size}`), bodyOf(size, size));
    const config = [
      `daemon off; master_process off; pid ${home}/pid; error_log stderr crit;`,
      `events {} http { access_log off; client_body_temp_path ${home}/b; proxy_temp_path ${home}/p;`,
      `fastcgi_temp_path ${home}/f; uwsgi_temp_path ${home}/u; scgi_temp_path ${home}/s;`,
      `server { listen 127.0.0.1:${listen}; root ${home}; } }`,
    ];
    writeFileSync(join(home, "conf"), config.join("\n"));
    started.add(spawn(nginx, ["-c", join(home, "conf"), "-p", home], { stdio: ["ignore", "ignore", "inherit"] }));
    await answering(listen);
    const paths = [...sizes.map((size) => `/${size}`), "/missing"];
    const client = new Program("stores", "smc");
    const seen = await client.ask<Seen>("web", listen, paths);
    for (const size of sizes) assert.is(seen[`/${size}`], `200 ${size} ${sha256(bodyOf(size, size))}`);
    assert.match(seen["/missing"]!, /^404/);
    assert.equal([...new Set((await client.carriers()).client)], ["TCP"]);
    await client.stop();
    // One socket, one order.
    await sameBytes(listen, "web", ["/70000"]);
  },
);

needs(found("redis-server"), "redis-server", "redis by ioredis: no byte differs", async (redis) => {
  const listen = await freePort();
  const options = ["--port", `${listen}`, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder()];
  started.add(spawn(redis, [...options, "--loglevel", "warning"], { stdio: ["ignore", "ignore", "inherit"] }));
  await answering(listen);
  const seen = await sameBytes(listen, "redis");
  assert.is(seen["key 3"], sha256(bodyOf(3, 3 * 60_013)));
});

/** Debian keeps the server's programs out of the path. */
function postgresPrograms(): string | undefined {
  const { stdout, status } = spawnSync("sh", ["-c", "ls -d /usr/lib/postgresql/*/bin | tail -1"], { encoding: "utf8" });
  const at = stdout.trim();
  return status === 0 && at !== "" && readdirSync(at).includes("initdb") ? at : undefined;
}

needs(postgresPrograms(), "PostgreSQL", "PostgreSQL by pg: no byte differs", async (programs) => {
  const home = folder();
  const listen = await freePort();
  // It refuses to run as root.
  const id = (kind: "u" | "g"): number =>
    Number(spawnSync("id", [`-${kind}`, "postgres"], { encoding: "utf8" }).stdout);
  const as = process.getuid!() === 0 ? { uid: id("u"), gid: id("g") } : {};
  if (as.uid !== undefined) chownSync(home, as.uid, as.gid);
  const data = join(home, "data");
  const init = spawn(join(programs, "initdb"), ["-D", data, "-U", "tester", "-A", "trust", "--no-sync"], {
    ...as,
    cwd: home,
    stdio: ["ignore", "ignore", "inherit"],
  });
  started.add(init);
  assert.is((await happens(init, "close", "initdb to end"))[0], 0);
  const options = ["-D", data, "-p", `${listen}`, "-c", "listen_addresses=127.0.0.1", "-k", home, "-c", "fsync=off"];
  const server = spawn(join(programs, "postgres"), options, { ...as, cwd: home, stdio: "ignore" });
  started.add(server);
  await answering(listen);
  const seen = await within(sameBytes(listen, "postgres", "tester"), "pg");
  assert.equal([seen["error"], seen["news"], seen["bytes"]], ["22012", "heard", sha256(bodyOf(1, 900_000))]);
  const ended = happens(server, "close");
  server.kill("SIGINT");
  await ended;
});

test.run();
