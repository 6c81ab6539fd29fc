/** The memory map: regions lie one after the other without overlap, and shared words keep their distance. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as codes from "../../assembly/shared/codes.js";
import * as layout from "../../assembly/shared/layout.js";

const map = suite("memory map");

/** Regions in order: [start, end). A region may end before the next one starts, never after. */
function inOrder(regions: readonly (readonly [name: string, start: number, length: number])[], end: number): void {
  let at = 0;
  let before = "the start";
  for (const [name, start, length] of regions) {
    assert.ok(start >= at, `${name} at ${start} begins within ${before}`);
    at = start + length;
    before = name;
  }
  assert.ok(at <= end, `${before} ends at ${at}, beyond ${end}`);
}

map("the arena: tables, stack blocks, allocation blocks", () => {
  inOrder(
    [
      ["header", layout.ARENA_READY_OFFSET, 64],
      ["listeners", layout.LISTENER_TABLE_OFFSET, layout.LISTENER_CAPACITY * layout.LISTENER_SIZE],
      ["DMB table", layout.DMB_TABLE_OFFSET, layout.DMB_CAPACITY * layout.DMB_ENTRY_SIZE],
      ["block table", layout.BLOCK_TABLE_OFFSET, layout.BLOCK_TABLE_CAPACITY * 4],
      ["stacks", layout.STACK_TABLE_OFFSET, layout.STACK_CAPACITY * layout.STACK_SIZE],
    ],
    layout.BLOCKS_OFFSET,
  );
  assert.is(layout.BLOCKS_OFFSET % layout.BLOCK_SIZE, 0);
  assert.ok(
    layout.BLOCKS_OFFSET + layout.BLOCK_TABLE_CAPACITY * layout.BLOCK_SIZE >= 2 ** 32,
    "no page is out of reach",
  );
});

map("a stack block: every area holds what its capacities say", () => {
  inOrder(
    [
      ["state", layout.STACK_STATE, 4],
      ["peers", layout.STACK_PEERS, 8],
      ["owner", layout.STACK_OWNER, 8],
      ["armed", layout.STACK_ARMED, 4],
      ["bell", layout.STACK_BELL, 4],
      ["control", layout.STACK_CONTROL, 4],
      ["key", layout.STACK_KEY, layout.KEY_SIZE],
      ["intents", layout.STACK_INTENTS, layout.STACK_CAPACITY * 8],
      ["summaries", layout.STACK_SUMMARY, layout.STACK_CAPACITY * 64],
      ["ready list", layout.STACK_READY, layout.CONN_CAPACITY * 4],
      ["pending bits", layout.STACK_BITS, layout.STACK_CAPACITY * layout.PENDING_BYTES],
      ["claims", layout.STACK_CLAIMS, layout.CLAIM_CAPACITY * layout.CLAIM_SIZE],
      ["connections", layout.STACK_CONNS, layout.CONN_CAPACITY * layout.CONN_SIZE],
    ],
    layout.STACK_SIZE,
  );
  assert.is(layout.PENDING_BYTES * 8, layout.CONN_CAPACITY);
  assert.is(layout.PENDING_BYTES / 8 / layout.SUMMARY_SPAN, 64, "one summary word covers a peer's bits");
  assert.ok(layout.STACK_CAPACITY <= 64, "peers of a stack fit one u64");
});

map("words that different threads write lie on different cache lines", () => {
  const line = (offset: number): number => Math.floor(offset / 64);
  const hot = [layout.STACK_STATE, layout.STACK_ARMED, layout.STACK_BELL, layout.STACK_CONTROL, layout.STACK_KEY];
  assert.is(new Set(hot.map(line)).size, hot.length);
  for (const start of [layout.STACK_SIZE, layout.STACK_TABLE_OFFSET, layout.STACK_SUMMARY, layout.DMB_TABLE_OFFSET])
    assert.is(start % 64, 0);
});

map("a connection block: every word aligned to its width, none over another", () => {
  const wide = new Set(["TX_PREP", "TX_SENT", "TX_CONS", "RX_PROD", "RX_CONS", "RX_CONFIRMED"]);
  const words = Object.entries(layout)
    .filter(([name]) => /^CONN_(?!SIZE|CAPACITY)/.test(name))
    .map(([name, offset]) => [name, offset, wide.has(name.slice(5)) ? 8 : 4] as const)
    .sort((a, b) => a[1] - b[1]);
  inOrder(words, layout.CONN_SIZE);
  for (const [name, offset, width] of words) assert.is(offset % width, 0, name);
  assert.is(words.filter(([, , width]) => width === 8).length, wide.size);
});

map("entries of the tables: words aligned, within their entry", () => {
  inOrder(
    [
      ["state", layout.DMB_STATE, 4],
      ["base", layout.DMB_BASE, 4],
      ["length", layout.DMB_LENGTH, 4],
      ["slot", layout.DMB_SLOT, 4],
      ["token", layout.DMB_TOKEN, 8],
      ["touched", layout.DMB_TOUCHED, 4],
    ],
    layout.DMB_ENTRY_SIZE,
  );
  inOrder(
    [
      ["state", layout.LISTENER_STATE, 4],
      ["port", layout.LISTENER_PORT, 4],
      ["address", layout.LISTENER_ADDRESS, 16],
      ["wildcard", layout.LISTENER_WILDCARD, 4],
    ],
    layout.LISTENER_SIZE,
  );
  inOrder(
    [
      ["state", layout.CLAIM_STATE, 4],
      ["key", layout.CLAIM_KEY, layout.KEY_SIZE],
    ],
    layout.CLAIM_SIZE,
  );
  for (const offset of [layout.DMB_TOKEN, layout.LISTENER_ADDRESS, layout.CLAIM_KEY]) assert.is(offset % 8, 0);
});

map("flags of a word do not overlap, and events are told apart", () => {
  const disjoint = (names: RegExp): void => {
    let seen = 0;
    for (const [name, bit] of Object.entries(codes)) {
      if (!names.test(name)) continue;
      assert.is(seen & bit, 0, name);
      seen |= bit;
    }
    assert.ok(seen > 0);
  };
  for (const names of [/^EVENT_/, /^PROD_(?!FLAGS)/, /^STATE_(?!FLAGS)/, /^CONN_/, /^DMB_/, /^CONTROL_/])
    disjoint(names);
});

map.run();
