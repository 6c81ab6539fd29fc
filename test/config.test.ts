/** Every option: its default, its text in the environment, its range; a wrong value is refused by name. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { allowsVersion1, OPTIONS, overrideOptions, readOptions, type SmcOptions } from "../src/config.js";
import { SmcError } from "../src/errors.js";

type Name = keyof SmcOptions;
const names = Object.keys(OPTIONS) as Name[];
const of = <K extends "number" | "flag" | "list" | "path" | "ids">(kind: K): Name[] =>
  names.filter((name) => OPTIONS[name].kind === kind);

/** The options when only `name` is given in the environment, as text. */
const fromEnv = (name: Name, text: string): SmcOptions => readOptions({}, { [OPTIONS[name].env]: text });

/** Errors: fails unless `read` is refused with EINVAL and everything about the option in the error. */
function refused(read: () => unknown, name: Name, what: string): void {
  try {
    read();
  } catch (error) {
    assert.instance(error, SmcError, what);
    const { code, values, message } = error as SmcError;
    assert.equal([code, values["name"]], ["EINVAL", name], what);
    assert.ok(message.includes(name) && message.includes(String(values["allowed"])), message);
    return;
  }
  assert.unreachable(`${what} was accepted`);
}

const test = suite("options");

test("without overrides and environment, every option has its default", () => {
  const options = readOptions({}, {});
  assert.equal(Object.keys(options), names);
  for (const name of names) assert.equal(options[name], OPTIONS[name].value, name);
});

test("the defaults are in their own ranges, the variables are SMC or SMC_*, no two alike", () => {
  for (const name of names) assert.equal(readOptions({ [name]: OPTIONS[name].value }, {})[name], OPTIONS[name].value);
  const variables = names.map((name) => OPTIONS[name].env);
  assert.is(new Set(variables).size, names.length);
  for (const variable of variables) assert.match(variable, /^SMC(_[A-Z]+)*$/);
  for (const name of names) assert.ok(OPTIONS[name].about.length > 10, name);
});

test("the result is frozen, and so is a list in it", () => {
  const ueids = ["ONE", "TWO"];
  const options = readOptions({ ueids }, {});
  ueids.push("THREE");
  assert.ok(Object.isFrozen(options));
  assert.ok(Object.isFrozen(options.ueids));
  assert.equal(options.ueids, ["ONE", "TWO"]);
});

test("an override comes before the environment, the environment before the default", () => {
  assert.is(readOptions({ rmem: 20_000 }, { SMC_RMEM: "30000" }).rmem, 20_000);
  assert.is(readOptions({}, { SMC_RMEM: "30000" }).rmem, 30_000);
  assert.is(readOptions({ enabled: true }, { SMC: "off" }).enabled, true);
  assert.is(readOptions({ enabled: false }, { SMC: "on" }).enabled, false);
});

for (const name of of("number")) {
  const option = OPTIONS[name] as { min: number; max: number; unit: string };

  test(`${name}: both ends of its range are taken, as number and as text`, () => {
    for (const value of [option.min, option.max]) {
      assert.is(readOptions({ [name]: value }, {})[name], value);
      assert.is(fromEnv(name, String(value))[name], value);
      assert.is(fromEnv(name, ` ${value} `)[name], value);
    }
  });

  test(`${name}: what is outside, broken or no number is refused`, () => {
    const wrong: unknown[] = [option.min - 1, option.max + 1, option.min + 0.5, Number.NaN, Number.POSITIVE_INFINITY];
    for (const value of [...wrong, "5", true, {}, [option.min]])
      refused(() => readOptions({ [name]: value } as object, {}), name, `${JSON.stringify(value)}`);
    for (const text of [String(option.min - 1), String(option.max + 1), "", "  ", "many", "1e", "1,5", "off"])
      refused(() => fromEnv(name, text), name, `"${text}"`);
  });
}

for (const name of of("flag")) {
  test(`${name}: the words for on and off, in any case; others are refused`, () => {
    for (const text of ["1", "on", "true", "yes", "ON", " Yes ", ""]) assert.is(fromEnv(name, text)[name], true, text);
    for (const text of ["0", "off", "false", "no", "OFF", " No "]) assert.is(fromEnv(name, text)[name], false, text);
    for (const value of [true, false]) assert.is(readOptions({ [name]: value }, {})[name], value);
    for (const text of ["2", "maybe", "o n"]) refused(() => fromEnv(name, text), name, `"${text}"`);
    for (const value of [0, 1, "on", {}])
      refused(() => readOptions({ [name]: value } as object, {}), name, JSON.stringify(value));
  });
}

for (const name of of("list")) {
  test(`${name}: names separated by commas; at most eight, each of at most 32 characters A-Z 0-9 . -`, () => {
    assert.equal(fromEnv(name, "A, B.C ,9-X")[name], ["A", "B.C", "9-X"]);
    const eight = Array.from({ length: 8 }, (_, i) => `E${i}`);
    assert.equal(readOptions({ [name]: eight }, {})[name], eight);
    assert.equal(readOptions({ [name]: [] }, {})[name], []);
    assert.equal(readOptions({ [name]: ["X".repeat(32)] }, {})[name], ["X".repeat(32)]);
    const wrong: unknown[] = [
      [...eight, "E8"],
      ["X".repeat(33)],
      ["small"],
      [""],
      ["-A"],
      [".A"],
      ["A B"],
      [1],
      "A",
      {},
    ];
    for (const value of wrong) refused(() => readOptions({ [name]: value } as object, {}), name, JSON.stringify(value));
    for (const text of ["a", "A,,B", "Ä", ",".repeat(9)]) refused(() => fromEnv(name, text), name, `"${text}"`);
  });
}

for (const name of of("path")) {
  test(`${name}: an absolute path as it is, or nothing`, () => {
    for (const value of ["", "/", "/run/smc net", "/run/smcnet/"]) {
      assert.is(fromEnv(name, value)[name], value);
      assert.is(readOptions({ [name]: value }, {})[name], value);
    }
    for (const text of ["run", "./run", "~/run", " /run"]) refused(() => fromEnv(name, text), name, `"${text}"`);
    for (const value of [1, true, ["/run"], {}, "/run\0/x"])
      refused(() => readOptions({ [name]: value } as object, {}), name, JSON.stringify(value));
  });
}

for (const name of of("ids")) {
  test(`${name}: numbers separated by commas, at most 64, frozen`, () => {
    assert.equal(fromEnv(name, "0, 1000 ,4294967294")[name], [0, 1000, 4294967294]);
    for (const text of ["", " "]) assert.equal(fromEnv(name, text)[name], []);
    const most = Array.from({ length: 64 }, (_, i) => i);
    const given = readOptions({ [name]: most }, {})[name];
    assert.equal(given, most);
    assert.ok(Object.isFrozen(given) && given !== (most as unknown));
    for (const value of [[...most, 64], [-1], [0.5], [4294967295], ["1"], [null], 1, "1", {}])
      refused(() => readOptions({ [name]: value } as object, {}), name, JSON.stringify(value));
    for (const text of ["root", "1,,2", "1,", "-1", "4294967295", "1;2"])
      refused(() => fromEnv(name, text), name, `"${text}"`);
  });
}

test("a name that is no option is ignored, as undefined is", () => {
  const options = readOptions({ nonsense: 1, rmem: undefined } as object, { SMC_NONSENSE: "1" });
  assert.equal(options, readOptions({}, {}));
});

test("the same overrides come to the same object, others to theirs", () => {
  const base = readOptions({}, {});
  const first = overrideOptions(base, { rmem: 65_536, loCopy: true });
  assert.is(overrideOptions(base, { rmem: 65_536, loCopy: true }), first);
  assert.equal([first.rmem, first.loCopy, first.wmem], [65_536, true, base.wmem]);
  for (const others of [{ rmem: 65_536 }, { rmem: 65_536, loCopy: false }, { rmem: 65_536, wmem: 65_536 }, {}])
    assert.equal(overrideOptions(base, others), readOptions({ ...base, ...others }, {}), JSON.stringify(others));
  const another = readOptions({ wmem: 262_144 }, {});
  assert.is(overrideOptions(another, {}).wmem, 262_144, "over another base");
});

test("overrides that were changed in place are read again", () => {
  const base = readOptions({}, {});
  const overrides = { rmem: 65_536, ueids: ["ONE"] };
  assert.equal(overrideOptions(base, overrides).ueids, ["ONE"]);
  overrides.ueids[0] = "TWO";
  assert.equal(overrideOptions(base, overrides).ueids, ["TWO"]);
  const changed = { rmem: 65_536 };
  overrideOptions(base, changed);
  changed.rmem = 131_072;
  assert.is(overrideOptions(base, changed).rmem, 131_072);
  changed.rmem = Number.NaN;
  refused(() => overrideOptions(base, changed), "rmem", "not a number");
  refused(() => overrideOptions(base, changed), "rmem", "not a number, again");
});

test("version 1 of CLC may be used unless EIDs say who may meet whom", () => {
  assert.ok(allowsVersion1(readOptions({}, {})));
  assert.not(allowsVersion1(readOptions({ ueids: ["MINE"] }, {})));
  assert.not(allowsVersion1(readOptions({ ueids: [] }, {})));
  assert.ok(allowsVersion1(readOptions({ ueids: ["MINE"], clcVersion: 1 }, {})), "version 1 is all there shall be");
});

test("the README's table is this table", () => {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!readdirSync(folder).includes("asconfig.json")) folder = dirname(folder);
  const rows = readFileSync(join(folder, "README.md"), "utf8").matchAll(
    /^\| `(\w+)` +\| `(SMC\w*)` +\| ([^|]+) \| ([^|]+) \|/gm,
  );
  const shown = [...rows].map(([, name, env, value, range]) => [name, env, value!.trim(), range!.trim()]);
  const expected = names.map((name) => {
    const option = OPTIONS[name];
    const head = [name, option.env];
    if (option.kind === "flag") return [...head, option.value ? "on" : "off", "on, off"];
    if (option.kind === "path") return [...head, option.value || "none", "absolute path"];
    if (option.kind === "ids") return [...head, option.value.join() || "none", "up to 64 numbers, comma separated"];
    if (option.kind === "rules") return [...head, option.value.join() || "none", "up to 256 rules, comma separated"];
    if (option.kind === "list") return [...head, `\`${option.value.join()}\``, shown.find(([n]) => n === name)?.[3]];
    const unit = option.unit === "us" ? "µs" : option.unit;
    return [...head, String(option.value), `${option.min}–${option.max} ${unit}`.trimEnd()];
  });
  assert.equal(shown, expected);
});

test.run();
