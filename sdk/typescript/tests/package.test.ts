// The published package: packed, installed, type-checked by two compilers, run, bundled.

import { execFile } from "node:child_process";
import { copyFile, cp, mkdir, mkdtemp, readFile, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";

import { build } from "esbuild";
import { afterAll, beforeAll, expect, test } from "vitest";

import { Arklow } from "./arklow.js";
import { contract } from "./contract.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const run = promisify(execFile);

/** The folder of somebody's project. */
let consumer: string;
let tarball: string;

beforeAll(async () => {
  consumer = await realpath(await mkdtemp(join(tmpdir(), "arklow-consumer-")));
  const { stdout } = await run("npm", ["pack", "--silent", "--pack-destination", consumer], { cwd: await copy() });
  tarball = join(consumer, stdout.trim());
  await writeFile(join(consumer, "package.json"), '{ "private": true, "type": "module" }');
  // From the folders that the lock file filled, so that this needs no network.
  const dependencies = ["openapi-fetch", "openapi-typescript-helpers"].map((name) => join(root, "node_modules", name));
  const install = ["install", "--offline", "--ignore-scripts", "--install-links", tarball, ...dependencies];
  await run("npm", install, { cwd: consumer });
  await copyFile(join(root, "tests/consumer/main.ts"), join(consumer, "main.ts"));
  const readme = await readFile(join(root, "README.md"), "utf8");
  const blocks = [...readme.matchAll(/^```ts\n(.*?)^```/gms)].map(([, code]) => code);
  await writeFile(join(consumer, "readme.ts"), blocks.join("\n"));
});
afterAll(() => rm(consumer, { recursive: true }));

/** A copy of what a package is made of, so that nobody who uses `dist` meanwhile finds it gone. */
async function copy(): Promise<string> {
  const repository = join(consumer, "repository");
  const folder = join(repository, "sdk/typescript");
  await mkdir(folder, { recursive: true });
  for (const name of ["LICENSE", "openapi.yaml"]) {
    await copyFile(join(root, "../..", name), join(repository, name));
  }
  for (const name of ["README.md", "package.json", "src", "tsconfig.build.json", "tsconfig.json"]) {
    await cp(join(root, name), join(folder, name), { recursive: true });
  }
  await symlink(join(root, "node_modules"), join(folder, "node_modules"));
  return folder;
}

test("the tarball has the version of the contract, the contract, and nothing else", async () => {
  const { stdout } = await run("tar", ["--list", "--file", tarball]);
  const modules = ["client", "errors", "index", "schema"].flatMap((name) => [`dist/${name}.d.ts`, `dist/${name}.js`]);
  expect(stdout.trim().split("\n").sort()).toEqual(
    ["LICENSE", "README.md", "openapi.yaml", "package.json", ...modules].map((path) => `package/${path}`).sort(),
  );
  const manifest = JSON.parse(await readFile(join(consumer, "node_modules/@arklow/sdk/package.json"), "utf8"));
  expect(manifest.version).toBe(contract.info.version);
  const installed = createRequire(join(consumer, "main.js")).resolve("@arklow/sdk/openapi.yaml");
  expect(installed).toContain(consumer);
  expect(await readFile(installed, "utf8")).toBe(await readFile(join(root, "../../openapi.yaml"), "utf8"));
});

const settings = {
  "a browser, with a bundler": { module: "ESNext", moduleResolution: "Bundler", lib: ["ES2022", "DOM"], types: [] },
  Node: { module: "NodeNext", lib: ["ES2022"], types: ["node"], typeRoots: [join(root, "node_modules/@types")] },
};

test.each(
  Object.entries(settings).flatMap(([name, options]) =>
    ["typescript", "typescript-7"].map((compiler) => [compiler, name, options] as const),
  ),
)("%s accepts a consumer for %s, and what the README shows", async (compiler, name, options) => {
  const folder = join(consumer, `${compiler} ${name}`);
  await mkdir(folder);
  const compilerOptions = {
    target: "ES2022",
    strict: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    skipLibCheck: false,
    rootDir: consumer,
    outDir: join(folder, "out"),
    ...options,
  };
  await writeFile(
    join(folder, "tsconfig.json"),
    JSON.stringify({ compilerOptions, files: ["main.ts", "readme.ts"].map((name) => join(consumer, name)) }),
  );
  const tsc = join(root, "node_modules", compiler, "bin/tsc");
  const problems = await run(process.execPath, [tsc, "--project", folder]).then(
    () => "",
    ({ stdout, message }) => stdout || message,
  );
  expect(problems).toBe("");
});

test("the consumer runs on Node", async () => {
  const arklow = await Arklow.serve();
  try {
    const { device, token } = await arklow.caller();
    await build({
      entryPoints: [join(consumer, "main.ts")],
      outfile: join(consumer, "main.js"),
      format: "esm",
      target: "es2022",
    });
    const { stdout } = await run(process.execPath, [join(consumer, "main.js"), arklow.baseUrl, token, device]);
    expect(JSON.parse(stdout)).toEqual({ devices: [device], codes: 10, refused: "no such device" });
  } finally {
    await arklow.stop();
  }
});

/** How many bytes a browser loads for this source. */
async function weight(source: string): Promise<number> {
  const { outputFiles } = await build({
    stdin: { contents: source, resolveDir: consumer },
    bundle: true,
    minify: true,
    format: "esm",
    platform: "browser",
    write: false,
    logLevel: "error",
  });
  return gzipSync(outputFiles[0]!.contents).length;
}

test("a browser loads less than 4 kB, and only what is used", async () => {
  const all = await weight('import * as sdk from "@arklow/sdk"; console.log(sdk)');
  const little = await weight('import { retryAfter } from "@arklow/sdk"; console.log(retryAfter)');
  const nothing = await weight('import "@arklow/sdk"');
  console.info(`bundled and compressed: ${all} bytes; one helper: ${little}; nothing: ${nothing}`);
  expect(all).toBeLessThan(4000);
  expect(little).toBeLessThan(250);
  expect(nothing).toBeLessThan(30);
});
