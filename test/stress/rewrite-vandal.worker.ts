/**
 * A thread that rewrites what lies in every ring of the process, without end: runs of `a` become three-byte characters or line ends with
 * a letter, and these become `a` again. Whoever decodes a ring in place meets text that changes under its hands.
 *
 * Owns the vandalism. Stopped by terminate; tells nobody anything but the number of runs it has changed.
 */
import { workerData } from "node:worker_threads";
import { HostileView } from "./hostile-arena.js";

export interface VandalData {
  /** One word: runs changed so far. */
  readonly changed: Int32Array<SharedArrayBuffer>;
}

const { changed } = workerData as VandalData;
const view = new HostileView();
const { bytes } = view;
const ASCII = [0x61, 0x61, 0x61];
/** A character of three bytes; and what would begin a header of its own. */
const FORGERIES = [
  [0xe2, 0x82, 0xac],
  [0x0d, 0x0a, 0x61],
];

function is(address: number, run: readonly number[]): boolean {
  return bytes[address] === run[0] && bytes[address + 1] === run[1] && bytes[address + 2] === run[2];
}

function put(address: number, run: readonly number[]): void {
  for (let i = 0; i < 3; i++) bytes[address + i] = run[i]!;
}

for (let round = 0; ; round++) {
  const forgery = FORGERIES[round % FORGERIES.length]!;
  let runs = 0;
  for (const { ring, ringSize } of view.attached()) {
    for (let address = ring + (round % 3); address + 3 <= ring + ringSize; address += 3) {
      if (is(address, ASCII)) put(address, forgery);
      else if (is(address, forgery)) put(address, ASCII);
      else continue;
      runs++;
    }
  }
  Atomics.add(changed, 0, runs);
}
