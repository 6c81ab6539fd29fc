/**
 * Asking tshark what it makes of a capture.
 *
 * Owns finding the program, running it and reading its answer. Knows nothing of SMC but the name of its heuristic.
 * Takes any capture tshark reads: one made by pcap.ts or a recorded one.
 */
import { execFile, spawnSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { within } from "./watchdog.js";

const run = promisify(execFile);
const found = spawnSync("tshark", ["--version"], { encoding: "utf8" });

/** Why tests that need tshark cannot run; undefined if they can. */
export const tsharkMissing: string | undefined = found.error
  ? `tshark cannot be started (${found.error.message})`
  : found.status !== 0
    ? `tshark --version ended with status ${found.status}`
    : undefined;

/** First line of `tshark --version`, for messages. */
export const tsharkVersion: string = tsharkMissing ? "none" : found.stdout.split("\n")[0];

/** One frame: field name -> its values in order of appearance, as tshark prints them. */
export type Dissected = Readonly<Record<string, readonly string[]>>;

/**
 * Dissect a capture.
 *
 * Takes:   capture, a pcap or pcapng file's bytes; filter, a display filter; fields to print.
 * Returns: one entry per frame that passes the filter; a field that a frame lacks is absent.
 * Errors:  rejects with tshark's own words if it refuses the file, the filter or a field.
 */
export async function dissect(capture: Uint8Array, filter: string, fields: readonly string[]): Promise<Dissected[]> {
  const directory = await mkdtemp(join(tmpdir(), "smcnet-capture-"));
  try {
    const file = join(directory, "capture");
    await writeFile(file, capture);
    const args = ["-n", "-r", file, "--enable-heuristic", "smc_tcp", "-Y", filter, "-T", "json"];
    const { stdout } = await within(run("tshark", [...args, ...fields.flatMap((field) => ["-e", field])]), "tshark");
    const frames = JSON.parse(stdout === "" ? "[]" : stdout) as { readonly _source: { readonly layers?: Dissected } }[];
    return frames.map(({ _source }) => _source.layers ?? {});
  } finally {
    await rm(directory, { recursive: true });
  }
}
