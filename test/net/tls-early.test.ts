/** tls over a socket of smcnet that is still connecting, as `net` allows: secured, over TCP or SMC. */
import type { AddressInfo } from "node:net";
import tls from "node:tls";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as smc from "../../src/index.js";
import { closed } from "../support/pair.js";
import { happens } from "../support/watchdog.js";
import { readAll } from "./scenario.js";

const psk = Buffer.alloc(32, 7);
const SHARED = { ciphers: "PSK-AES128-GCM-SHA256:PSK+HIGH", maxVersion: "TLSv1.2" } as const;

const test = suite("tls on a socket that connects");

test("bytes are secured and right", async () => {
  const server = tls.createServer({ ...SHARED, pskCallback: () => psk }, (socket) => socket.end("fine"));
  smc.attach(server);
  server.listen(0, "127.0.0.1");
  await happens(server, "listening");
  const under = smc.connect((server.address() as AddressInfo).port, "127.0.0.1");
  const options = { ...SHARED, pskCallback: () => ({ psk, identity: "us" }), checkServerIdentity: () => undefined };
  const socket = tls.connect({ ...options, socket: under });
  assert.is(String(await readAll(socket)), "fine");
  await closed(under);
  server.close();
});

test.run();
