/**
 * The table of members against the Node that runs: every member is named, and what the handle has to answer it can answer.
 */
import net from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as smc from "../../src/index.js";
import { SERVER_MEMBERS, SOCKET_MEMBERS, type Support } from "../../src/net/compat.js";
import { happens } from "../support/watchdog.js";
import { checkNothingLeft } from "./stage.js";

const test = suite("net/compat");
const pagesBefore = smc.poolFreePages();

const unnamed = (prototype: object, table: Readonly<Record<string, Support>>): string[] =>
  Object.getOwnPropertyNames(prototype).filter((name) => !Object.hasOwn(table, name));

test("the table names every member of this Node's net.Socket and net.Server", () => {
  assert.equal(unnamed(net.Socket.prototype, SOCKET_MEMBERS), []);
  assert.equal(unnamed(net.Server.prototype, SERVER_MEMBERS), []);
});

test("a member that Node does not have yet would be found", () => {
  assert.equal(unnamed({ address: 1, teleport: 1 }, SOCKET_MEMBERS), ["teleport"]);
});

test("the handle of a socket over SMC has what the table says it is asked for", async () => {
  const server = smc.createServer((accepted) => accepted.resume().on("end", () => accepted.end()));
  server.listen(0, "127.0.0.1");
  await happens(server, "listening");
  const socket = smc.connect((server.address() as net.AddressInfo).port, "127.0.0.1");
  await happens(socket, "connect");
  assert.is(socket.smc?.mode, "SMCD");
  const handle = (socket as net.Socket & { _handle: object })._handle;
  const missing = Object.entries(SOCKET_MEMBERS).filter(
    ([, support]) => "handle" in support && support.handle !== undefined && !(support.handle in handle),
  );
  assert.equal(missing, []);
  const withService = socket as net.Socket & { setTypeOfService?(value: number): void; getTypeOfService?(): number };
  if (withService.setTypeOfService !== undefined) {
    withService.setTypeOfService(0x10);
    assert.is(withService.getTypeOfService?.(), 0x10);
  }
  socket.end();
  socket.resume();
  await happens(socket, "close");
  server.close();
  await happens(server, "close");
});

test("nothing is left", () => checkNothingLeft(pagesBefore));

test.run();
