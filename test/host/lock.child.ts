/** A process that takes the lock of a file, says whether it got it, and keeps it until it dies. */
import { openSync } from "node:fs";
import { lockFile } from "../../src/host/lock.js";

process.on("disconnect", () => process.exit());
process.send!(lockFile(openSync(process.argv[2]!, "r+")));
