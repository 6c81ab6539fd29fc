/**
 * One ring between a producer and a consumer, every interleaving: SYNC POINT rmbe-produce and SYNC POINT rmbe-consume.
 *
 * Mirrors cdcProduce, cdcSample, rmbeConsume, rmbeFlush and the silly-window rule at a ring of 2 or 3 bytes. Positions
 * stand for cursors; a pending mark stands for CQ and doorbell, which have models of their own.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Model } from "../support/explore.js";
import { type Actions, caught, holds, program } from "./program.js";

interface State {
  pc: Record<string, string>;
  /** The ring's bytes: the stream position that was written there last. */
  ring: number[];
  /** Shared words. The flag stands in the producer's consumer word, as in the CDC area. */
  prodWord: number;
  consWord: number;
  blockedWord: boolean;
  pendingConsumer: boolean;
  pendingProducer: boolean;
  /** Producer: positions prepared and sent, the peer's cursor as sampled, bytes of this message placed. */
  sent: number;
  consSeen: number;
  length: number;
  placed: number;
  /** Consumer: its cursor, what it last told with a signal, the producer as sampled, bytes of this read copied. */
  cons: number;
  confirmed: number;
  prodSeen: number;
  blockedSeen: boolean;
  want: number;
  copied: number;
}

interface Order {
  readonly ring: number;
  readonly limit: number;
  readonly total: number;
  /** Deviations; all false in the code. */
  readonly publishBeforeData?: boolean;
  readonly freeBeforeCopy?: boolean;
  readonly postBeforePublish?: boolean;
  readonly confirmUntold?: boolean;
  readonly neverTell?: boolean;
}

function producer(order: Order): Actions<State> {
  const { ring, total } = order;
  const place = (s: State): string => {
    s.ring[(s.sent + s.placed) % ring] = s.sent + s.placed;
    s.placed++;
    if (s.placed < s.length) return "place";
    return order.publishBeforeData ? "idle" : "publish";
  };
  const begin = (length: number) => (s: State) => {
    const space = ring - (s.sent - s.consSeen);
    if (length > space || s.sent + length > total) return false;
    s.length = length;
    s.placed = 0;
    return order.publishBeforeData ? "publish" : "place";
  };
  const steps: Record<string, (s: State) => string | false> = {
    place,
    // SYNC POINT rmbe-produce: data stores before the producer cursor.
    publish: (s) => {
      if (order.postBeforePublish && !s.pendingConsumer && s.pc["marked"] !== "yes") {
        s.pendingConsumer = true;
        s.pc["marked"] = "yes";
        return "publish";
      }
      s.pc["marked"] = "no";
      s.prodWord = s.sent + s.length;
      return "flags";
    },
    flags: (s) => {
      s.blockedWord = s.length === ring - (s.sent - s.consSeen);
      return "post";
    },
    post: (s) => {
      if (!order.postBeforePublish) s.pendingConsumer = true;
      if (order.publishBeforeData) return "late";
      s.sent += s.length;
      return "idle";
    },
    // Only in the broken order: the data follows its cursor.
    late: (s) => {
      const next = place(s);
      if (s.placed < s.length) return "late";
      s.sent += s.length;
      return next;
    },
    // SYNC POINT rmbe-consume: ring bytes are copied out before the consumer cursor frees them.
    "idle/sample": (s) => {
      if (s.sent === total || s.sent - s.consSeen < ring) return false;
      s.consSeen = s.consWord;
      return s.sent - s.consSeen < ring ? "idle" : "asleep";
    },
    asleep: (s) => {
      if (!s.pendingProducer) return false;
      s.pendingProducer = false;
      return "idle";
    },
  };
  for (let length = 1; length <= ring; length++) steps[`idle/send ${length}`] = begin(length);
  if (!order.publishBeforeData) delete steps["late"];
  return program("producer", steps);
}

function updateDue(s: State, { ring, limit, neverTell }: Order): boolean {
  if (neverTell) return false;
  if (s.cons - s.confirmed <= limit) return false;
  const senderFree = ring - Math.min(s.prodSeen - s.confirmed, ring);
  return senderFree <= ring / 2 || s.blockedSeen;
}

function consumer(order: Order): Actions<State> {
  const { ring } = order;
  const copy = (s: State): void => {
    const at = s.cons + s.copied;
    assert.is(s.ring[at % ring], at, `position ${at} holds a foreign byte`);
    s.copied++;
  };
  const begin = (want: number) => (s: State) => {
    if (want > s.prodSeen - s.cons) return false;
    s.want = want;
    s.copied = 0;
    return order.freeBeforeCopy ? "free" : "copy";
  };
  const consume = (s: State): string => {
    s.cons += s.want;
    const due = updateDue(s, order);
    if (s.cons === s.prodSeen) s.blockedSeen = false;
    return due ? "tell" : "more";
  };
  const steps: Record<string, (s: State) => string | false> = {
    poll: (s) => {
      if (!s.pendingConsumer) return false;
      s.pendingConsumer = false;
      return "sample flags";
    },
    // The consumer word with the flags first, then the producer word.
    "sample flags": (s) => {
      s.blockedSeen = s.blockedWord;
      return "sample prod";
    },
    // SYNC POINT rmbe-produce: data stores before the producer cursor.
    "sample prod": (s) => {
      s.prodSeen = s.prodWord;
      return "more";
    },
    copy: (s) => {
      copy(s);
      return s.copied < s.want ? "copy" : consume(s);
    },
    // SYNC POINT rmbe-consume: ring bytes are copied out before the consumer cursor frees them.
    tell: (s) => {
      s.consWord = s.cons;
      s.confirmed = s.cons;
      return "tell post";
    },
    "tell post": (s) => {
      s.pendingProducer = true;
      return "more";
    },
    // A reader that looks at the producer word alone, before it decides that the ring is empty.
    "more/look": (s) => {
      if (s.prodSeen > s.cons) return false;
      s.prodSeen = s.prodWord;
      return s.prodSeen > s.cons ? "more" : "flush";
    },
    // Shows the cursor without a signal: at the end of a read, or before a wait that may find bytes left.
    "more/wait": (s) => {
      if (s.prodSeen === s.cons || s.consWord === s.cons) return false;
      s.consWord = s.cons;
      if (order.confirmUntold) s.confirmed = s.cons;
      return "more";
    },
    flush: (s) => {
      s.consWord = s.cons;
      return "poll";
    },
    // Only in the broken order: the cursor goes before the copy.
    free: (s) => {
      s.consWord = s.cons + s.want;
      return "copy";
    },
  };
  for (let want = 1; want <= ring; want++) steps[`more/read ${want}`] = begin(want);
  if (!order.freeBeforeCopy) delete steps["free"];
  // Every read of such a ring is told at once: there is nothing to show without a signal.
  if (order.limit === 0) delete steps["more/wait"];
  return program("consumer", steps);
}

function model(order: Order): Model<State> {
  return {
    initial: {
      pc: { producer: "idle", consumer: "poll" },
      ring: new Array<number>(order.ring).fill(-1),
      prodWord: 0,
      consWord: 0,
      blockedWord: false,
      pendingConsumer: false,
      pendingProducer: false,
      sent: 0,
      consSeen: 0,
      length: 0,
      placed: 0,
      cons: 0,
      confirmed: 0,
      prodSeen: 0,
      blockedSeen: false,
      want: 0,
      copied: 0,
    },
    actions: { ...producer(order), ...consumer(order) },
    always: (s) => {
      assert.ok(s.prodWord - s.consWord <= order.ring, "more in flight than the ring holds");
      assert.ok(s.cons <= s.prodSeen && s.prodSeen <= s.prodWord, "read ahead of what was published");
    },
    atRest: (s) => assert.is(s.cons, order.total, "stuck: the stream did not arrive"),
    maxStates: 400_000,
  };
}

const SIZES = [
  { ring: 2, limit: 0, total: 5 },
  { ring: 3, limit: 1, total: 6 },
] as const;

const produce = suite("model: produce and consume");

for (const size of SIZES) {
  produce(`ring of ${size.ring}, limit ${size.limit}: in every order all bytes arrive, unharmed`, () => {
    const { states } = holds(model(size));
    assert.ok(states > 1000, `${states} states`);
  });

  produce(`ring of ${size.ring}: broken orders are caught`, () => {
    caught(model({ ...size, publishBeforeData: true }), /foreign byte/);
    caught(model({ ...size, freeBeforeCopy: true }), /foreign byte|more in flight/);
    caught(model({ ...size, postBeforePublish: true }), /stuck/);
    caught(model({ ...size, neverTell: true }), /stuck/);
  });
}

produce("a cursor counted as told though nobody was woken leaves the writer asleep", () => {
  caught(model({ ring: 3, limit: 1, total: 6, confirmUntold: true }), /stuck/);
});

produce.run();
