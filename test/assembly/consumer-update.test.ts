/**
 * When a receiver tells its peer that it has consumed: exactly as smc-protocol §4.7 has it.
 *
 * The oracle counts in stream positions, so that it shares no cursor arithmetic with the code.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  EVENT_READABLE,
  EVENT_SIGNAL,
  EVENT_WRITABLE,
  PROD_CONS_UPDATE_REQUESTED,
  PROD_WRITE_BLOCKED,
} from "../../assembly/shared/codes.js";
import { CDC_CONS_OFFSET } from "../../assembly/shared/layout.js";
import { prngFor } from "../support/prng.js";
import { ANYTHING, connectPair, type End, MODES, type Pair, Rig } from "./rig.js";

const rig = new Rig();
const leftStack = rig.stack(1);
const rightStack = rig.stack(2);

/** Usable ring → limit, as §4.7 prints them. */
const LIMITS: readonly (readonly [sizeClass: number, ring: number, limit: number])[] = [
  [0, 16_352, 2304],
  [2, 65_504, 6550],
  [6, 1_048_544, 104_854],
];

/** What a receiver knows, in stream positions, and what §4.7 makes of it. */
class Oracle {
  confirmed = 0;
  consumed = 0;
  received = 0;
  writeBlocked = false;
  updateRequested = false;

  constructor(
    readonly ring: number,
    readonly limit: number,
  ) {}

  /** Takes in a CDC of the sender. */
  cdc(received: number, flags: number): void {
    this.received = received;
    this.writeBlocked = (flags & PROD_WRITE_BLOCKED) !== 0;
    this.updateRequested = (flags & PROD_CONS_UPDATE_REQUESTED) !== 0;
  }

  /** Consumes; whether an update is due. */
  consume(length: number): boolean {
    this.consumed += length;
    const toConfirm = this.consumed - this.confirmed;
    const senderFree = this.ring - Math.min(this.received - this.confirmed, this.ring);
    const due = this.updateRequested || (toConfirm > this.limit && (senderFree <= this.ring / 2 || this.writeBlocked));
    if (due) this.confirmed = this.consumed;
    if (this.received === this.consumed) this.writeBlocked = false;
    return due;
  }
}

const zeros = new Uint8Array(2 << 20);

/** The producer-flag byte that `receiver` finds in its CDC area. */
function flagsAt(receiver: End): number {
  return Number((rig.u64(receiver.cdc(CDC_CONS_OFFSET)) >> 48n) & 0xffn);
}

/** Consumes `length` bytes, all in one call; whether the peer was told. */
function consume(receiver: End, length: number): boolean {
  return (receiver.note(receiver.abi.rxConsume(receiver.conn, length)) & EVENT_SIGNAL) !== 0;
}

function withPair(sizeClass: number, body: (pair: Pair) => void, mode: "attached" | "copy" = "attached"): void {
  const pair = connectPair(rig, { mode, left: sizeClass, right: sizeClass, snd: sizeClass }, leftStack, rightStack);
  body(pair);
  pair.intact();
  pair.dissolve();
}

const rule = suite("consumer update");

for (const [sizeClass, ring, limit] of LIMITS) {
  rule(`ring of ${ring} bytes, writer blocked: due above ${limit} bytes, not at ${limit}`, () => {
    withPair(sizeClass, ({ left, right }) => {
      assert.is(left.write(zeros), ring);
      right.abi.connSample(right.conn);
      assert.is(flagsAt(right) & PROD_WRITE_BLOCKED, PROD_WRITE_BLOCKED);
      assert.not.ok(consume(right, limit));
      assert.ok(consume(right, 1));
      assert.not.ok(consume(right, limit));
      assert.ok(consume(right, 1), "counted anew from the last update");
    });
  });

  rule(`ring of ${ring} bytes, writer not blocked: due once it believes at most half of the ring free`, () => {
    withPair(sizeClass, ({ left, right }) => {
      const half = ring / 2;
      left.write(zeros.subarray(0, half - 1));
      right.abi.connSample(right.conn);
      assert.not.ok(consume(right, half - 1), "one byte more than half is free");
      left.write(zeros.subarray(0, 1));
      right.abi.connSample(right.conn);
      assert.ok(consume(right, 1));
    });
  });
}

rule("an update that is asked for comes with any consumption, however small", () => {
  withPair(0, ({ left, right }) => {
    left.write(zeros.subarray(0, 100));
    left.abi.connSignal(left.conn, PROD_CONS_UPDATE_REQUESTED);
    right.abi.connSample(right.conn);
    assert.ok(consume(right, 1));
    assert.ok(consume(right, 1));
  });
});

rule("what a receiver sends itself confirms as well", () => {
  withPair(0, ({ left, right }) => {
    left.write(zeros);
    right.abi.connSample(right.conn);
    assert.not.ok(consume(right, 2304));
    right.write(zeros.subarray(0, 1));
    assert.is(left.abi.connSample(left.conn), EVENT_READABLE | EVENT_WRITABLE, "the cursor goes along with the data");
    assert.not.ok(consume(right, 2304), "confirmed by the data that went the other way");
    assert.ok(consume(right, 1));
  });
});

rule("a flushed cursor counts as not told: the sender was not woken", () => {
  withPair(0, ({ left, right }) => {
    left.write(zeros);
    right.abi.connSample(right.conn);
    assert.not.ok(consume(right, 2304));
    right.abi.rxFlush(right.conn);
    assert.ok(consume(right, 1));
  });
});

rule("waiting with bytes still to read takes no update from a writer that sleeps", () => {
  withPair(0, ({ left, right }) => {
    left.write(zeros);
    let told = false;
    for (let read = 0; read < right.size && !told; read += 1000) {
      right.abi.connWait(right.stack, right.conn, 0, ANYTHING);
      told = consume(right, Math.min(1000, right.size - read));
    }
    assert.ok(told, "the ring was emptied and the blocked writer never heard of it");
  });
});

rule("more than one ring unconfirmed is due like a full one: a sender can have seen flushed cursors", () => {
  withPair(0, ({ left, right }) => {
    left.write(zeros.subarray(0, 8000));
    right.abi.connSample(right.conn);
    assert.not.ok(consume(right, 8000));
    right.abi.rxFlush(right.conn);
    assert.is(left.write(zeros.subarray(0, left.peerSize - 1)), left.peerSize - 1);
    right.abi.connSample(right.conn);
    assert.ok(consume(right, 12_000), "20,000 bytes unconfirmed in a ring of 16,352");
  });
});

rule("a stored write-blocked flag is forgotten once the ring is empty", () => {
  withPair(0, ({ left, right }) => {
    left.write(zeros);
    right.abi.connSample(right.conn);
    assert.ok(consume(right, 14_100));
    assert.not.ok(consume(right, right.size - 14_100), "too little to be due");
    right.abi.rxFlush(right.conn);
    left.write(zeros.subarray(0, 4000));
    // Only the producer word is looked at, as a reader does.
    assert.is(right.abi.rxReadable(right.conn), 4000);
    assert.not.ok(consume(right, 4000), "the writer is blocked no longer and most of the ring is free");
  });
});

for (const mode of MODES) {
  rule(`${mode}: random traffic gives exactly the updates of §4.7`, () => {
    for (const [sizeClass, ring, limit] of LIMITS.slice(0, 2)) {
      withPair(
        sizeClass,
        ({ left, right }) => {
          const prng = prngFor(`consumer update ${mode} ${ring}`);
          const oracle = new Oracle(ring, limit);
          let updates = 0;
          for (let step = 0; step < 20_000; step++) {
            if (prng.oneIn(2)) {
              left.abi.txRefresh(left.conn);
              left.write(zeros.subarray(0, prng.oneIn(4) ? ring * 2 : prng.between(1, ring / 8)));
            }
            right.abi.connSample(right.conn);
            const readable = right.abi.rxReadable(right.conn);
            oracle.cdc(oracle.consumed + readable, flagsAt(right));
            const length = Math.min(readable, prng.between(1, prng.oneIn(8) ? ring : ring / 16));
            if (length === 0) continue;
            const due = oracle.consume(length);
            assert.is(consume(right, length), due, `step ${step}: ${length} of ${readable} bytes`);
            if (due) updates++;
          }
          assert.ok(updates > 500 && oracle.consumed > 50 * ring, `${updates} updates, ${oracle.consumed} bytes`);
        },
        mode,
      );
    }
  });
}

const flags = suite("write blocked");

for (const mode of MODES) {
  flags(`${mode}: set by the move that leaves nothing of the window, cleared by the next that leaves some`, () => {
    withPair(
      0,
      ({ left, right }) => {
        left.write(zeros.subarray(0, left.peerSize - 1));
        assert.is(flagsAt(right), 0);
        left.write(zeros.subarray(0, 1));
        assert.is(flagsAt(right), PROD_WRITE_BLOCKED, "exactly full counts");
        right.read(10_000);
        left.write(zeros.subarray(0, 100));
        assert.is(flagsAt(right), 0);
      },
      mode,
    );
  });
}

flags("copy: a move cut short by the window sets it", () => {
  withPair(
    0,
    ({ left, right }) => {
      left.write(zeros.subarray(0, left.peerSize - 100));
      assert.is(flagsAt(right), 0);
      left.write(zeros.subarray(0, 200));
      assert.is(left.abi.txUnsent(left.conn), 100);
      assert.is(flagsAt(right), PROD_WRITE_BLOCKED);
    },
    "copy",
  );
});

rule.run();
flags.run();
