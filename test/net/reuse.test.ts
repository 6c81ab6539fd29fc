/** Sockets that are used again after they closed: each connection is negotiated anew, and `socket.smc` tells of the last one. */
import net, { type AddressInfo, type Server, type Socket } from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as smc from "../../src/index.js";
import { happens } from "../support/watchdog.js";
import { checkNothingLeft } from "./stage.js";

const test = suite("sockets that are used again");
let pagesBefore = 0;
test.before(() => {
  pagesBefore = smc.poolFreePages();
});

const MAKERS = { SMCD: smc, TCP: net } as const;
type Carrier = keyof typeof MAKERS;
const ORDERS: readonly (readonly Carrier[])[] = [
  ["SMCD", "SMCD"],
  ["SMCD", "TCP", "SMCD"],
  ["TCP", "SMCD", "TCP"],
];

for (const order of ORDERS) {
  test(order.join(", then "), async () => {
    const servers = {} as Record<Carrier, Server>;
    for (const [name, maker] of Object.entries(MAKERS)) {
      const server = (maker as typeof net).createServer((socket: Socket) => socket.end("hello"));
      server.listen(0, "127.0.0.1");
      await happens(server, "listening");
      servers[name as Carrier] = server;
    }
    const socket = new smc.Socket();
    const seen: unknown[] = [];
    for (const carrier of order) {
      socket.connect((servers[carrier].address() as AddressInfo).port, "127.0.0.1");
      await happens(socket, "connect");
      seen.push(socket.smc?.mode);
      const closing = happens(socket, "close");
      socket.resume();
      await closing;
    }
    for (const server of Object.values(servers)) server.close();
    assert.equal(seen, order);
  });
}

test("no doorbell was rescued and every page came back", () => checkNothingLeft(pagesBefore));

test.run();
