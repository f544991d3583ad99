// Where screenshots, reports and what is left of failures go.

import { fileURLToPath } from "node:url";

export const OUT = process.env["ARKLOW_BROWSER_OUT"] ?? fileURLToPath(new URL("../../target/browser", import.meta.url));
