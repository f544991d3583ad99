// The built security page behind its proxy, and the steps of a user with a phone.

import { type ChildProcess, spawn } from "node:child_process";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";
import type { Locator, Page } from "@playwright/test";
import axe, { type AxeResults } from "axe-core";
import jsQR from "jsqr";
import * as OTPAuth from "otpauth";
import { PNG } from "pngjs";
import type { Arklow } from "./arklow.js";
import { expect, picture, test as base } from "./test.js";

const FOLDER = fileURLToPath(new URL("../../sdk/typescript/examples/security-page", import.meta.url));

/** `test` with the page at `site`, on the same origin as the API. */
export const test = base.extend<{ site: string }>({
  site: async ({ arklow }, use) => {
    const { url, stop } = await serve(arklow);
    await use(url);
    stop();
  },
});

export { expect };

export async function serve(arklow: Arklow): Promise<{ url: string; stop: () => void }> {
  const port = await freePort();
  const vite: ChildProcess = spawn(
    process.execPath,
    [`${FOLDER}/node_modules/vite/bin/vite.js`, "preview", "--host", "127.0.0.1", "--port", String(port), "--strictPort"],
    { cwd: FOLDER, env: { PATH: process.env["PATH"], ARKLOW_URL: arklow.url }, stdio: ["ignore", "ignore", "inherit"] },
  );
  const url = `http://127.0.0.1:${port}`;
  const isUp = () => fetch(url).then((answer) => answer.ok).catch(() => false);
  await expect.poll(isUp, { timeout: 60_000 }).toBe(true);
  return { url, stop: () => vite.kill() };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === "object" && address !== null ? address.port : 0;
}

/** An authenticator app: a library that is not ours, told of nothing but the URI. */
export class Phone {
  private constructor(private readonly totp: OTPAuth.TOTP) {}

  static of(uri: string): Phone {
    const parsed = OTPAuth.URI.parse(uri);
    if (!(parsed instanceof OTPAuth.TOTP)) {
      throw new Error("the URI is not of a TOTP device");
    }
    return new Phone(parsed);
  }

  /** Looks at a picture on the page, as a camera does. */
  static async scan(picture: Locator): Promise<Phone> {
    const { data, width, height } = PNG.sync.read(await picture.screenshot());
    const found = jsQR(new Uint8ClampedArray(data), width, height);
    if (found === null) {
      throw new Error("there is no QR code to be seen");
    }
    return Phone.of(found.data);
  }

  get secret(): string {
    return this.totp.secret.base32;
  }

  get label(): string {
    return `${this.totp.issuer}: ${this.totp.label}`;
  }

  code(): string {
    return this.totp.generate();
  }

  /** What the app will show next; the service takes it already. */
  nextCode(): string {
    return this.totp.generate({ timestamp: Date.now() + 30_000 });
  }

  wrongCode(): string {
    const near = [-60, -30, 0, 30, 60].map((seconds) => this.totp.generate({ timestamp: Date.now() + seconds * 1000 }));
    return ["000000", "111111", "222222", "333333", "444444", "555555"].find((code) => !near.includes(code))!;
  }
}

export async function signIn(page: Page, site: string, token: string): Promise<void> {
  await page.goto(site);
  await page.getByLabel("Session token").fill(token);
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page.getByRole("heading", { name: "Account security" })).toBeFocused();
}

/** The codes that are shown. */
export async function shownCodes(page: Page): Promise<string[]> {
  const items = page.getByRole("list", { name: "Backup codes" }).getByRole("listitem");
  await expect(items).toHaveCount(10);
  const codes = await items.allInnerTexts();
  for (const code of codes) {
    expect(code).toMatch(/^([0-9A-Z]{4}-){5}[0-9A-Z]{4}$/);
  }
  return codes;
}

/** Looks at the page as a checker of accessibility does, and keeps a picture. */
export async function look(page: Page, name: string): Promise<void> {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate<AxeResults>("axe.run()");
  const found = violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((node) => node.html).join(" ")}`);
  expect(found, `axe on ${name}`).toEqual([]);
  const width = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
  expect(width[0], `${name} is not to be moved sideways`).toBeLessThanOrEqual(width[1]!);
  await picture(page, name);
}
