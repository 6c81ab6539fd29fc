/**
 * A party of the tests in processes*.test.ts: does what it is asked by its parent, and ends with it.
 *
 * Owns nothing but the channel to its parent. What it can do stands in processes-verbs.ts.
 */
import { type Asked, answer } from "./processes-verbs.js";

process.on("message", (asked: Asked) => {
  void answer(asked).then((reply) => {
    if (process.connected) process.send!(reply);
  });
});
// An orphan, or a party that leaves: the first must not stay, the second goes by itself.
process.on("disconnect", () => {
  if (process.exitCode === undefined) process.kill(process.pid, "SIGKILL");
});
process.send!("ready");
