/** A long stream between two threads, in both modes of SMC. */
import { stream } from "./scenarios/stream.js";
import { stageAll } from "./stage.js";

stageAll("stream", stream, ["client in a Worker"]);
