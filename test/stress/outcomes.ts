/**
 * How a connection may end whose other side died: the events that its socket emits, in order, and what that is called.
 *
 *   ended          the end of the stream
 *   reset          ECONNRESET
 *   write failed   the end, then an error for what was written too late
 *
 * Which of them a test allows, and after how many bytes, it says itself.
 */
export const OUTCOMES: Readonly<Record<string, string>> = {
  "end finish close(false)": "ended",
  "end close(false)": "ended",
  "finish end close(false)": "ended",
  "error close(true)": "reset",
  "finish error close(true)": "reset",
  "end error close(true)": "write failed",
};
