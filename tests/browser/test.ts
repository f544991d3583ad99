// Playwright's `test` with a server, and with a look at what the browser complains about.

import { test as base, type Page } from "@playwright/test";
import { Arklow } from "./arklow.js";
import { OUT } from "./out.js";

export { expect } from "@playwright/test";

/** What the browser complained about, on all pages of a test. */
export interface Complaints {
  /** Errors and warnings on the console, but for answers of the API that are no success: these are the page's business. */
  console: string[];
  /** What the Content-Security-Policy kept from happening. */
  violations: string[];
  /** Requests to anybody but the page's own origin. */
  foreign: string[];
}

export const test = base.extend<{ arklow: Arklow; complaints: Complaints }>({
  arklow: async ({}, use) => {
    const arklow = await Arklow.start();
    await use(arklow);
    await arklow.stop();
  },
  complaints: async ({ page }, use) => {
    const complaints: Complaints = { console: [], violations: [], foreign: [] };
    await page.exposeFunction("reportViolation", (text: string) => complaints.violations.push(text));
    await page.addInitScript(() => {
      document.addEventListener("securitypolicyviolation", (event) => {
        const report = (window as unknown as { reportViolation(text: string): void }).reportViolation;
        report(`${event.violatedDirective}: ${event.blockedURI}`);
      });
    });
    page.on("console", (message) => {
      const isAnswer = message.text().startsWith("Failed to load resource") && message.location().url.includes("/v1/");
      if (["error", "warning"].includes(message.type()) && !isAnswer) {
        complaints.console.push(message.text());
      }
    });
    page.on("pageerror", (error) => complaints.console.push(String(error)));
    page.on("request", (request) => {
      const url = new URL(request.url());
      const isOwn = url.origin === new URL(page.url()).origin || request.isNavigationRequest();
      if (!isOwn && !["data:", "blob:"].includes(url.protocol)) {
        complaints.foreign.push(request.url());
      }
    });
    await use(complaints);
  },
});

/** Nothing to complain about. */
export const NOTHING: Complaints = { console: [], violations: [], foreign: [] };

/** Keeps a picture of the page as output. */
export async function picture(page: Page, name: string): Promise<void> {
  await page.screenshot({ path: `${OUT}/${name}.png`, fullPage: true });
}
