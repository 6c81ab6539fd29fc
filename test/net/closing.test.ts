/** The same ends of connections over node:net, over SMC and in fallback. */
import { closing } from "./scenarios/closing.js";
import { stageAll } from "./stage.js";

stageAll("closing", closing);
