/** SmcError: stable codes, the values that were wrong, and a table that the README shows. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ERROR_CODES, type ErrorCode, SmcError } from "../src/errors.js";

const root = (() => {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!readdirSync(folder).includes("asconfig.json")) folder = dirname(folder);
  return folder;
})();
const codes = Object.keys(ERROR_CODES) as ErrorCode[];

const test = suite("errors");

test("an error carries its code, its name and what was wrong; the message begins with the code", () => {
  const error = new SmcError("EINVAL", "width is 3", { width: 3 });
  assert.instance(error, Error);
  assert.equal([error.name, error.code, error.message], ["SmcError", "EINVAL", "EINVAL: width is 3"]);
  assert.equal(error.values, { width: 3 });
  assert.match(error.stack!, /errors\.test/);
});

test("the values are a copy of their own, and frozen; without any they are empty", () => {
  const values = { at: 1 };
  const error = new SmcError("EPROTO", "", values);
  values.at = 2;
  assert.is(error.values["at"], 1);
  assert.ok(Object.isFrozen(error.values));
  assert.equal(new SmcError("EPROTO", "").values, {});
});

test("codes that net users know are spelled as the system's, all others begin with SMC_", () => {
  for (const code of codes) assert.match(code, /^(E[A-Z]+|(ERR_)?SMC_[A-Z_]+)$/);
});

test("each code has a sentence of its own", () => {
  const sentences = Object.values(ERROR_CODES);
  assert.is(new Set(sentences).size, codes.length);
  for (const sentence of sentences) assert.match(sentence, /^[a-z].{10,}[^.]$/);
});

test("each code that is thrown or warned of stands in the README, and no other", () => {
  const readme = readFileSync(join(root, "README.md"), "utf8");
  const section = readme.slice(readme.indexOf("### Errors"), readme.indexOf("### Platforms"));
  const used = new Set<string>();
  for (const name of readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })) {
    if (!name.endsWith(".ts") || name === "errors.ts") continue;
    for (const match of readFileSync(join(root, "src", name), "utf8").matchAll(/"(E[A-Z]+|(?:ERR_)?SMC_[A-Z_]+)"/g))
      if (match[1]! in ERROR_CODES) used.add(match[1]!);
  }
  for (const code of used) assert.ok(section.includes(`\`${code}\``), `${code} is not in the README`);
  assert.equal(
    codes.filter((code) => !used.has(code)),
    [],
    "codes in the table that nothing uses",
  );
});

test.run();
