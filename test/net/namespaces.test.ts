/**
 * The same connections between two containers: network, mount and pid namespaces of their own, joined by a veth pair, with nothing
 * in common but the runtime directory.
 */
import { closing } from "./scenarios/closing.js";
import { flow } from "./scenarios/flow.js";
import { lifecycle } from "./scenarios/lifecycle.js";
import { transfer } from "./scenarios/transfer.js";
import { stageAll } from "./stage.js";

stageAll("namespaces", [...transfer, ...closing, ...flow, ...lifecycle], ["two containers"]);
