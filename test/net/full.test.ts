/** Copy mode in an arena that fills up: who finds no memory any more is carried by TCP, from the first connection on; nobody is reset. */
import type { AddressInfo, Socket } from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as smc from "../../src/index.js";
import { closed } from "../support/pair.js";
import { happens } from "../support/watchdog.js";
import { checkNothingLeft } from "./stage.js";

const MOST = 2_000;
/** After the first that goes without, so that every piece of a connection is once the one that is not there. */
const WITHOUT = 8;
const PATIENCE = { matchTimeoutMs: 1_000, clcTimeoutMs: 2_000 };
const LARGE = { ...PATIENCE, loCopy: true, rmem: 1 << 20, wmem: 1 << 20 };

const test = suite("a full arena");
let pagesBefore = 0;
test.before(() => {
  pagesBefore = smc.poolFreePages();
});

test("connections until there is no memory, and some more", async () => {
  const server = smc.createServer({ smc: LARGE }, (socket) => socket.pipe(socket));
  server.listen(0, "127.0.0.1");
  await happens(server, "listening");
  const { port } = server.address() as AddressInfo;
  const sockets: Socket[] = [];
  const modes: unknown[] = [];
  while (sockets.length < MOST && modes.filter((mode) => mode === "TCP").length < WITHOUT) {
    const socket = smc.connect({ port, host: "127.0.0.1", smc: LARGE });
    sockets.push(socket);
    await happens(socket, "connect");
    socket.write("x");
    await happens(socket, "data");
    modes.push(socket.smc?.mode);
  }
  assert.is(modes[0], "SMCD");
  assert.is(modes.at(-1), "TCP");
  for (const socket of sockets) socket.end();
  await Promise.all(sockets.map(closed));
  const closing = happens(server, "close");
  server.close();
  await closing;
});

test("no doorbell was rescued and every page came back", () => checkNothingLeft(pagesBefore));

test.run();
