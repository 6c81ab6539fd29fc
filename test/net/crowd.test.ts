/** The same crowds over node:net, over SMC and in fallback. */
import { crowd } from "./scenarios/crowd.js";
import { stageAll } from "./stage.js";

stageAll("crowd", crowd);
