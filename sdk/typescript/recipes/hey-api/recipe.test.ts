// The recipe, step by step: generate, type-check, call the server.

import { execFile } from "node:child_process";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { afterAll, beforeAll, expect, test } from "vitest";

import { Arklow } from "../../tests/arklow.js";
import { operationIds } from "../../tests/contract.js";

const folder = fileURLToPath(new URL(".", import.meta.url));
const run = promisify(execFile);
const bin = (name: string) => join(folder, "../../node_modules/.bin", name);

let arklow: Arklow;
beforeAll(async () => {
  await rm(join(folder, "client"), { recursive: true, force: true });
  await run(bin("openapi-ts"), [], { cwd: folder });
  arklow = await Arklow.serve();
});
afterAll(() => arklow.stop());

test("what is generated, and the call with it, compile", async () => {
  const problems = await run(bin("tsc"), ["--project", folder]).then(
    () => "",
    ({ stdout, message }) => stdout || message,
  );
  expect(problems).toBe("");
});

test("there is a function for each operation", async () => {
  const { client, ...functions } = await import(join(folder, "client/sdk.gen.ts"));
  const plain = (name: string) => name.replaceAll("_", "").toLowerCase();
  expect(Object.keys(functions).map(plain).sort()).toEqual(operationIds.map(plain).sort());
});

test("the call is answered by the server", async () => {
  const { newBackupCodes, Refused } = await import(join(folder, "backup-codes.ts"));
  const { device, token } = await arklow.caller();
  expect(new Set(await newBackupCodes(arklow.baseUrl, token, device)).size).toBe(10);

  const refused = await newBackupCodes(arklow.baseUrl, "arks_nobody", device).catch((reason: unknown) => reason);
  expect(refused).toBeInstanceOf(Refused);
  expect(refused.message).toBe("UNAUTHENTICATED");
});
