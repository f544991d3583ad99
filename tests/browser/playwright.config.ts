import { existsSync } from "node:fs";
import { defineConfig } from "@playwright/test";
import { OUT } from "./out.js";

/** The system's browser: Playwright's own would have to be downloaded. */
const CHROMIUM = [
  process.env["CHROMIUM"],
  "/usr/bin/chromium",
  "/usr/bin/google-chrome",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
].find((path) => path !== undefined && existsSync(path));

export default defineConfig({
  testMatch: "*.spec.ts",
  outputDir: `${OUT}/failures`,
  forbidOnly: process.env["CI"] !== undefined,
  // A test that fails now and then is to be mended.
  retries: 0,
  workers: 1,
  // Longer than anything here takes, so that a hang is a failure.
  timeout: 600_000,
  expect: { timeout: 120_000 },
  reporter: [["list"], ["junit", { outputFile: `${OUT}/junit.xml` }]],
  use: {
    actionTimeout: 120_000,
    browserName: "chromium",
    // Tests run with reduced motion, so that nothing waits for animations.
    contextOptions: { reducedMotion: "reduce" },
    screenshot: "only-on-failure",
    trace: "retain-on-failure",
    launchOptions: {
      ...(CHROMIUM === undefined ? {} : { executablePath: CHROMIUM }),
      // Nothing of the browser's own goes to the network: what is left is what the page asks for.
      args: [
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
      ],
    },
  },
});
