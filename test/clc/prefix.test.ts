import type { NetworkInterfaceInfo } from "node:os";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ipv6Bytes, prefixesOf } from "../../src/clc/prefix.js";

const entry = (address: string, netmask: string): NetworkInterfaceInfo => ({
  address,
  netmask,
  mac: "00:00:00:00:00:00",
  internal: false,
  cidr: null,
  ...(address.includes(":") ? { family: "IPv6", scopeid: 0 } : { family: "IPv4" }),
});
const interfaces = {
  lo: [entry("127.0.0.1", "255.0.0.0"), entry("::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")],
  eth0: [
    entry("192.168.77.130", "255.255.255.192"),
    entry("fe80::1", "ffff:ffff:ffff:ffff::"),
    entry("2001:db8:1:2:3:4:5:6", "ffff:ffff:ffff:ffff::"),
    entry("fd00::9", "ffff:ff00::"),
  ],
  tun0: [entry("10.0.0.1", "255.255.255.255"), entry("fe80::2", "ffff:ffff:ffff:ffff::")],
  any: [entry("100.1.2.3", "0.0.0.0")],
};
const bytes = (text: string): string => Buffer.from(ipv6Bytes(text)).toString("hex");

test("an IPv6 address in any spelling has 16 bytes", () => {
  assert.is(bytes("::1"), `${"00".repeat(15)}01`);
  assert.is(bytes("::"), "00".repeat(16));
  assert.is(bytes("2001:db8::5:6"), "20010db8000000000000000000050006");
  assert.is(bytes("1:2:3:4:5:6:7:8"), "00010002000300040005000600070008");
  assert.is(bytes("fe80::1%eth0"), `fe80${"00".repeat(13)}01`);
  assert.is(bytes("::ffff:127.0.0.1"), `${"00".repeat(10)}ffff7f000001`);
});

test("an IPv4 address gives its masked network", () => {
  assert.equal(prefixesOf("127.0.0.1", interfaces), { ipv4Network: 0x7f000000, ipv4Length: 8, ipv6: [] });
  assert.equal(prefixesOf("192.168.77.130", interfaces), { ipv4Network: 0xc0a84d80, ipv4Length: 26, ipv6: [] });
  assert.equal(prefixesOf("10.0.0.1", interfaces), { ipv4Network: 0x0a000001, ipv4Length: 32, ipv6: [] });
  assert.equal(prefixesOf("100.1.2.3", interfaces), { ipv4Network: 0, ipv4Length: 0, ipv6: [] });
});

test("an IPv4 address mapped into IPv6 counts as IPv4", () => {
  assert.equal(prefixesOf("::ffff:127.0.0.1", interfaces), prefixesOf("127.0.0.1", interfaces));
});

test("an IPv6 address gives all prefixes of its interface but link-local ones", () => {
  const area = prefixesOf("2001:db8:1:2:3:4:5:6", interfaces);
  assert.equal(
    area?.ipv6.map(({ prefix, length }) => [Buffer.from(prefix).toString("hex"), length]),
    [
      ["20010db8000100020000000000000000", 64],
      ["fd000000000000000000000000000000", 24],
    ],
  );
  assert.is(area?.ipv4Length, 0);
  assert.is(prefixesOf("::1", interfaces)?.ipv6[0].length, 128);
});

test("an address of no interface, or with link-local prefixes only, has none", () => {
  assert.is(prefixesOf("10.9.9.9", interfaces), undefined);
  assert.is(prefixesOf("fe80::2", interfaces), undefined);
});

test.run();
