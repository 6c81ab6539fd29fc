/**
 * One long stream through one connection, checked byte by byte where it stands and hashed at both ends.
 *
 * SMC_TEST_STREAM_GB sets its length in units of 10^9 bytes; 1 by default, 20 in the full run.
 */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { happens, WATCHDOG_MS } from "../../support/watchdog.js";
import { eachChunk, type Scenario } from "../scenario.js";

const GIGABYTE = 1_000_000_000;
const BYTES = Math.round(Number(process.env["SMC_TEST_STREAM_GB"] ?? 1) * GIGABYTE);

export const stream: readonly Scenario[] = [
  {
    name: `${BYTES / GIGABYTE} GB through one connection`,
    async server(end) {
      const socket = await end.accept();
      const hash = createHash("sha1");
      const verifier = end.verifier("bytes");
      const stalled = () => socket.destroy(new Error(`no byte after ${verifier.received} for ${WATCHDOG_MS} ms`));
      const timer = setTimeout(stalled, WATCHDOG_MS);
      eachChunk(socket, (chunk) => {
        timer.refresh();
        verifier.push(chunk);
        hash.update(chunk);
      });
      await once(socket, "end");
      clearTimeout(timer);
      return { received: verifier.received, hash: hash.digest("hex") };
    },
    async client(end) {
      const socket = await end.connect();
      const sequence = end.sequence("bytes");
      const sizes = end.prng("sizes");
      const hash = createHash("sha1");
      for (let sent = 0; sent < BYTES; ) {
        const span = sequence.span(sent, Math.min(sizes.between(1, 1 << 18), BYTES - sent));
        hash.update(span);
        sent += span.length;
        if (!socket.write(span)) await happens(socket, "drain");
      }
      socket.resume().end();
      await happens(socket, "close");
      return { received: socket.bytesWritten, hash: hash.digest("hex") };
    },
  },
];
