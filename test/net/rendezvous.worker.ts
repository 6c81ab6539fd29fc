/** The clients of the rendezvous test in a thread of their own: one task, one result. */
import { parentPort } from "node:worker_threads";
import { type DriveTask, drive } from "./rendezvous.js";

parentPort!.on("message", async (task: DriveTask) => parentPort!.postMessage(await drive(task)));
