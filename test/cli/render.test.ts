/** What the command line prints, against stored text. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { abbreviate, renderSockets, renderStats } from "../../src/cli/render.js";
import { Counters } from "../../src/diag/counters.js";
import type { SocketRecord } from "../../src/diag/records.js";

const open = { receive: false, send: false };
const at = (count: number, wrap = 0): { wrap: number; count: number } => ({ wrap, count });

const active: SocketRecord = {
  state: "ACTIVE",
  uid: 1000,
  inode: 41233,
  local: { address: "127.0.0.1", port: 8080 },
  peer: { address: "127.0.0.1", port: 51544 },
  mode: "SMCD",
  shutdown: open,
  conn: {
    token: 0x2a,
    sndbufBytes: 0x10000,
    rmbeBytes: 0x10000,
    peerRmbeBytes: 0x4000,
    rxProd: at(0xabc, 3),
    rxCons: at(0x10),
    rxProducerFlags: 0x80,
    rxStateFlags: 0,
    txProd: at(0x20),
    txCons: at(0xabc, 3),
    txProducerFlags: 0x10,
    txStateFlags: 0x80,
    txPrep: at(0x30, 0xffff),
    txSent: at(0x20),
    txFin: at(0x10),
  },
  dmb: {
    gid: "1f0c9a77c2d24b10",
    token: "9e1d00c4b7a35521",
    peerGid: "1f0c9a77c2d24b10",
    peerToken: "b77e6128f5d4ac3",
    linkId: 0x100,
  },
};
const fallback: SocketRecord = {
  state: "ACTIVE",
  uid: 1000,
  inode: 41240,
  local: { address: "10.1.2.3", port: 8080 },
  peer: { address: "10.9.9.9", port: 40112 },
  mode: "TCP",
  fallback: { code: 0x03010000 },
  shutdown: open,
};
const declined: SocketRecord = {
  ...fallback,
  inode: 41241,
  fallback: { code: 0x05000000, peerDiagnosis: 0x03030007 },
};
const closing: SocketRecord = { ...active, state: "PEERFINCLOSEWAIT", shutdown: { receive: true, send: true } };
const closed: SocketRecord = { ...active, state: "CLOSED", inode: 0 };
const listening: SocketRecord = {
  state: "LISTEN",
  uid: 0,
  inode: 41200,
  local: { address: "::", port: 8080 },
  mode: "SMCD",
  shutdown: open,
};
const opening: SocketRecord = { ...listening, state: "INIT", inode: 41201 };
const far: SocketRecord = {
  ...fallback,
  local: { address: "2001:db8:0:1:2:3:4:5", port: 443 },
  peer: { address: "2001:db8::9", port: 40113 },
};
const everything = [active, fallback, declined, closed, listening, opening, far];

const sockets = suite("socket table");

/** Lines of a template without its first and last line feed; tables end with one. */
const text = (strings: TemplateStringsArray): string => `${strings.raw[0]!.replace(/^\n/, "").replace(/\n$/, "")}\n`;

sockets("connected sockets, in smcss columns", () => {
  assert.fixture(
    renderSockets(everything),
    text`
State          UID   Inode   Local Address           Peer Address            Intf Mode
ACTIVE         01000 0041233 127.0.0.1:8080          127.0.0.1:51544         0000 SMCD
ACTIVE         01000 0041240 10.1.2.3:8080           10.9.9.9:40112          0000 TCP 0x03010000
ACTIVE         01000 0041241 10.1.2.3:8080           10.9.9.9:40112          0000 TCP 0x05000000/0x03030007
CLOSED         01000 0000000 127.0.0.1:8080          127.0.0.1:51544         0000
ACTIVE         01000 0041240 2001:db8:0:1:2:3:..:443 2001:db8::9:40113       0000 TCP 0x03010000
`,
  );
});

sockets("all sockets, addresses in full", () => {
  assert.fixture(
    renderSockets([listening, opening, far], { all: true, wide: true }),
    text`
State          UID   Inode   Local Address           Peer Address            Intf Mode
LISTEN         00000 0041200 :::8080
INIT           00000 0041201
ACTIVE         01000 0041240 2001:db8:0:1:2:3:4:5:443 2001:db8::9:40113       0000 TCP 0x03010000
`,
  );
});

sockets("listening sockets alone", () => {
  assert.fixture(
    renderSockets(everything, { listening: true }),
    text`
State          UID   Inode   Local Address           Peer Address            Intf Mode
LISTEN         00000 0041200 :::8080
`,
  );
});

sockets("SMC-D sockets with their names", () => {
  assert.fixture(
    renderSockets(everything, { smcd: true }),
    text`
State          UID   Inode   Local Address           Peer Address            Intf Mode GID              Token            Peer-GID         Peer-Token       Linkid
ACTIVE         01000 0041233 127.0.0.1:8080          127.0.0.1:51544         0000 SMCD 1f0c9a77c2d24b10 9e1d00c4b7a35521 1f0c9a77c2d24b10 0b77e6128f5d4ac3 00000100
CLOSED         01000 0000000 127.0.0.1:8080          127.0.0.1:51544         0000
`,
  );
});

sockets("sizes, cursors and flags", () => {
  assert.fixture(
    renderSockets([active, closing, fallback], { debug: true }),
    text`
State          UID   Inode   Local Address           Peer Address            Intf Mode Shutd Token    Sndbuf   Rcvbuf   Peerbuf  rxprod-Cursor rxcons-Cursor rxFlags txprod-Cursor txcons-Cursor txFlags txprep-Cursor txsent-Cursor txfin-Cursor
ACTIVE         01000 0041233 127.0.0.1:8080          127.0.0.1:51544         0000 SMCD  <->  0000002a 00010000 00010000 00004000 0003:00000abc 0000:00000010 80:00   0000:00000020 0003:00000abc 10:80   ffff:00000030 0000:00000020 0000:00000010
PEERFINCLOSEWAIT 01000 0041233 127.0.0.1:8080          127.0.0.1:51544         0000 SMCD  R-W  0000002a 00010000 00010000 00004000 0003:00000abc 0000:00000010 80:00   0000:00000020 0003:00000abc 10:80   ffff:00000030 0000:00000020 0000:00000010
ACTIVE         01000 0041240 10.1.2.3:8080           10.9.9.9:40112          0000 TCP 0x03010000
`,
  );
});

sockets("each half that is shut shows, and both sets of columns stand in one line", () => {
  const table = renderSockets(
    [
      { ...active, shutdown: { receive: true, send: false } },
      { ...active, shutdown: { receive: false, send: true } },
    ],
    { debug: true, smcd: true },
  );
  const [heading, first, second] = table.split("\n");
  assert.match(first!, / SMCD {2}R-> {2}0000002a /);
  assert.match(second!, / SMCD {2}<-W {2}0000002a /);
  for (const title of ["Token    ", "txfin-Cursor", "GID ", "Linkid"]) assert.ok(heading!.includes(title));
  assert.is(heading!.indexOf("Peer-Token"), first!.indexOf("0b77e6128f5d4ac3"));
  assert.is(heading!.indexOf("txprep-Cursor"), first!.indexOf("ffff:00000030"));
});

sockets("no sockets: the heading alone", () => {
  assert.is(renderSockets([]).split("\n").length, 2);
});

const stats = suite("statistics text");

function counted(): Counters {
  const counters = new Counters();
  counters.clientV1 = 1;
  counters.clientV2 = 3;
  counters.serverV2 = 5;
  counters.serverHandshakeErrors = 1;
  for (const code of [3, 1, 2, 2, 4, 4, 4, 1]) counters.fellBack("client", code);
  counters.fellBack("server", 0x05000000);
  counters.rxBytes = 1_048_576;
  counters.rxRequests = 120;
  counters.rxInUse = 196_608;
  counters.rxBuffers.set([0, 0, 0, 9]);
  counters.rxSizes.set([110, 8, 2]);
  counters.rxReused = 4;
  counters.txBytes = 999_960;
  counters.txRequests = 72;
  counters.txFull = 9;
  counters.txFullAtPeer = 6;
  counters.txTooSmall = 1;
  counters.txTooSmallAtPeer = 2;
  counters.txDowngraded = 2;
  counters.txBuffers.set([0, 0, 0, 0, 0, 0, 0, 2, 3]);
  counters.txSizes.set([12_345, 0, 0, 0, 0, 0, 1000, 1, 1]);
  counters.cork = 2;
  counters.urgentData = 1;
  counters.busyPollTurns = 4000;
  counters.busyPollHits = 1000;
  counters.busyPollUs = 5250;
  counters.parks = 12;
  counters.doorbellRung = 11;
  counters.consUpdates = 30;
  counters.aborts = 1;
  return counters;
}

const reasonName = (code: number): string => `REASON_${code.toString(16)}`;

stats("in short", () => {
  assert.fixture(
    renderStats(counted().snapshot(), { details: false, reasonName }),
    text`
SMC-D Connections Summary
  Total connections handled            19
  SMC connections                       9
  Handshake errors                      1
  Avg requests per SMC conn            21.3
  TCP fallback                          9

RX Stats
  Data transmitted (Bytes)        1048576 (1.049M)
  Total requests                      120
  Buffer usage (Bytes)             196608 (196.6K)
  Buffer full                           0 (0.00%)
            8KB    16KB    32KB    64KB   128KB   256KB   512KB  >512KB
  Bufs        0       0       0       9       0       0       0       0
  Reqs      110       8       2       0       0       0       0       0

TX Stats
  Data transmitted (Bytes)         999960 (1.000M)
  Total requests                       72
  Buffer usage (Bytes)                  0 (0)
  Buffer full                           9 (12.50%)
  Buffer full (remote)                  6 (8.33%)
  Buffer too small                      1 (1.39%)
  Buffer too small (remote)             2 (2.78%)
            8KB    16KB    32KB    64KB   128KB   256KB   512KB  >512KB
  Bufs        0       0       0       0       0       0       0       5
  Reqs   12.35K       0       0       0       0       0  1.000K       2

Extras
  Special socket calls                  3

Event Loop
  Busy poll turns                    4000
  Busy poll hits                     1000 (25.00%)
  Busy poll time (us)                5250
  Parks                                12
  Doorbells rung                       11
  Doorbells rescued                     0
  Consumer updates                     30
  Aborts                                1
`,
  );
});

stats("in detail: versions, sides, the three most frequent reasons of each side", () => {
  const [summary, rx, tx, extras] = renderStats(counted().snapshot(), { details: true, reasonName }).split("\n\n");
  assert.fixture(
    `${summary}\n`,
    text`
SMC-D Connections Summary
  Total connections handled            19
  SMC connections                       9 (client 4, server 5)
    v1                                  1
    v2                                  8
  Handshake errors                      1 (client 0, server 1)
  Avg requests per SMC conn            21.3
  TCP fallback                          9 (client 8, server 1)
    Server
     REASON_5000000                     1
    Client
     REASON_4                           3
     REASON_1                           2
     REASON_2                           2
`,
  );
  assert.match(rx!, /\n {2}Buffer downgrades {21}0\n {2}Buffer reuses {25}4\n {12}8KB/);
  assert.match(tx!, /\n {2}Buffer downgrades {21}2\n {2}Buffer reuses {25}0\n {12}8KB/);
  assert.fixture(
    `${extras}\n`,
    text`
Extras
  Special socket calls                  3
    cork                                2
    nodelay                             0
    sendpage                            0
    splice                              0
    urgent data                         1
`,
  );
});

stats("nothing counted yet: zeros, no division by zero", () => {
  const empty = renderStats(new Counters().snapshot(), { details: true, reasonName });
  assert.not.match(empty, /NaN|Infinity|undefined/);
  assert.match(empty, /Avg requests per SMC conn {13}0\.0\n/);
});

stats("a count is shortened to six characters at most, rounded up over a magnitude", () => {
  const cases: [number, string][] = [
    [0, "0"],
    [999, "999"],
    [1000, "1.000K"],
    [9999, "9.999K"],
    [99_999, "100.0K"],
    [999_949, "999.9K"],
    [999_950, "1.000M"],
    [9_999_600, "10.00M"],
    [2 ** 53, "9.007P"],
  ];
  for (const [value, expected] of cases) assert.is(abbreviate(value), expected);
});

sockets.run();
stats.run();
