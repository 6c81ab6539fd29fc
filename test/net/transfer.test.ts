/** The same bytes over node:net, over SMC and in fallback. */
import { transfer } from "./scenarios/transfer.js";
import { stageAll } from "./stage.js";

stageAll("transfer", transfer);
