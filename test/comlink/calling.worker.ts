/**
 * A Worker that calls the service at the port it was made with. Told the name of one of its calls, it makes it and tells what
 * came of it; "end" ends it.
 */
import { parentPort, threadId, workerData } from "node:worker_threads";
import * as Comlink from "comlink";
import { endpoint } from "../../src/comlink/index.js";
import * as smc from "../../src/index.js";
import { happens } from "../support/watchdog.js";
import { type Service, sha256 } from "./service.js";

const socket = smc.connect(workerData as number, "127.0.0.1");
const connected = happens(socket, "connect");
const api = Comlink.wrap<Service>(endpoint(socket));

/** What the error of a call that must fail says. */
async function failure(call: Promise<unknown>): Promise<readonly string[]> {
  const error = await call.then(
    () => new Error("the call did not fail"),
    (reason: Error) => reason,
  );
  return [error.name, error.message];
}

const CALLS = {
  carrier: () => Promise.resolve(socket.smc?.device),
  threads: async () => [threadId, await api.thread()],
  clone: () =>
    api.echo({
      map: new Map<string, unknown>([
        ["bytes", new Uint8Array([1, 2, 255])],
        ["inner", new Map([[1n, new Date(5)]])],
      ]),
      floats: new Float64Array([0.5, -0, Number.NaN]),
    }),
  async transfer() {
    const words = Uint32Array.from({ length: 1_000_000 }, (_, i) => 3 * i);
    const bytes = new Uint8Array(words.buffer);
    const hash = sha256(bytes);
    const there = await api.hash(Comlink.transfer(bytes, [bytes.buffer]));
    return { same: there === hash, left: bytes.length };
  },
  thrown: () => failure(api.fail()),
  async callback() {
    const given: number[] = [];
    const square = Comlink.proxy((value: number) => {
      given.push(value);
      return value * value;
    });
    return { sum: await api.callBack(10, square), given };
  },
  thrownBack: () =>
    failure(
      api.callBack(
        1,
        Comlink.proxy((): number => {
          throw new RangeError("in the callback");
        }),
      ),
    ),
  /** A function of ours is given one of theirs and calls it. */
  lent: () => api.lend(Comlink.proxy(async (double: (value: number) => number) => (await double(20)) + 2)),
} satisfies Record<string, () => Promise<unknown>>;
export type CallName = keyof typeof CALLS;

parentPort!.on("message", async (name: CallName | "end") => {
  if (name === "end") {
    socket.end();
    socket.once("close", () => parentPort!.close());
    return;
  }
  try {
    await connected;
    parentPort!.postMessage({ value: await CALLS[name]() });
  } catch (error) {
    parentPort!.postMessage({ error: (error as Error).stack });
  }
});
