/** The memory map: regions lie one after the other without overlap, and shared words keep their distance. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as codes from "../../assembly/shared/codes.js";
import * as layout from "../../assembly/shared/layout.js";

const map = suite("memory map");

/** Bytes of a desk. */
const DESK_END = layout.DESK_CLAIMS + layout.CLAIM_CAPACITY * layout.CLAIM_SIZE;

type Region = readonly [name: string, start: number, length: number];

/** Regions in order: [start, end). A region may end before the next one starts, never after. */
function inOrder(regions: readonly Region[], end: number): void {
  let at = 0;
  let before = "the start";
  for (const [name, start, length] of regions) {
    assert.ok(start >= at, `${name} at ${start} begins within ${before}`);
    at = start + length;
    before = name;
  }
  assert.ok(at <= end, `${before} ends at ${at}, beyond ${end}`);
}

/** What a prefix has beside its words. */
const NO_WORD = /^(TABLE_OFFSET|SIZE|ENTRY_SIZE|CAPACITY|TAG|MOST_BLOCKS|NUMBERS|PROBES)$/;

/**
 * The words of an entry of `size` bytes, all that the layout has under `prefix`: aligned to their width, none over another.
 *
 * Takes: wide, bytes of those that are no u32; beside, what else the entry holds.
 */
function checkWords(
  prefix: string,
  size: number,
  wide: Readonly<Record<string, number>> = {},
  beside: readonly Region[] = [],
): void {
  const words = Object.entries(layout)
    .filter(([name]) => name.startsWith(`${prefix}_`))
    .map(([name, offset]) => [name.slice(prefix.length + 1), offset] as const)
    .filter(([word]) => !NO_WORD.test(word))
    .map(([word, offset]): Region => [word, offset, wide[word] ?? 4]);
  inOrder(
    [...words, ...beside].sort((one, other) => one[1] - other[1]),
    size,
  );
  for (const [word, offset, length] of words) assert.is(offset % (length > 4 ? 8 : 4), 0, `${prefix}_${word}`);
  const known = words.map(([word]) => word);
  for (const word of Object.keys(wide)) assert.ok(known.includes(word), `${prefix}_${word} is there`);
  assert.ok(known.length > 1, `${prefix} has words`);
}

map("the arena: tables, stack blocks, allocation blocks", () => {
  inOrder(
    [
      ["header", layout.ARENA_READY_OFFSET, 64],
      ["extents", layout.EXTENT_TABLE_OFFSET, layout.EXTENT_CAPACITY * layout.EXTENT_SIZE],
      ["listeners", layout.LISTENER_TABLE_OFFSET, layout.LISTENER_CAPACITY * layout.LISTENER_SIZE],
      ["DMB table", layout.DMB_TABLE_OFFSET, layout.DMB_CAPACITY * layout.DMB_ENTRY_SIZE],
      ["block table", layout.BLOCK_TABLE_OFFSET, layout.BLOCK_TABLE_CAPACITY * 4],
      ["stacks", layout.STACK_TABLE_OFFSET, layout.STACK_CAPACITY * layout.STACK_SIZE],
      ["pairs", layout.PAIR_TABLE_OFFSET, layout.PAIR_CAPACITY * layout.PAIR_SIZE],
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
      ["maker of the bell", layout.STACK_BELL_OF, 4],
      ["reaper", layout.STACK_REAPER, 4],
      ["control", layout.STACK_CONTROL, 4],
      ["key", layout.STACK_KEY, layout.KEY_SIZE],
      ["mask of boxes", layout.STACK_BOX_MASK, 8],
      ["boxes", layout.STACK_BOXES, layout.PAIR_CAPACITY * 4],
      ["summaries", layout.STACK_SUMMARY, layout.STACK_CAPACITY * 64],
      ["ready list", layout.STACK_READY, layout.CONN_CAPACITY * 4],
      ["pending bits", layout.STACK_BITS, layout.STACK_CAPACITY * layout.PENDING_BYTES],
      ["desk", layout.STACK_DESK, DESK_END],
      ["connections", layout.STACK_CONNS, layout.CONN_CAPACITY * layout.CONN_SIZE],
    ],
    layout.STACK_SIZE,
  );
  assert.is(layout.PENDING_BYTES * 8, layout.CONN_CAPACITY);
  assert.is(layout.PENDING_BYTES / 8 / layout.SUMMARY_SPAN, 64, "one summary word covers a peer's bits");
  assert.ok(layout.STACK_CAPACITY <= 64, "peers of a stack fit one u64");
  assert.ok(layout.PAIR_CAPACITY <= 64, "and so do its boxes");
});

map("a desk: intents, then claims", () => {
  inOrder(
    [
      ["intents", layout.DESK_INTENTS, layout.STACK_CAPACITY * 8],
      ["claims", layout.DESK_CLAIMS, layout.CLAIM_CAPACITY * layout.CLAIM_SIZE],
    ],
    DESK_END,
  );
});

map("a box: doorbell and control words where a stack block has them, then bits, then a desk", () => {
  inOrder(
    [
      ["armed", layout.STACK_ARMED, 4],
      ["control", layout.STACK_CONTROL, 4],
      ["summary", layout.BOX_SUMMARY, 8],
      ["pending bits", layout.BOX_BITS, layout.PENDING_BYTES],
      ["desk", layout.BOX_DESK, DESK_END],
    ],
    layout.BOX_BLOCKS * layout.BLOCK_SIZE,
  );
});

map("an extent: its heads lie before its DMBs, and a token has bits for each block and each extent", () => {
  checkWords("HEAD", layout.HEAD_SIZE, { TOKEN: 8 }, [["CDC area", 0, layout.CDC_SIZE]]);
  checkWords("EXTENT", layout.EXTENT_SIZE);
  assert.ok(layout.EXTENT_MOST_BLOCKS <= 1 << 10 && layout.EXTENT_NUMBERS <= 1 << 6);
  // A tag of the block table is one of: free, a DMB's index + 1, an extent's free block, an extent's own block.
  assert.ok(layout.DMB_CAPACITY < layout.EXTENT_TAG);
  assert.is(layout.EXTENT_TAG & (2 * layout.EXTENT_CAPACITY - 1), 0);
});

map("words that different threads write lie on different cache lines", () => {
  const line = (offset: number): number => Math.floor(offset / 64);
  const hot = [layout.STACK_STATE, layout.STACK_ARMED, layout.STACK_BELL, layout.STACK_CONTROL, layout.STACK_KEY];
  assert.is(new Set(hot.map(line)).size, hot.length);
  const box = [layout.STACK_ARMED, layout.STACK_CONTROL, layout.BOX_SUMMARY, layout.BOX_BITS, layout.BOX_DESK];
  assert.is(new Set(box.map(line)).size, box.length);
  for (const start of [layout.STACK_SIZE, layout.STACK_TABLE_OFFSET, layout.STACK_SUMMARY, layout.DMB_TABLE_OFFSET])
    assert.is(start % 64, 0);
});

map("a connection block: every word aligned to its width, none over another", () => {
  const cursors = ["TX_PREP", "TX_SENT", "TX_CONS", "RX_PROD", "RX_CONS", "RX_CONFIRMED"];
  checkWords("CONN", layout.CONN_SIZE, Object.fromEntries(cursors.map((word) => [word, 8])));
});

map("entries of the tables: words aligned, within their entry", () => {
  checkWords("DMB", layout.DMB_ENTRY_SIZE, { TOKEN: 8, CDC: layout.CDC_SIZE });
  checkWords("LISTENER", layout.LISTENER_SIZE, { ADDRESS: 16 });
  checkWords("CLAIM", layout.CLAIM_SIZE, { KEY: layout.KEY_SIZE });
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
  for (const names of [/^EVENT_/, /^PROD_(?!FLAGS)/, /^STATE_(?!FLAGS)/, /^CONN_/, /^DMB_(?!REMOTE)/, /^CONTROL_/])
    disjoint(names);
});

map("states of a head fit beside the bits of the token, and no stack has the number of a remote attacher", () => {
  const states = Object.entries(codes).filter(([name]) => /^HEAD_(?!STATE)/.test(name));
  assert.is(new Set(states.map(([, state]) => state)).size, states.length);
  for (const [name, state] of states) assert.is(state & ~codes.HEAD_STATE, 0, name);
  assert.ok(codes.DMB_REMOTE >= layout.STACK_CAPACITY && codes.DMB_REMOTE <= 0x7f);
});

map.run();
