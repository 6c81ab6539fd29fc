import { test } from "uvu";
import * as assert from "uvu/assert";
import { SmcError } from "../src/errors.js";
import { Policy, type PolicyHook, parseRule } from "../src/policy.js";

/** Which of these servers a client may reach by SMC. */
function permitted(policy: Policy, ...servers: string[]): string[] {
  return servers.filter((server) => {
    const at = server.lastIndexOf(":");
    return policy.permits("client", server.slice(0, at), Number(server.slice(at + 1)));
  });
}

const SERVERS = ["127.0.0.1:80", "127.0.0.1:443", "10.1.2.3:80", "::1:80", "fd00::7:5432"];

test("without rules everything is permitted; switched off, nothing", () => {
  const policy = new Policy();
  assert.equal(permitted(policy, ...SERVERS), SERVERS);
  policy.change({ enabled: false });
  assert.equal(permitted(policy, ...SERVERS), []);
  policy.change({ enabled: true });
  assert.equal(permitted(policy, ...SERVERS), SERVERS);
});

for (const [rule, matched] of [
  ["80", ["127.0.0.1:80", "10.1.2.3:80", "::1:80"]],
  [":80", ["127.0.0.1:80", "10.1.2.3:80", "::1:80"]],
  ["81-500", ["127.0.0.1:443"]],
  ["127.0.0.1", ["127.0.0.1:80", "127.0.0.1:443"]],
  ["127.0.0.1:443", ["127.0.0.1:443"]],
  ["10.0.0.0/8", ["10.1.2.3:80"]],
  ["10.0.0.0/8:1-79", []],
  ["::1", ["::1:80"]],
  ["[fd00::]/8:5432", ["fd00::7:5432"]],
  ["fd00::/8", ["fd00::7:5432"]],
] as const) {
  test(`only "${rule}": those that it names; except "${rule}": all others`, () => {
    const policy = new Policy();
    policy.change({ only: [rule] });
    assert.equal(permitted(policy, ...SERVERS), [...matched]);
    policy.change({ only: [], except: [rule] });
    const others = SERVERS.filter((server) => !(matched as readonly string[]).includes(server));
    assert.equal(permitted(policy, ...SERVERS), others);
  });
}

test("several rules: any of them; what is excepted is so whatever is named", () => {
  const policy = new Policy();
  policy.change({ only: ["80", "[fd00::]/8"], except: ["10.0.0.0/8"] });
  assert.equal(permitted(policy, ...SERVERS), ["127.0.0.1:80", "::1:80", "fd00::7:5432"]);
});

for (const rule of [
  "",
  "x",
  "80-",
  "90-80",
  "65536",
  "1.2.3",
  "1.2.3.4/33",
  "::1/129",
  "1.2.3.4:",
  "[::1",
  "1.2.3.4:x",
]) {
  test(`"${rule}" is no rule: refused with its text, and nothing has changed`, () => {
    const policy = new Policy();
    policy.change({ except: ["80"] });
    assert.throws(
      () => policy.change({ enabled: false, only: [rule] }),
      (error: unknown) => error instanceof SmcError && error.code === "EINVAL" && error.message.includes(`"${rule}"`),
    );
    assert.throws(() => parseRule(rule));
    assert.equal(policy.state, { enabled: true, only: [], except: ["80"], hook: false });
  });
}

test("the hook is asked after the rules, with side, address and port; without it all is as before", () => {
  const policy = new Policy();
  const asked: Parameters<PolicyHook>[0][] = [];
  policy.change({ except: ["443"] });
  policy.hook = (target) => {
    asked.push(target);
    return target.side === "client";
  };
  assert.ok(policy.permits("client", "::1", 80));
  assert.not(policy.permits("server", "::1", 80));
  assert.not(policy.permits("client", "::1", 443));
  assert.equal(asked, [
    { side: "client", address: "::1", port: 80 },
    { side: "server", address: "::1", port: 80 },
  ]);
  policy.hook = undefined;
  assert.ok(policy.permits("server", "::1", 80));
});

test.run();
