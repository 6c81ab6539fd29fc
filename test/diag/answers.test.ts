/** Replies of processes: what is taken, and that nothing else is. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readReply } from "../../src/diag/answers.js";
import { Counters } from "../../src/diag/counters.js";
import type { Question } from "../../src/diag/question.js";
import type { SocketRecord } from "../../src/diag/records.js";
import { Prng, RUN_SEED } from "../support/prng.js";

const at = { wrap: 1, count: 2 };
const record: SocketRecord = {
  state: "ACTIVE",
  uid: 1000,
  inode: 7,
  local: { address: "::1", port: 80 },
  peer: { address: "fe80::1%eth0", port: 4000 },
  mode: "SMCD",
  shutdown: { receive: false, send: true },
  conn: {
    ...{ token: 1, sndbufBytes: 2, rmbeBytes: 3, peerRmbeBytes: 4, rxProd: at, rxCons: at, txProd: at, txCons: at },
    ...{ rxProducerFlags: 0, rxStateFlags: 0, txProducerFlags: 0, txStateFlags: 0, txPrep: at, txSent: at, txFin: at },
  },
  dmb: { gid: "1f", token: "2f", peerGid: "3f", peerToken: "4f", linkId: 256 },
};
const fellBack: SocketRecord = {
  ...{ state: "ACTIVE", uid: 0, inode: 0, local: { address: "", port: 0 }, mode: "TCP" },
  fallback: { code: 0x05000000, peerDiagnosis: 0x03030007 },
  shutdown: { receive: false, send: false },
};
const ANSWERS: Readonly<Record<Question["ask"], unknown>> = {
  sockets: [record, fellBack],
  devices: [
    { name: "lo", gid: "1f", gidExt: "0", chid: 65535 },
    { name: "shm", reason: "no koffi" },
  ],
  linkGroups: [{ id: 256, device: "lo", peerGid: "1f", version: 2, connections: 3 }],
  counters: new Counters().snapshot(),
  reset: new Counters().snapshot(),
  policy: { enabled: true, only: ["[::1]:80", "10.0.0.0/8"], except: ["1-2"], hook: false },
};
const reply = (answer: unknown, program = "/app.js") => ({
  ...{ smcnet: "0.1.0", pid: 4, program, threads: [{ thread: 0, answer }], silent: [3] },
});

const answers = suite("answers");

answers("whole replies come through as they are", () => {
  for (const [ask, answer] of Object.entries(ANSWERS))
    assert.equal(readReply(ask as Question["ask"], JSON.stringify(reply(answer))), reply(answer), ask);
});

answers("what nobody looked at is left out; text for people has no control characters", () => {
  const more = { ...record, more: "\u001b[2J", fallback: { code: 1, detail: "\u0007" } };
  const read = readReply("sockets", JSON.stringify(reply([more], "a\u001b[31m\u009b\nb")));
  assert.equal(read, reply([{ ...record, fallback: { code: 1 } }], "a?[31m??b"));
});

answers("each damaged field is named", () => {
  const damaged = (change: object): unknown => readReply("sockets", JSON.stringify(reply([{ ...record, ...change }])));
  const faults: readonly (readonly [object, RegExp])[] = [
    [{ state: "A\u001b" }, /state/],
    [{ mode: "UDP" }, /mode/],
    [{ uid: -1 }, /uid/],
    [{ inode: 1.5 }, /inode/],
    [{ local: null }, /address/],
    [{ local: { address: "a b", port: 1 } }, /address/],
    [{ shutdown: { receive: 1, send: false } }, /receive/],
    [{ conn: { ...record.conn, rxProd: 7 } }, /cursor/],
    [{ conn: { ...record.conn, token: 2 ** 60 } }, /token/],
    [{ dmb: { ...record.dmb, gid: "xyz" } }, /gid/],
    [{ fallback: {} }, /code/],
  ];
  for (const [change, fault] of faults) assert.match((damaged(change) as { fault: string }).fault, fault);
});

answers("a refusal is told, without what a terminal would act on", () => {
  assert.equal(readReply("reset", '{"error":"no\\u001b"}'), { fault: "no?" });
  for (const line of ["", "{", "null", "[]", "7", '""']) assert.ok("fault" in readReply("reset", line), line);
});

answers("random damage gives a reply or a fault, and never throws", () => {
  const prng = new Prng(RUN_SEED);
  let faults = 0;
  for (const [ask, answer] of Object.entries(ANSWERS)) {
    const line = Buffer.from(JSON.stringify(reply(answer)));
    for (let round = 0; round < 300; round++) {
      const bytes = Buffer.from(line);
      for (let hits = prng.below(3); hits >= 0; hits--) bytes[prng.below(bytes.length)] = prng.below(128);
      if ("fault" in readReply(ask as Question["ask"], bytes.toString("latin1"))) faults++;
    }
  }
  assert.ok(faults > 100, `${faults} faults`);
});

answers.run();
