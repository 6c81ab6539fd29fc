/** Names of listeners: what a client looks for is what a listener at that address entered, and nothing else. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Wildcard } from "../../src/rendezvous/host.js";
import { keysToEnter, keysToFind, LISTENER_KEY } from "../../src/rendezvous/listener-key.js";

const NAMESPACE = 4026531840;
const OTHER_NAMESPACE = 4026531841;
const LOCAL = ["127.0.0.1", "::1", "10.0.0.7", "fe80::1%eth0", "2001:db8::7"];

const entered = (address: string, wildcard: Wildcard = "none", local = LOCAL): string[] =>
  keysToEnter({ address, port: 80 }, wildcard, NAMESPACE, local);

/** Whether a client that connects to `address` finds a listener entered under `keys`. */
const finds = (address: string, keys: readonly string[], namespace = NAMESPACE, port = 80): boolean =>
  keysToFind({ address, port }, namespace).some((key) => keys.includes(key));

const test = suite("listener keys");

test("an address is found in any spelling, on its own port alone", () => {
  for (const [listener, ...clients] of [
    ["10.0.0.7", "10.0.0.7", "::ffff:10.0.0.7", "::FFFF:a00:7"],
    ["::ffff:10.0.0.7", "10.0.0.7"],
    ["2001:db8::7", "2001:DB8:0:0::7", "2001:db8:0:0:0:0:0:7"],
    ["fe80::1%eth0", "fe80::1", "fe80::1%2"],
    ["127.0.0.1", "127.0.0.1", "::ffff:127.0.0.1"],
    ["::1", "::1", "0:0:0:0:0:0:0:1"],
  ] as const) {
    for (const client of clients) {
      assert.ok(finds(client, entered(listener)), `${client} for ${listener}`);
      assert.not(finds(client, entered(listener), NAMESPACE, 81), `${client} on another port`);
    }
  }
  for (const [listener, client] of [
    ["10.0.0.7", "10.0.0.8"],
    ["127.0.0.1", "127.0.0.2"],
    ["127.0.0.1", "::1"],
    ["2001:db8::7", "2001:db8::8"],
  ] as const)
    assert.not(finds(client, entered(listener)), `${client} for ${listener}`);
});

test("loopback addresses mean something in their network namespace alone, others everywhere", () => {
  for (const address of ["127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1"])
    assert.equal(
      [finds(address, entered(address)), finds(address, entered(address), OTHER_NAMESPACE)],
      [true, false],
      address,
    );
  for (const address of ["10.0.0.7", "128.0.0.1", "126.0.0.1", "::2", "2001:db8::7"])
    assert.ok(finds(address, entered(address), OTHER_NAMESPACE), address);
});

test("a wildcard is found at every local address of its families", () => {
  const v4 = ["127.0.0.1", "127.9.9.9", "10.0.0.7", "::ffff:10.0.0.7"];
  const v6 = ["::1", "fe80::1", "2001:db8::7"];
  const cases = [
    ["0.0.0.0", "any4", v4, v6],
    ["::", "any6", v6, v4],
    ["::", "dual", [...v4, ...v6], []],
  ] as const;
  for (const [address, wildcard, found, missed] of cases) {
    const keys = entered(address, wildcard);
    for (const client of found) assert.ok(finds(client, keys), `${client} for ${wildcard}`);
    for (const client of [...missed, "10.0.0.8", "2001:db8::8"])
      assert.not(finds(client, keys), `${client} for ${wildcard}`);
    assert.not(
      finds(wildcard === "any6" ? "::1" : "127.0.0.1", keys, OTHER_NAMESPACE),
      "loopback of another namespace",
    );
  }
});

test("an address that several interfaces have gives one name", () => {
  const keys = entered("::", "dual", ["fe80::1%a", "fe80::1%b", "10.0.0.7", "10.0.0.7"]);
  assert.is(new Set(keys).size, keys.length);
  assert.is(keys.length, 4);
});

test("who connects to no address at all reaches localhost", () => {
  assert.ok(finds("0.0.0.0", entered("127.0.0.1")));
  assert.ok(finds("::", entered("::1")));
  assert.ok(finds("0.0.0.0", entered("0.0.0.0", "any4")));
  assert.ok(finds("::", entered("::", "any6")));
});

test("names are names: no path, and recognised", () => {
  for (const keys of [entered("::", "dual"), entered("127.0.0.1"), keysToFind({ address: "::1", port: 65535 }, 1)])
    for (const key of keys) assert.match(key, LISTENER_KEY);
  for (const name of ["..", "x", "a/b", `${"0".repeat(32)}_`, `${"0".repeat(32)}_123456`, "ns-any4_1", ".draft"])
    assert.not.match(name, LISTENER_KEY);
});

test.run();
