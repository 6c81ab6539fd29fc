/**
 * The UDP sockets that this process has open: a stack keeps one for probes from the first address on that has to be proven, so
 * what is to be as it was before must not count it.
 */
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";

/** Names of all UDP sockets of this network namespace, as descriptors tell of them. */
function names(): string[] {
  return ["udp", "udp6"].flatMap((kind) => {
    const path = `/proc/self/net/${kind}`;
    const lines = existsSync(path) ? readFileSync(path, "utf8").trim().split("\n").slice(1) : [];
    return lines.map((line) => `socket:[${line.trim().split(/\s+/)[9]}]`);
  });
}

/** Names of those that this process has, one a descriptor. */
export function udpSockets(): string[] {
  const known = names();
  return readdirSync("/proc/self/fd").flatMap((descriptor) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${descriptor}`);
      return known.includes(target) ? [target] : [];
    } catch {
      return [];
    }
  });
}
