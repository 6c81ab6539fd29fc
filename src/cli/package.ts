/** Where the installed package is: files are found from its root, whichever file this code was bundled into. */
import { createRequire } from "node:module";
import { dirname } from "node:path";

const require = createRequire(import.meta.url);
const manifest = require.resolve("smcnet/package.json");

export const PACKAGE_FOLDER = dirname(manifest);
export const PACKAGE_VERSION = (require(manifest) as { version: string }).version;
