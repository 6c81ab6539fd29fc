/**
 * The preload under unmodified programs: http, https with client certificates, http2, h2c, tls and fetch in one process and
 * in two; what it replaces and gives back; what switches it off; what must not be done with a socket over SMC.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { certificates } from "../support/certificates.js";
import { testUnless } from "../support/missing.js";
import { CORE, PRELOAD, run, start } from "./preload.js";

const test = suite("e2e/register");
const pems = certificates();

/** What a server of each kind is, and what a client asks of it: both know nothing of SMC but `socket.smc`. */
const SERVER = `
const fs = require("node:fs"), net = require("node:net");
const [kind, ca, key, cert, clientKey, clientCert] = process.argv.slice(1);
const big = Buffer.alloc(300_000, "smcnet ");
const tlsOptions = () => ({ key: fs.readFileSync(key), cert: fs.readFileSync(cert), ca: fs.readFileSync(clientCert), requestCert: true });
const answer = (request, response) => {
  const socket = request.socket ?? request.stream.session.socket;
  response.setHeader("x-mode", socket.smc.mode);
  response.setHeader("x-client", socket.getPeerCertificate?.()?.subject?.CN ?? "none");
  response.end(big);
};
const make = {
  http: () => require("node:http").createServer(answer),
  fetch: () => require("node:http").createServer(answer),
  https: () => require("node:https").createServer(tlsOptions(), answer),
  h2c: () => require("node:http2").createServer(answer),
  http2: () => require("node:http2").createSecureServer(tlsOptions(), answer),
  tls: () => require("node:tls").createServer(tlsOptions(), (socket) => socket.end(big)),
};
const server = make[kind]().listen(0, "127.0.0.1", () => ready(server.address().port));
process.stdin.on("end", () => server.close()).resume();
`;

const CLIENT = `
const crypto = require("node:crypto");
const hash = (bytes) => crypto.createHash("sha256").update(bytes).digest("hex");
const clientTls = () => ({ host: "127.0.0.1", ca: fs.readFileSync(ca), key: fs.readFileSync(clientKey), cert: fs.readFileSync(clientCert), checkServerIdentity: () => undefined });
const gather = async (stream) => { const all = []; for await (const chunk of stream) all.push(chunk); return Buffer.concat(all); };
async function h2(url, options) {
  const session = require("node:http2").connect(url, options);
  const stream = session.request({ ":path": "/" });
  const [headers] = await require("node:events").once(stream, "response");
  const body = await gather(stream);
  const mode = session.socket.smc.mode;
  session.close();
  return { mode, server: headers["x-mode"], client: headers["x-client"], hash: hash(body) };
}
const get = (module, options) => new Promise((resolve, reject) => {
  require(module).get({ agent: false, ...options }, async (response) => {
    const { smc } = response.socket;
    resolve({ mode: smc.mode, server: response.headers["x-mode"], client: response.headers["x-client"], hash: hash(await gather(response)) });
  }).on("error", reject);
});
const ask = {
  http: (port) => get("node:http", { port, host: "127.0.0.1" }),
  fetch: async (port) => {
    const response = await fetch("http://127.0.0.1:" + port, { headers: { connection: "close" } });
    const mode = response.headers.get("x-mode");
    return { mode, server: mode, client: response.headers.get("x-client"), hash: hash(Buffer.from(await response.arrayBuffer())) };
  },
  https: (port) => get("node:https", { port, ...clientTls() }),
  h2c: (port) => h2("http://127.0.0.1:" + port),
  http2: (port) => h2("https://127.0.0.1:" + port, clientTls()),
  tls: async (port) => {
    const socket = require("node:tls").connect({ port, ...clientTls() });
    const body = await gather(socket);
    return { mode: socket.smc?.mode ?? "SMCD", server: "SMCD", client: "client", hash: hash(body) };
  },
};
`;

const CERTIFIED = ["https", "http2", "tls"];

for (const kind of ["http", "fetch", "h2c", ...CERTIFIED]) {
  const args = [
    kind,
    pems?.cert ?? "",
    pems?.key ?? "",
    pems?.cert ?? "",
    pems?.clientKey ?? "",
    pems?.clientCert ?? "",
  ];
  const missing = pems === undefined && CERTIFIED.includes(kind) ? "no openssl to make certificates with" : undefined;
  const define = testUnless(missing, test);
  const client = CERTIFIED.includes(kind) ? "client" : "none";

  define(`${kind} in one process: both ends over SMC, and the same bytes as over TCP`, async () => {
    const code = `${SERVER}${CLIENT}
const ready = (port) => ask[kind](port).then((answer) => { say(answer); server.close(); process.stdin.destroy(); });`;
    const [smc, tcp] = await Promise.all([run(code, { args }), run(code, { args, env: { SMC_EXCEPT: "0.0.0.0/0" } })]);
    const [over] = smc.lines as [Record<string, string>];
    const [plain] = tcp.lines as [Record<string, string>];
    assert.is(smc.errors + tcp.errors, "");
    assert.equal([over["mode"], over["server"], over["client"]], ["SMCD", "SMCD", client]);
    if (kind !== "tls") assert.is(plain["mode"], "TCP");
    assert.is(over["hash"], plain["hash"]);
  });

  define(`${kind} between two processes over SMC`, async () => {
    const server = start(`${SERVER}const ready = (port) => say(port);`, { args });
    const port = await server.first();
    const code = `${SERVER.replace(/const server = [\s\S]*/, "")}${CLIENT}ask[kind](${port}).then(say);`;
    const { lines, errors, status } = await run(code, { args });
    server.child.stdin?.end();
    const { errors: serverErrors } = await server.ended;
    assert.is(errors + serverErrors, "");
    assert.is(status, 0);
    const [answer] = lines as [Record<string, string>];
    assert.equal([answer["mode"], answer["server"], answer["client"]], ["SMCD", "SMCD", client]);
  });
}

/** One connection in one process, and its two modes. */
const PAIR = `
const net = require("node:net");
const pair = () => new Promise((resolve) => {
  let client;
  const server = net.createServer((accepted) => {
    accepted.resume();
    server.close();
    client.once("data", () => { resolve([client.smc?.mode, accepted.smc?.mode]); client.end(); });
    accepted.write("hello");
  }).listen(0, "127.0.0.1", () => { client = net.connect(server.address().port, "127.0.0.1"); });
});
`;
const MEMBERS = `
const { TCP } = process.binding("tcp_wrap");
const members = () => [TCP.prototype.connect, TCP.prototype.connect6, net.Server.prototype._listen2, Object.hasOwn(net.Socket.prototype, "smc")];
`;

test("uninstall gives every member back, and connections are plain from then on", async () => {
  const { lines, errors } = await run(
    `${PAIR}${MEMBERS}
    const before = members();
    const preload = require(${JSON.stringify(PRELOAD)});
    preload.install();
    const during = members();
    (async () => {
      say(await pair());
      preload.uninstall();
      say(members().map((member, at) => [member === before[at], during[at] === before[at]]));
      say(await pair());
    })();`,
    { flags: ["--require", CORE] },
  );
  assert.is(errors, "");
  assert.equal(lines, [["SMCD", "SMCD"], Array.from({ length: 4 }, () => [true, false]), [null, null]]);
});

test("SMC=off replaces nothing", async () => {
  const { lines } = await run(
    `${PAIR}const own = Object.getOwnPropertyNames(process.binding("tcp_wrap").TCP.prototype);
     say([/native code/.test(process.binding("tcp_wrap").TCP.prototype.connect), Object.hasOwn(net.Socket.prototype, "smc")]);
     pair().then(say);`,
    { env: { SMC: "off" } },
  );
  assert.equal(lines, [
    [true, false],
    [null, null],
  ]);
});

test("SMC_ONLY and SMC_EXCEPT decide by address and port", async () => {
  const modes = async (env: object) => (await run(`${PAIR}pair().then(say);`, { env })).lines[0];
  assert.equal(await modes({ SMC_ONLY: "127.0.0.0/8" }), ["SMCD", "SMCD"]);
  assert.equal(await modes({ SMC_ONLY: "10.0.0.0/8" }), ["TCP", "TCP"]);
  assert.equal(await modes({ SMC_EXCEPT: "127.0.0.1" }), ["TCP", "TCP"]);
  assert.equal(await modes({ SMC_EXCEPT: "1-1023" }), ["SMCD", "SMCD"]);
});

test("the program has its own say, for each connection, from any moment on", async () => {
  const { lines } = await run(
    `${PAIR}const { setPolicy } = require(${JSON.stringify(CORE)});
    const asked = [];
    (async () => {
      setPolicy((target) => asked.push(target) > 1);
      say(await pair());
      say(await pair());
      setPolicy(() => false);
      say(await pair());
      setPolicy(undefined);
      say(await pair());
      say(asked.map(({ side, address }) => side + " " + address));
    })();`,
  );
  const [first, second, none, all, asked] = lines;
  assert.equal(
    [first, second, none, all],
    [
      ["TCP", "TCP"],
      ["SMCD", "SMCD"],
      ["TCP", "TCP"],
      ["SMCD", "SMCD"],
    ],
  );
  assert.equal(asked, ["client 127.0.0.1", "server 127.0.0.1", "client 127.0.0.1", "server 127.0.0.1"]);
});

test("a server with pauseOnConnect stays plain: what it accepts may be meant for another process", async () => {
  const { lines } = await run(`
    const net = require("node:net");
    const server = net.createServer({ pauseOnConnect: true }, (socket) => {
      say(["server", socket.smc.mode, socket._handle.constructor.name]);
      socket.resume().end("bye");
    });
    server.listen(0, "127.0.0.1", () => {
      const client = net.connect(server.address().port, "127.0.0.1", () => say(["client", client.smc.mode]));
      client.resume().on("end", () => server.close());
    });`);
  assert.equal([...lines].sort(), [
    ["client", "TCP"],
    ["server", "TCP", "TCP"],
  ]);
});

test("a second copy of the preload leaves everything as the first has made it", async () => {
  const code = `${PAIR}pair().then(say);`;
  const { lines, errors } = await run(code, {
    flags: ["--require", PRELOAD, "--import", `file://${PRELOAD.replace(/cjs$/, "mjs")}`],
  });
  assert.is(errors, "");
  assert.equal(lines, [["SMCD", "SMCD"]]);
});

test("under --permission one warning says why, and connections are plain", async () => {
  const permission = Number(process.versions.node.split(".")[0]) >= 24 ? "--permission" : "--experimental-permission";
  const flags = [
    permission,
    "--allow-fs-read=*",
    ...(process.allowedNodeEnvironmentFlags.has("--allow-net") ? ["--allow-net"] : []),
  ];
  const { lines, errors } = await run(`${PAIR}pair().then(say);`, { flags: [...flags, "--require", PRELOAD] });
  assert.equal(lines, [[null, null]]);
  assert.is(errors.match(/SMC_UNSUPPORTED_NODE/g)?.length, 1, errors);
});

test("a socket over SMC is refused by send of a child and of the process at once, and stays usable; a plain one and a server pass", async () => {
  const { lines, errors } = await run(`${PAIR}
    const { fork } = require("node:child_process");
    const { writeFileSync } = require("node:fs");
    const file = require("node:path").join(process.env.SMC_RUNTIME_DIR, "..", "smcnet-transfer-" + process.pid + ".cjs");
    writeFileSync(file, 'process.on("message", (kind, handle) => { process.send([kind, handle?.constructor.name]); handle?.destroy?.(); handle?.close?.(); });');
    const child = fork(file);
    const replies = [];
    let client;
    child.on("message", (reply) => { replies.push(reply); if (replies.length === 2) { say(replies); child.disconnect(); require("node:fs").unlinkSync(file); } });
    const server = net.createServer((accepted) => {
      const outcome = [];
      for (const socket of [accepted, client])
        try { child.send("smc", socket); outcome.push("sent"); } catch (error) { outcome.push([error.name, error.code]); }
      client.on("data", (bytes) => {
        say([outcome, String(bytes)]);
        client.destroy();
        const plain = net.createServer((socket) => { child.send("plain", socket, () => { child.send("server", plain, () => { plain.close(); server.close(); }); }); }).listen(0, "127.0.0.1", () => {
          require(${JSON.stringify(PRELOAD)}).uninstall();
          const other = net.connect(plain.address().port, "127.0.0.1");
          other.on("error", () => undefined).resume();
        });
      });
      accepted.write("still here");
    }).listen(0, "127.0.0.1", () => { client = net.connect(server.address().port, "127.0.0.1"); });`);
  assert.is(errors, "");
  const refused = ["SmcError", "ERR_SMC_NOT_TRANSFERABLE"];
  assert.equal(lines, [
    [[refused, refused], "still here"],
    [
      ["plain", "Socket"],
      ["server", "Server"],
    ],
  ]);
});

test("a socket over SMC cannot be posted to a thread, as no socket can", async () => {
  const { lines } = await run(`${PAIR}
    const server = net.createServer((accepted) => {
      try { new MessageChannel().port1.postMessage(accepted); say("sent"); } catch (error) { say([accepted.smc.mode, error.name]); }
      process.exit();
    }).listen(0, "127.0.0.1", () => net.connect(server.address().port, "127.0.0.1"));`);
  assert.equal(lines, [["SMCD", "DataCloneError"]]);
});

test("end() before the connect stands below TLS, and the session and the keys arrive", async () => {
  if (pems === undefined) return;
  const { lines, errors } = await run(
    `const tls = require("node:tls"), fs = require("node:fs");
    const [key, cert] = process.argv.slice(1).map((name) => fs.readFileSync(name));
    let keys = 0, sessions = 0;
    const server = tls.createServer({ key, cert }, (socket) => {
      let got = "";
      socket.on("data", (bytes) => { got += bytes; }).on("end", () => { say(got); socket.end("World"); server.close(); });
    }).listen(0, "127.0.0.1", () => {
      const client = tls.connect({ port: server.address().port, host: "127.0.0.1", rejectUnauthorized: false });
      client.on("keylog", () => keys++).on("session", () => sessions++).resume();
      client.on("close", () => say([keys > 0, sessions > 0, client.ssl]));
      client.end("Hello");
    });`,
    { args: [pems.key, pems.cert] },
  );
  assert.is(errors, "");
  assert.equal(lines, ["Hello", [true, true, null]]);
});

test("a server that is flooded with requests stops reading until its answers are gone", async () => {
  const { lines, errors } = await run(`
    const http = require("node:http"), net = require("node:net");
    const COUNT = 6000;
    const body = Buffer.alloc(1024, "x");
    let answered = 0;
    const server = http.createServer((request, response) => response.end(body, () => { if (++answered === COUNT) { say([answered, request.socket.smc.mode]); server.close(); client.destroy(); } }));
    let client;
    server.listen(0, "127.0.0.1", () => {
      client = net.connect(server.address().port, "127.0.0.1", () => client.write("GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n".repeat(COUNT)));
      client.resume();
    });`);
  assert.is(errors, "");
  assert.equal(lines, [[6000, "SMCD"]]);
});

test.run();
