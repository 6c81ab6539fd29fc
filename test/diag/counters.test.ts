import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  BIN_NAMES,
  COUNTERS,
  type CounterName,
  Counters,
  HISTOGRAMS,
  sizeBin,
  toSmcdJson,
} from "../../src/diag/counters.js";

const counters = suite("counters");
const names = Object.keys(COUNTERS) as CounterName[];

counters("the fields are the rows of the table, in its order", () => {
  const fields = Object.entries(new Counters()).filter(([, value]) => typeof value === "number");
  assert.equal(
    fields.map(([name]) => name),
    names,
  );
});

counters("every row says what it counts, and no two share a key", () => {
  const rows = Object.values({ ...COUNTERS, ...HISTOGRAMS });
  for (const { unit, about } of rows) assert.ok(unit.length > 0 && about.length > 0);
  const keys = rows.flatMap((row) => ("smcd" in row ? [row.smcd] : []));
  assert.is(new Set(keys).size, keys.length);
});

counters("a size falls into the first bin that holds it", () => {
  const upTo = [8, 16, 32, 64, 128, 256, 512, 1024].map((kib) => kib * 1024);
  const slow = (bytes: number): number => {
    const at = upTo.findIndex((limit) => bytes <= limit);
    return at < 0 ? upTo.length : at;
  };
  const sizes = upTo.flatMap((limit) => [limit - 1, limit, limit + 1]);
  for (const bytes of [0, 1, ...sizes, 2 ** 31, 2 ** 32 + 1, 2 ** 40])
    assert.is(BIN_NAMES[sizeBin(bytes)], BIN_NAMES[slow(bytes)], `${bytes} bytes`);
  for (let bytes = 0; bytes < 2 ** 21; bytes += 509) assert.is(sizeBin(bytes), slow(bytes), `${bytes} bytes`);
});

counters("a read and a write count one request, their bytes and one size each", () => {
  const counting = new Counters();
  counting.wrote(8192);
  counting.wrote(8193);
  counting.txRequests++;
  counting.read(2 ** 21);
  const { txRequests, txBytes, txSizes, rxRequests, rxBytes, rxSizes } = counting.snapshot();
  assert.equal([txRequests, txBytes, rxRequests, rxBytes], [3, 16385, 1, 2 ** 21]);
  assert.equal(txSizes, [1, 1, 0, 0, 0, 0, 0, 0, 0]);
  assert.equal(rxSizes, [0, 0, 0, 0, 0, 0, 0, 0, 1]);
});

counters("bytes stay exact far beyond 32 bits", () => {
  const counting = new Counters();
  for (let write = 0; write < 5; write++) counting.wrote(2 ** 40 + 1);
  assert.is(counting.txBytes, 5 * 2 ** 40 + 5);
});

counters("36 reasons of a side are told apart, further ones count in the total alone", () => {
  const counting = new Counters();
  for (let code = 0; code < 40; code++) counting.fellBack("client", 0x03030000 + code);
  counting.fellBack("client", 0x03030000);
  counting.fellBack("client", 0x03030000 + 39);
  counting.fellBack("server", 0x05000000);
  const { client, server } = counting.snapshot().fallback;
  assert.is(client.total, 42);
  assert.is(client.reasons.length, 36);
  assert.equal(client.reasons[0], { code: 0x03030000, count: 2 });
  assert.equal(server, { total: 1, reasons: [{ code: 0x05000000, count: 1 }] });
});

counters("a snapshot is plain data and does not move with the counters", () => {
  const counting = new Counters();
  counting.read(1);
  counting.fellBack("server", 1);
  const before = counting.snapshot();
  const text = JSON.stringify(before);
  counting.read(1);
  counting.parks++;
  counting.fellBack("server", 1);
  assert.is(JSON.stringify(before), text);
  assert.equal(JSON.parse(text), before);
  assert.equal(Object.keys(before), [...names, ...Object.keys(HISTOGRAMS), "fallback"]);
});

counters("the JSON form has the keys of smcd stats, flat and in their order", () => {
  const counting = new Counters();
  names.forEach((name, at) => {
    counting[name] = at + 1;
  });
  counting.rxBuffers[8] = 7;
  const flat = toSmcdJson(counting.snapshot()).SMCD;
  const bins = ["INT_TX", "INT_RX", "USR_TX", "USR_RX"].flatMap((kind) =>
    ["8K", "16K", "32K", "64K", "128K", "256K", "512K", "1024K", "G_1024K"].map((bin) => `SMC_${kind}_BUF_${bin}`),
  );
  const perWay = ["SIZE_SM_PEER", "SIZE_SM", "FULL_PEER", "FULL", "REUSE", "ALLOC", "DGRADE"];
  const buffers = ["TX", "RX"].flatMap((way) => perWay.map((what) => `SMC_INT_${way}_BUF_${what}_CNT`));
  const connections = ["CLNT_V1", "CLNT_V2", "SRV_V1", "SRV_V2"].map((who) => `SMC_${who}_SUCC_CNT`);
  const calls = ["SENDPAGE", "URG_DATA", "SPLICE", "CORK", "NDLY"].map((what) => `SMC_${what}_CNT`);
  const traffic = ["RX_BYTES", "TX_BYTES", "RX_CNT", "TX_CNT", "RX_RMB_USAGE", "TX_RMB_USAGE"].map(
    (what) => `SMC_${what}`,
  );
  assert.equal(Object.keys(flat), [...bins, ...buffers, ...connections, ...calls, ...traffic]);
  assert.is(flat["SMC_INT_RX_BUF_G_1024K"], 7);
  assert.is(flat["SMC_TX_BYTES"], counting.txBytes);
  assert.is(flat["SMC_INT_TX_BUF_REUSE_CNT"], counting.txReused);
  assert.is(flat["SMC_SRV_V2_SUCC_CNT"], counting.serverV2);
});

counters.run();
