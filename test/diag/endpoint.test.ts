/** The endpoint of a process: it answers a question a connection, and nothing that comes does it any harm. */
import { existsSync, linkSync, lstatSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readOptions } from "../../src/config.js";
import { openEndpoint } from "../../src/diag/endpoint.js";
import { parseQuestion, QUESTION_LIMIT, type Question } from "../../src/diag/question.js";
import {
  askEndpoint,
  type EndpointFolder,
  findEndpoints,
  openEndpointFolder,
  sweepEndpoints,
} from "../../src/diag/reach.js";
import { Prng, RUN_SEED } from "../support/prng.js";
import { happens, until, within } from "../support/watchdog.js";

const folder = mkdtempSync(join(tmpdir(), "smcnet-endpoint-"));
const runtimeDir = join(folder, "runtime");
const options = readOptions({ runtimeDir }, {});
const asked: Question[] = [];
const close = openEndpoint({
  options,
  ask: async (question) => {
    asked.push(question);
    return { threads: [{ thread: 0, answer: [] }], silent: [] };
  },
});
const directory = openEndpointFolder(options) as EndpointFolder;
const own = () => findEndpoints(directory).find(({ pid }) => pid === process.pid)!;

/** What comes back for some bytes: everything until the end, or until it is hung up. */
async function exchange(bytes: Uint8Array | string, end = false): Promise<string> {
  const socket = connect({ path: own().path, allowHalfOpen: true });
  let text = "";
  socket.on("data", (data) => {
    text += data;
  });
  socket.on("error", () => {});
  const closed = within(
    new Promise<void>((resolve) => socket.once("close", () => resolve())),
    "the endpoint to hang up",
  );
  socket.once("end", () => socket.end());
  socket.write(bytes);
  if (end) socket.end();
  await closed;
  return text;
}

const endpoint = suite("endpoint");
endpoint.after(() => {
  close?.();
  directory.close();
  rmSync(folder, { recursive: true });
});

endpoint("lies in the runtime directory under the process's id, for nobody but its user", () => {
  assert.ok(close);
  const { mode } = lstatSync(own().path);
  assert.is(mode & 0o777, 0o600);
});

endpoint("answers a question with one line of JSON that says who answers", async () => {
  const line = await within(askEndpoint(own(), { ask: "counters", absolute: true }), "an answer");
  const reply = JSON.parse(line);
  assert.is(reply.pid, process.pid);
  assert.equal(reply.threads, [{ thread: 0, answer: [] }]);
  assert.equal(asked.at(-1), { ask: "counters", absolute: true });
});

endpoint("takes a question in pieces, and only the first of two", async () => {
  const before = asked.length;
  const text = await exchange('{"ask":"sockets"}\n{"ask":"reset"}\n');
  assert.is(JSON.parse(text).pid, process.pid);
  assert.equal(asked.slice(before), [{ ask: "sockets" }]);
});

endpoint("tells whoever asks nonsense, and asks nobody", async () => {
  const before = asked.length;
  const nonsense = ["", "null", "[]", "7", "{", '{"ask":1}', '{"ask":"__proto__"}', '{"ask":"policy","change":7}'];
  const changes = [{ enabled: "yes" }, { only: 1 }, { only: [1] }, { except: ["x"] }, { only: ["1".repeat(65)] }];
  const tooMany = { only: Array.from({ length: 257 }, () => "1") };
  for (const change of [...changes, tooMany]) nonsense.push(JSON.stringify({ ask: "policy", change }));
  for (const line of nonsense)
    assert.match((JSON.parse(await exchange(`${line}\n`)) as { error: string }).error, /EINVAL/);
  assert.is(asked.length, before);
});

endpoint("hangs up on a question without end, and on one that is broken off", async () => {
  assert.is(await exchange(Buffer.alloc(QUESTION_LIMIT + 1, "x")), "");
  assert.is(await exchange('{"ask":"sock', true), "");
});

endpoint("survives random bytes and random damage", async () => {
  const prng = new Prng(RUN_SEED);
  const question = Buffer.from('{"ask":"policy","change":{"enabled":true,"only":["80"],"except":[]}}\n');
  for (let round = 0; round < 200; round++) {
    const bytes = Buffer.from(question);
    for (let hits = prng.below(4); hits >= 0; hits--) bytes[prng.below(bytes.length)] = prng.below(256);
    const text = await exchange(Buffer.concat([bytes, Buffer.from("\n")]));
    assert.ok(text.endsWith("\n") && JSON.parse(text), `round ${round}`);
  }
  assert.is(JSON.parse(await exchange('{"ask":"devices"}\n')).pid, process.pid);
});

endpoint("serves few clients at a time: those beyond are hung up on, those before still answered", async () => {
  const idle = Array.from({ length: 8 }, () => connect(own().path));
  for (const socket of idle) await happens(socket, "connect");
  const beyond = connect(own().path).on("error", () => {});
  await happens(beyond, "close");
  idle[0]!.write('{"ask":"devices"}\n');
  const [answer] = await happens(idle[0]!, "data");
  assert.is(JSON.parse(String(answer)).pid, process.pid);
  for (const socket of idle) socket.destroy();
  let reply = "gone";
  await until(() => {
    if (reply === "gone") void askEndpoint(own(), { ask: "devices" }).then((next) => (reply = next));
    return reply !== "gone";
  }, "room for clients again");
});

endpoint("what a killed process left is removed by who asks, and by a sweep", async () => {
  const left = async (name: string): Promise<string> => {
    const path = join(runtimeDir, "d", name);
    const server = createServer().listen(join(runtimeDir, "d", "moved"));
    await happens(server, "listening");
    linkSync(join(runtimeDir, "d", "moved"), path);
    utimesSync(path, 1, 1);
    await new Promise((resolve) => server.close(resolve));
    return path;
  };
  const asked = await left("999999999-00000000");
  const found = findEndpoints(directory).find(({ pid }) => pid === 999_999_999)!;
  assert.is(await askEndpoint(found, { ask: "devices" }), "gone");
  assert.not.ok(existsSync(asked));
  const swept = await left("999999999-00000001");
  sweepEndpoints(directory);
  await until(() => !existsSync(swept), "the sweep");
  assert.ok(existsSync(own().path), "the living stay");
});

endpoint("what is no endpoint by its name is not asked", () => {
  for (const name of ["0-00000000", "1-0", "x", "1-0000000g", "-1-00000000", "1-00000000.x", "99999999999-00000000"])
    writeFileSync(join(runtimeDir, "d", name), "");
  assert.equal(findEndpoints(directory), [own()]);
});

endpoint("questions are made anew: nothing that was not looked at goes on", () => {
  assert.equal(parseQuestion('{"ask":"sockets","more":1}'), { ask: "sockets" });
  assert.equal(parseQuestion('{"ask":"policy","change":{"enabled":false,"x":1}}'), {
    ask: "policy",
    change: { enabled: false, only: undefined, except: undefined },
  });
});

endpoint("no endpoint where there is no runtime directory", () => {
  assert.is(
    openEndpoint({ options: readOptions({ runtimeDir: "/proc/none" }, {}), ask: () => Promise.reject() }),
    undefined,
  );
});

endpoint.run();
