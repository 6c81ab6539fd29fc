/**
 * Comlink itself over the endpoint: calls, callbacks, errors and large values, to a Worker, to a process, and over plain TCP.
 *
 * The same body for every connection; what carries the socket is checked first.
 */
import { type ChildProcess, fork } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import net, { type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import * as Comlink from "comlink";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { PATIENCE } from "../support/patience.js";

// The directory has to be there before smcnet reads the environment.
const directory = mkdtempSync(join(tmpdir(), "smcnet-comlink-"));
Object.assign(process.env, {
  SMC_RUNTIME_DIR: directory,
  ...PATIENCE,
});
const smc = await import("../../src/index.js");
const { endpoint } = await import("../../src/comlink/index.js");
const { service, sha256 } = await import("./service.js");
const { happens, until, within } = await import("../support/watchdog.js");
type Service = typeof service;

const worker = new Worker(new URL("../comlink/comlink.worker.mjs", import.meta.url));
const child: ChildProcess = fork(fileURLToPath(new URL("../comlink/comlink.child.mjs", import.meta.url)));

interface Way {
  readonly name: string;
  readonly carrier: string;
  connect(): Promise<Socket>;
}
const ports = Promise.all([happens(worker, "message"), happens(child, "message")]).then(
  ([[ofWorker], [ofChild]]) => ({ worker: ofWorker as number, child: ofChild as number }) as const,
);
async function dial(whose: "worker" | "child", plain = false): Promise<Socket> {
  const port = (await ports)[whose];
  const socket = plain ? net.connect(port, "127.0.0.1") : smc.connect(port, "127.0.0.1");
  await happens(socket, "connect");
  return socket;
}
const WAYS: readonly Way[] = [
  { name: "to a Worker", carrier: "lo", connect: () => dial("worker") },
  { name: "to a process", carrier: "shm", connect: () => dial("child") },
  { name: "over TCP", carrier: "none", connect: () => dial("child", true) },
];

const test = suite("comlink");

async function bye(socket: Socket): Promise<void> {
  const closed = happens(socket, "close");
  socket.end();
  await closed;
}

/** What a call that must fail fails with. */
async function failure(call: Promise<unknown>): Promise<Error & { code?: string }> {
  const result = await within(
    call.then(
      () => undefined,
      (error: Error) => error,
    ),
    "the call to fail",
  );
  assert.ok(result, "the call did not fail");
  return result!;
}

for (const { name, carrier, connect } of WAYS) {
  test(`calls, properties, classes and errors · ${name}`, async () => {
    const socket = await connect();
    assert.is(socket.smc?.device ?? "none", carrier);
    const api = Comlink.wrap<Service>(endpoint(socket));
    assert.is(await within(api.add(2, 3), "a sum"), 5);
    assert.is(await api.answer, 42);
    assert.is(await (api.nested as unknown as { deep: { name: Promise<string> } }).deep.name, "here");
    const counter = await new api.Counter(7);
    assert.equal([await counter.up(), await counter.up()], [8, 9]);
    counter[Comlink.releaseProxy]();
    const error = await failure(api.fail());
    assert.equal([error.name, error.message], ["ServiceError", "as asked"]);
    assert.match(error.stack!, /fail/);
    const sums = await within(Promise.all(Array.from({ length: 500 }, (_, i) => api.add(i, 1))), "500 calls at once");
    assert.equal(
      sums,
      Array.from({ length: 500 }, (_, i) => i + 1),
    );
    await bye(socket);
  });

  test(`values keep their kind and their bytes · ${name}`, async () => {
    const socket = await connect();
    const api = Comlink.wrap<Service>(endpoint(socket));
    const value = {
      when: new Date(5),
      map: new Map([["a", new Set([1n, -2n])]]),
      holes: [1, undefined, null, Number.NaN, -0],
      expression: /x+/giu,
      error: new RangeError("of its kind"),
      floats: new Float64Array([0.5, -1]),
      view: new DataView(new Uint8Array([1, 2, 3]).buffer, 1, 2),
      text: "\u{1f600} ü",
    };
    const back = (await within(api.echo(value), "the echo")) as typeof value;
    assert.equal(back, value);
    assert.instance(back.error, RangeError);
    assert.is(back.view.getUint8(1), 3);
    const cycle: { self?: unknown } = {};
    cycle.self = cycle;
    const turned = (await api.echo(cycle)) as typeof cycle;
    assert.is(turned.self, turned);
    const small = (await api.echo(Buffer.from("from a pool"))) as Uint8Array;
    assert.equal([small.constructor, small.buffer.byteLength], [Uint8Array, 11], "memory of its own, no pool's");
    await bye(socket);
  });

  test(`large values both ways; what is transferred is gone here · ${name}`, async () => {
    const socket = await connect();
    const api = Comlink.wrap<Service>(endpoint(socket));
    const bytes = new Uint8Array(12_000_000);
    for (let i = 0; i < bytes.length; i += 7) bytes[i] = i >> 3;
    const hash = sha256(bytes);
    assert.is(await within(api.hash(Comlink.transfer(bytes, [bytes.buffer])), "the hash"), hash);
    assert.is(bytes.length, 0, "detached");
    const filled = await within(api.bytes(9_000_000, 0x5a), "the bytes");
    assert.is(sha256(filled), sha256(new Uint8Array(9_000_000).fill(0x5a)));
    await bye(socket);
  });

  test(`callbacks by Comlink.proxy, and endpoints of their own · ${name}`, async () => {
    const socket = await connect();
    const api = Comlink.wrap<Service>(endpoint(socket));
    const got: number[] = [];
    const double = Comlink.proxy((value: number) => {
      got.push(value);
      return 2 * value;
    });
    assert.is(await within(api.callBack(50, double), "50 callbacks"), 2450);
    assert.equal(
      got,
      Array.from({ length: 50 }, (_, i) => i),
    );
    const fails = Comlink.proxy((): number => {
      throw new TypeError("in the callback");
    });
    assert.equal((await failure(api.callBack(1, fails))).message, "in the callback");
    const second = Comlink.wrap<Service>(await api[Comlink.createEndpoint]());
    assert.is(await within(second.add(1, 1), "a sum by the other endpoint"), 2);
    // A callback of a callback: a port that goes through a port.
    assert.is(await within(second.callBack(3, double), "callbacks by the other endpoint"), 6);
    second[Comlink.releaseProxy]();
    await bye(socket);
  });
}

test("what cannot leave the process is refused, with its kind, and nothing else is lost", async () => {
  const socket = await dial("child");
  const api = Comlink.wrap<Service>(endpoint(socket, { maxFrameBytes: 100_000 }));
  const echo = api.echo as (value: unknown) => Promise<unknown>;
  const { port1, port2 } = new MessageChannel();
  const buffer = new ArrayBuffer(200_000);
  const refused: readonly (readonly [string, unknown])[] = [
    ["SMC_NOT_CLONEABLE", () => 0],
    ["SMC_NOT_CLONEABLE", Symbol("s")],
    ["SMC_NOT_CLONEABLE", new SharedArrayBuffer(8)],
    ["SMC_NOT_CLONEABLE", new Uint8Array(new SharedArrayBuffer(8))],
    ["SMC_NOT_CLONEABLE", port1],
    ["SMC_NOT_CLONEABLE", new WeakMap()],
    ["SMC_NOT_CLONEABLE", Comlink.transfer({}, [new Blob([]) as never])],
    ["EINVAL", Comlink.transfer(buffer, [buffer])],
  ];
  for (const [code, value] of refused) {
    const error = await failure(echo(value));
    assert.equal([error.code, error.constructor.name], [code, "SmcError"], String(code));
  }
  assert.is(buffer.byteLength, 200_000, "what was not sent is still here");
  assert.match((await failure(api.uncloneable())).message, /Unserializable/);
  assert.is(await within(api.add(1, 2), "a call after those"), 3);
  for (const port of [port1, port2]) port.close();
  await bye(socket);
});

test("calls on their way when the connection dies, and later ones, fail with ECONNRESET", async () => {
  const socket = await dial("child");
  const api = Comlink.wrap<Service>(endpoint(socket));
  const second = Comlink.wrap<Service>(await api[Comlink.createEndpoint]());
  const pending = [failure(api.never()), failure(second.never())];
  await api.add(1, 1);
  socket.destroy();
  for (const error of await Promise.all(pending)) assert.is(error.code, "ECONNRESET");
  assert.is((await failure(api.add(1, 1))).code, "ECONNRESET");
});

test("a client that reads no answers is not read either: what waits for it is bounded", async () => {
  const socket = await dial("child", true);
  const end = endpoint(socket);
  const answerBytes = 100_000;
  const call = (id: string): object => {
    const argumentList = [answerBytes, 1].map((value) => ({ type: "RAW", value }));
    return { id, type: "APPLY", path: ["bytes"], argumentList };
  };
  // Enough calls for 300 MB of answers, none of them read: more than sockets hold. The padding fills the way there.
  const pad = "x".repeat(2_000);
  for (let i = 0; i < 3_000; i++) end.postMessage({ ...call(`id ${i}`), pad });
  const stuck = async (): Promise<boolean> => {
    const before = socket.bytesWritten - socket.writableLength;
    const [asked] = await Promise.all([happens(child, "message"), Promise.resolve(child.send("how much?"))]);
    const { queued } = asked[0] as { queued: number };
    assert.ok(queued < 20_000_000, `${queued} bytes wait for a client that does not read`);
    return queued > 0 && socket.bytesWritten - socket.writableLength === before && socket.writableLength > 0;
  };
  for (let still = 0; still < 20; ) still = (await stuck()) ? still + 1 : 0;
  let answers = 0;
  end.addEventListener("message", ({ data }: { data: { value: Uint8Array } }) => {
    if (data.value.length === answerBytes) answers++;
  });
  end.start();
  await until(() => answers === 3_000, "every answer, once they are read");
  await bye(socket);
});

test.after(async () => {
  const gone = happens(worker, "exit");
  worker.postMessage("end");
  await gone;
  const exited = happens(child, "exit");
  child.disconnect();
  await exited;
  rmSync(directory, { recursive: true, force: true });
});

test.run();
