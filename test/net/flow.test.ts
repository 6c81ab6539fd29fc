/** The same pace over node:net, over SMC and in fallback. */
import { flow } from "./scenarios/flow.js";
import { stageAll } from "./stage.js";

stageAll("flow", flow);
