/** Every scenario with small parameters, as a user starts it: the records' form, their names, and that all transports take part. */
import * as assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { suite } from "uvu";
import { median } from "../../bench/statistics.js";
import { within } from "../support/watchdog.js";

const CLI = join(dirname(createRequire(import.meta.url).resolve("smcnet/package.json")), "dist", "cli.mjs");

/** Written out, not taken from the code: readers of `--json` depend on these names. */
const UNITS: Record<string, string> = {
  rtt_p50: "us",
  rtt_p99: "us",
  rtt_p999: "us",
  throughput: "GB/s",
  rate: "messages/s",
  requests: "requests/s",
  connections: "connections/s",
  request_cpu: "us/request",
  cpu: "ms/s",
  rss: "bytes/connection",
};
const SOCKETS = ["smcd", "smcd-copy", "tcp", "uds"];
const THREADS_ONLY = ["floor", "messageport"];
const EXPECTED: Record<string, { transports: string[]; metrics: string[]; params: string[] }> = {
  pingpong: {
    transports: ["floor", "ring", ...SOCKETS, "messageport"],
    metrics: ["rtt_p50", "rtt_p99", "rtt_p999"],
    params: ["bytes", "mode"],
  },
  stream: { transports: ["ring", ...SOCKETS, "messageport"], metrics: ["throughput"], params: ["bytes", "receive"] },
  msgrate: { transports: ["ring", ...SOCKETS, "messageport"], metrics: ["rate"], params: ["bytes", "receive"] },
  http: { transports: SOCKETS, metrics: ["requests", "rtt_p99"], params: ["bytes", "connections"] },
  idle: { transports: SOCKETS, metrics: ["cpu", "rss", "throughput"], params: ["connections"] },
  short: { transports: ["smcd", "tcp", "uds"], metrics: ["connections"], params: ["bytes", "connections"] },
  crowd: {
    transports: ["smcd", "tcp"],
    metrics: ["request_cpu", "requests"],
    params: ["bytes", "connections", "mode"],
  },
};

interface Line {
  readonly scenario: string;
  readonly transport: string;
  readonly params: Record<string, unknown>;
  readonly metric: string;
  readonly unit: string;
  readonly value: number;
  readonly samples: readonly number[];
  readonly cpuUser: number;
  readonly cpuSys: number;
}

async function quickRun(...args: string[]): Promise<Line[]> {
  const command = promisify(execFile)(process.execPath, [CLI, "bench", ...args, "--quick", "--json"]);
  const { stdout } = await within(command, `smcnet bench ${args.join(" ")}`, 120_000);
  return stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Line);
}

function checkLine(line: Line, contexts: string): void {
  const keys = ["scenario", "transport", "params", "metric", "unit", "value", "samples", "cpuUser", "cpuSys"];
  assert.deepEqual(Object.keys(line), keys);
  assert.equal(line.unit, UNITS[line.metric]);
  assert.ok(line.samples.length >= 1 && line.samples.every(Number.isFinite), "samples are numbers");
  assert.equal(line.value, median(line.samples));
  // A few connections may well free as much memory as they take; nothing else can be negative or nothing.
  if (line.metric !== "rss") assert.ok(line.value > 0, `${line.transport} ${line.metric} = ${line.value}`);
  if (line.metric !== "rss") assert.ok(line.samples.length >= 3, "three rounds at least");
  assert.ok(line.cpuUser >= 0 && line.cpuSys >= 0);
  assert.equal(line.params["contexts"], contexts);
}

const scenarios = suite("bench scenarios");

for (const contexts of ["threads", "processes"])
  for (const [name, { transports, metrics, params }] of Object.entries(EXPECTED))
    scenarios(
      `${name} between ${contexts}: every transport is measured, every record has the stable form`,
      async () => {
        const lines = await quickRun(name, "--contexts", contexts);
        for (const line of lines) {
          checkLine(line, contexts);
          assert.equal(line.scenario, name);
          assert.equal(line.params["ffi"], "on");
          for (const param of params) assert.ok(param in line.params, `${name} records have ${param}`);
        }
        const seen = (field: "transport" | "metric") => [...new Set(lines.map((line) => line[field]))].sort();
        const possible = transports.filter((item) => contexts === "threads" || !THREADS_ONLY.includes(item));
        assert.deepEqual(seen("transport"), possible.sort());
        assert.deepEqual(seen("metric"), [...metrics].sort());
      },
    );

scenarios("--transports and --no-ffi choose what runs and are told in the records", async () => {
  const lines = await quickRun("msgrate", "--transports", "smcd,tcp", "--no-ffi");
  assert.deepEqual(
    lines.map(({ transport, params }) => [transport, params["ffi"]]),
    [
      ["smcd", "off"],
      ["tcp", "off"],
    ],
  );
});

for (const [contexts, off] of [
  ["threads", "SMC"],
  ["processes", "SMC_SHM"],
] as const)
  scenarios(`between ${contexts}, a connection that fell back to TCP is not measured as smcd`, async () => {
    const args = [CLI, "bench", "msgrate", "--quick", "--transports", "smcd", "--contexts", contexts];
    const command = promisify(execFile)(process.execPath, args, { env: { ...process.env, [off]: "off" } });
    await assert.rejects(within(command, `smcnet bench with ${off}=off`), (error: { code: number; stderr: string }) => {
      assert.equal(error.code, 1);
      assert.match(error.stderr, /smcd is not carried as it claims/);
      return true;
    });
  });

scenarios("a run leaves nothing in the folder for temporary files", async () => {
  const folder = await mkdtemp(join(tmpdir(), "smcnet-test-"));
  try {
    const args = [CLI, "bench", "msgrate", "--quick", "--transports", "smcd,uds", "--contexts", "processes"];
    const env = { ...process.env, TMPDIR: folder };
    await within(promisify(execFile)(process.execPath, args, { env }), "smcnet bench in a folder of its own", 120_000);
    assert.deepEqual(await readdir(folder), []);
  } finally {
    await rm(folder, { recursive: true });
  }
});

scenarios.run();
