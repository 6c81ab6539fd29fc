/** The same lives of sockets over node:net, over SMC and in fallback. */
import { lifecycle } from "./scenarios/lifecycle.js";
import { stageAll } from "./stage.js";

stageAll("lifecycle", lifecycle);
