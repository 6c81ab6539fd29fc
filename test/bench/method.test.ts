/** The method of the benches: rounds in turn, medians, ratios, and checks that find damage. */
import * as assert from "node:assert/strict";
import { closeSync, openSync } from "node:fs";
import { suite } from "uvu";
import { type Footprint, footprint, growth } from "../../bench/footprint.js";
import { type Case, type Reading, runCase, type Scenario, type Subject } from "../../bench/harness.js";
import { type Metered, meter, meterRest } from "../../bench/meter.js";
import { PERIOD, patternAt, patternWrites, Receipt } from "../../bench/pattern.js";
import type { BenchRecord, Metric, Transport } from "../../bench/record.js";
import { Remote } from "../../bench/remote.js";
import { BlockingPinger, EventPinger, eventEcho, STOP_SEQUENCE } from "../../bench/rtt.js";
import { median, percentile, spread } from "../../bench/statistics.js";
import { caseTable, ratio } from "../../bench/table.js";
import { within } from "../support/watchdog.js";

const load = { cpuUser: 10, cpuSys: 5 };

const figures = suite("bench figures");

figures("the median is the middle value, or the mean of the two in the middle", () => {
  assert.equal(median([9, 1, 5]), 5);
  assert.equal(median([4, 1, 2, 100]), 3);
  assert.ok(Number.isNaN(median([])));
});

figures("a percentile is the smallest value that the fraction of all does not exceed", () => {
  const sorted = Array.from({ length: 1000 }, (_, index) => index + 1);
  assert.equal(percentile(sorted, 0.5), 500);
  assert.equal(percentile(sorted, 0.999), 999);
  assert.equal(percentile([7], 0.99), 7);
});

figures("the spread is half the range relative to the median", () => {
  assert.equal(spread([8, 10, 12]), 0.2);
  assert.equal(spread([3]), 0);
});

figures.run();

const rounds = suite("bench rounds");

function scenarioOf(log: string[], reading: (transport: Transport) => readonly Reading[]): Scenario {
  return {
    name: "made-up",
    isolated: false,
    cases: () => [],
    async open(transport): Promise<Subject> {
      const note = (what: string) => {
        log.push(`${what} ${transport}`);
      };
      note("open");
      return {
        warmUp: async () => note("warm"),
        close: async () => note("close"),
        async round() {
          note("round");
          return reading(transport);
        },
      };
    },
  };
}

const twoRounds: Case = { params: { bytes: 1, cpus: 2 }, transports: ["smcd", "tcp"], rounds: 2, durationMs: 1 };

rounds("transports take turns, after all of them were warmed up", async () => {
  const log: string[] = [];
  const scenario = scenarioOf(log, () => [{ metric: "rate", value: 1, load }]);
  await runCase(scenario, twoRounds, twoRounds.transports, {});
  const turn = ["round smcd", "round tcp"];
  const frame = (what: string) => [`${what} smcd`, `${what} tcp`];
  assert.deepEqual(log, [...frame("open"), ...frame("warm"), ...turn, ...turn, ...frame("close")]);
});

rounds("a record holds the median of its samples and the parameters of case, process and reading", async () => {
  let value = 0;
  const scenario = scenarioOf([], () => [{ metric: "rate", value: ++value * 10, load, params: { receive: "read" } }]);
  const [record] = await runCase(scenario, { ...twoRounds, rounds: 3 }, ["ring"], { cpus: 1, ffi: "off" });
  const params = { bytes: 1, cpus: 1, ffi: "off", receive: "read" };
  const expected = { scenario: "made-up", transport: "ring", params, metric: "rate", unit: "messages/s", value: 20 };
  assert.deepEqual(record, { ...expected, samples: [10, 20, 30], ...load });
});

rounds("a scenario sees the parameters of the run with the case's", async () => {
  let seen: unknown;
  const scenario = scenarioOf([], () => [{ metric: "rate", value: 1, load }]);
  const open = (transport: Transport, { params }: Case) => {
    seen = params;
    return scenario.open(transport, twoRounds);
  };
  await runCase({ ...scenario, open }, twoRounds, ["tcp"], { contexts: "processes" });
  assert.deepEqual(seen, { ...twoRounds.params, contexts: "processes" });
});

rounds("a failing round fails the case, and what was opened is closed", async () => {
  const log: string[] = [];
  const scenario = scenarioOf(log, (transport) => {
    if (transport === "tcp") throw new Error("the bytes differ");
    return [];
  });
  await assert.rejects(runCase(scenario, twoRounds, twoRounds.transports, {}), /the bytes differ/);
  assert.deepEqual(log.slice(-2), ["close smcd", "close tcp"]);
});

rounds("a figure that is no number is refused", async () => {
  const scenario = scenarioOf([], () => [{ metric: "rtt_p50", value: Number.NaN, load }]);
  await assert.rejects(runCase(scenario, twoRounds, ["tcp"], {}), /not a measurement/);
});

for (const contexts of ["threads", "processes"] as const)
  for (const transport of ["tcp", "ring"] as const)
    rounds(
      `between ${contexts}, a side of ${transport} that cannot start fails the calls that wait for it`,
      async () => {
        const setup = { scenario: "no-such-scenario", role: "client", transport, params: { contexts } } as const;
        const remote = new Remote<{ close(argument: undefined): void }>(setup);
        const call = within(remote.call("close", undefined), "the answer of a side that cannot start");
        await assert.rejects(call, new RegExp(`no-such-scenario ${transport} client: .*no-such-scenario\\.mjs`));
        await within(remote.end(), "the end of a side that could not start");
      },
    );

rounds.run();

const meters = suite("bench meters");

/** A process that has used one second more each time it is asked. */
function busy(pid: number): Metered {
  let user = 0;
  const cpuTime = async () => ({ user: (user += 1e6), system: 0 });
  return { pid, cpuTime, cpuTimeAtRest: async () => ({ user: 1000, system: 500 }) };
}

meters("the load of two sides is that of their processes together, of one process once", async () => {
  for (const [pids, processes] of [
    [[1, 1], 1],
    [[1, 2], 2],
    [[1, 2, 3, 2], 3],
  ] as const) {
    const { result, load, seconds } = await meter(pids.map(busy), async () => "done");
    assert.equal(result, "done");
    assert.ok(Math.abs(load.cpuUser * seconds - processes * 1000) < 1e-6, `${load.cpuUser * seconds} ms in ${pids}`);
    assert.deepEqual(await meterRest(pids.map(busy), 1), { cpuUser: processes * 1000, cpuSys: processes * 500 });
  }
});

const held: Footprint = { descriptors: 20, mappings: 500, sharedMappings: 3 };

meters("a descriptor or a shared mapping for each connection is growth, a few of them are not", () => {
  for (const name of ["descriptors", "sharedMappings"] as const) {
    assert.match(growth(held, { ...held, [name]: held[name] + 50 }, 50)!, new RegExp(`50 connections left 50 ${name}`));
    assert.equal(growth(held, { ...held, [name]: held[name] + 1 }, 50), undefined);
  }
  assert.match(growth(held, { ...held, mappings: 5500 }, 5000)!, /left 5000 mappings/);
});

meters("a footprint sees the descriptors and mappings of this process", () => {
  const { descriptors, mappings } = footprint([busy(process.pid)]);
  const opened = Array.from({ length: 5 }, () => openSync("/proc/self/maps", "r"));
  try {
    assert.equal(footprint([busy(process.pid), busy(process.pid)]).descriptors, descriptors + opened.length);
    assert.ok(mappings > 10);
  } finally {
    for (const descriptor of opened) closeSync(descriptor);
  }
});

meters.run();

const checks = suite("bench checks");

checks("the writes make up the stream without a gap, until it repeats", () => {
  for (const bytes of [64, 100, 65_536]) {
    const writes = patternWrites(bytes);
    assert.equal((writes.length * bytes) % PERIOD, 0);
    writes.forEach((write, index) => {
      assert.ok(write.equals(patternAt(index * bytes, bytes)), `write ${index} of ${bytes} bytes`);
    });
  }
});

checks("a receipt takes the stream in any pieces and tells when a total has come", async () => {
  const receipt = new Receipt();
  const reached = receipt.reached(10_000);
  for (let at = 0, length = 1; at < 10_000; at += length, length = Math.min(length * 2, 10_000 - at))
    receipt.take(patternAt(at, length), length);
  assert.equal(receipt.received, 10_000);
  assert.equal(await within(reached, "byte 10000"), receipt.lastUs);
});

checks("a strict receipt refuses one wrong byte wherever it is", () => {
  for (const at of [0, 1, 499, 999]) {
    const receipt = new Receipt();
    const piece = Buffer.from(patternAt(0, 1000));
    piece[at]! ^= 1;
    assert.throws(() => receipt.take(piece, 1000), /damaged/);
  }
});

checks("a receipt that looks at the ends refuses lost, repeated and swapped pieces", () => {
  for (const order of [[0, 2], [0, 0], [1]]) {
    const receipt = new Receipt();
    receipt.strict = false;
    const take = () => {
      for (const index of order) receipt.take(patternAt(index * 512, 512), 512);
    };
    assert.throws(take, /damaged/, `pieces ${order}`);
  }
});

checks("a receipt that looks at the ends refuses a piece with a gap inside", () => {
  const receipt = new Receipt();
  receipt.strict = false;
  const piece = Buffer.concat([patternAt(0, 200), patternAt(300, 200)]);
  assert.throws(() => receipt.take(piece, piece.length), /damaged/);
});

checks("more bytes than were sent are refused, whether they came before the total was told or after", async () => {
  const early = new Receipt();
  early.take(patternAt(0, 100), 100);
  await assert.rejects(early.reached(99), /100 bytes arrived of 99/);
  const late = new Receipt();
  void late.reached(99);
  assert.throws(() => late.take(patternAt(0, 100), 100), /100 bytes arrived of 99/);
});

checks("an echo in pieces counts once, when it is whole", async () => {
  let pinger!: EventPinger;
  let whole = 0;
  const echo = eventEcho(1000, (message) => {
    whole++;
    for (let at = 0; at < 1000; at += 300) pinger.receive(message.subarray(at, Math.min(at + 300, 1000)));
  });
  pinger = new EventPinger(1000, (message) => {
    const copy = Buffer.from(message);
    queueMicrotask(() => {
      echo(copy.subarray(0, 7));
      echo(copy.subarray(7));
    });
  });
  const { p50, p99, p999 } = await within(pinger.run({ mode: "busy", durationMs: 5 }), "the pings");
  assert.ok(whole > 0);
  assert.ok(p50 > 0 && p50 <= p99 && p99 <= p999);
});

checks("an echo that differs is refused", () => {
  const pinger = new BlockingPinger(14, (message, reply) => {
    message.copy(reply);
    reply[13]! ^= 1;
  });
  assert.throws(() => pinger.run({ mode: "busy", durationMs: 1 }), /the echo of message 0 differs/);
});

checks("a blocking client ends its round with the stop message", () => {
  let last = 0;
  const pinger = new BlockingPinger(14, (message, reply) => {
    last = message.readUInt32LE(0);
    message.copy(reply);
  });
  pinger.run({ mode: "busy", durationMs: 1 });
  assert.equal(last, STOP_SEQUENCE);
});

checks.run();

const tables = suite("bench tables");

function record(transport: Transport, metric: Metric, value: number, params = {}): BenchRecord {
  const common = { bytes: 14, cpus: 2, ...params };
  const samples = [value * 0.9, value, value * 1.1];
  return { scenario: "made-up", transport, params: common, metric, unit: "", value, samples, ...load };
}

tables("above 1 is better than tcp, whichever way the metric counts", () => {
  assert.equal(ratio(record("smcd", "rtt_p50", 3), record("tcp", "rtt_p50", 60)), 20);
  assert.equal(ratio(record("smcd", "rate", 60), record("tcp", "rate", 3)), 20);
  assert.ok(Number.isNaN(ratio(record("smcd", "rate", 60), undefined)));
});

tables("a row for each transport, a ratio beside each value", () => {
  const records = [record("smcd", "rtt_p50", 3), record("smcd", "rtt_p99", 5)];
  records.push(record("tcp", "rtt_p50", 60), record("tcp", "rtt_p99", 100));
  assert.deepEqual(caseTable(records), [
    "made-up  bytes=14 cpus=2",
    "transport  rtt_p50 us    ±  x tcp  rtt_p99 us    ±  x tcp  cpu user  sys ms/s",
    "smcd             3.00  10%   20.0        5.00  10%   20.0        10         5",
    "tcp             60.00  10%   1.00      100.00  10%   1.00        10         5",
  ]);
});

tables("rows that differ in a parameter say so and are compared like for like", () => {
  const records = [record("smcd", "throughput", 8, { connections: 1 }), record("smcd", "throughput", 6)];
  records.push(record("tcp", "throughput", 4, { connections: 1 }), record("tcp", "throughput", 2));
  const [title, , ...rows] = caseTable(records);
  assert.equal(title, "made-up  bytes=14 cpus=2");
  const cells = rows.map((row) => row.split(/ {2,}/));
  assert.deepEqual(
    cells.map(([label, , , times]) => [label, times]),
    [
      ["smcd connections=1", "2.00"],
      ["smcd", "3.00"],
      ["tcp connections=1", "1.00"],
      ["tcp", "1.00"],
    ],
  );
});

tables.run();
