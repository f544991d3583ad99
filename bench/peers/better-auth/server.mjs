// Serves until it is killed.
import { createServer } from "node:http";
import { toNodeHandler } from "better-auth/node";
import { make, open } from "./auth.mjs";

const [database, port] = process.argv.slice(2);
createServer(toNodeHandler(make(await open(database)))).listen(Number(port), "127.0.0.1");
