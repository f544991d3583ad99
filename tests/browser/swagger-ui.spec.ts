// The documentation at `/swagger/ui`, as its readers see and try it.

import type { Locator, Page } from "@playwright/test";
import { expect, NOTHING, picture, test } from "./test.js";

const REGENERATE = "#operations-users-post_v1_self_mfa_regenerate_totp";

test("shows every operation, and sends no request to another host", async ({ arklow, page, complaints }) => {
  await page.goto(`${arklow.url}/swagger/ui`);
  await expect(page.locator(".opblock")).toHaveCount(8);
  // Tags without an operation are left out.
  await expect(page.locator(".opblock-tag")).toHaveCount(1);
  await expect(page).toHaveTitle("Arklow API");
  await expect(page.locator(".servers select")).toHaveValue("/");
  await picture(page, "swagger-ui");
  // Every operation opens, with its examples and schemas.
  for (const operation of await page.locator(".opblock-summary-control").all()) {
    await operation.click();
  }
  await expect(page.locator(".opblock.is-open .responses-wrapper")).toHaveCount(8);
  expect(complaints).toEqual(NOTHING);
});

test("tries out a regeneration with a real token, and the ten codes it shows work", async ({ arklow, page, complaints }) => {
  const user = arklow.user("Ada");
  const device = arklow.device(user, "Phone");
  const token = arklow.session(user, "--mfa-verified-for", "15m");
  await page.goto(`${arklow.url}/swagger/ui`);
  await authorize(page, token);

  const answer = await tryOut(page, { device_id: device.id });
  await expect(answer.locator("tbody .response-col_status")).toHaveText(/^200/);
  const body = JSON.parse(await answer.locator("tbody .response-col_description pre").first().innerText());
  const codes: string[] = body.data.backup_codes;
  expect(new Set(codes).size).toBe(10);
  await picture(page, "swagger-ui-tried-out");

  for (const code of codes) {
    const redeemed = await arklow.ask(token, "POST", "/v1/self/mfa/verify/totp/backup", { device_id: device.id, code });
    expect(redeemed.body.data.valid).toBe(true);
  }
  expect(complaints).toEqual(NOTHING);
});

test("shows the answer to who has no token, and keeps none", async ({ arklow, page, complaints }) => {
  const user = arklow.user("Ada");
  const device = arklow.device(user, "Phone");
  await page.goto(`${arklow.url}/swagger/ui`);
  const answer = await tryOut(page, { device_id: device.id });
  await expect(answer.locator("tbody .response-col_status")).toHaveText(/^401/);

  await authorize(page, arklow.session(user));
  const kept = () => page.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie]);
  expect(await kept()).toEqual([0, 0, ""]);
  await page.goto(`${arklow.url}/swagger/ui`);
  const again = await tryOut(page, { device_id: device.id });
  await expect(again.locator("tbody .response-col_status")).toHaveText(/^401/);
  expect(page.url()).not.toContain("arks_");
  expect(complaints).toEqual(NOTHING);
});

test("does not let a token out to another server that the contract lists", async ({ arklow, page, complaints }) => {
  await page.goto(`${arklow.url}/swagger/ui`);
  await page.locator(".servers select").selectOption("https://api.arklow.io");
  await tryOut(page, { device_id: "1" });
  await expect.poll(() => complaints.violations).toContain("connect-src: https://api.arklow.io/v1/self/mfa/regenerate/totp");
});

async function authorize(page: Page, token: string): Promise<void> {
  await page.getByRole("button", { name: "Authorize" }).click();
  const dialog = page.locator(".modal-ux");
  await dialog.getByRole("textbox").fill(token);
  await dialog.getByRole("button", { name: "Apply credentials" }).click();
  await dialog.getByRole("button", { name: "Close" }).click();
}

/** Sends a regeneration and gives what is shown of its answer. */
async function tryOut(page: Page, body: object): Promise<Locator> {
  const operation = page.locator(REGENERATE);
  await operation.locator(".opblock-summary-control").click();
  await operation.getByRole("button", { name: "Try it out" }).click();
  await operation.locator("textarea").fill(JSON.stringify(body));
  await operation.getByRole("button", { name: "Execute" }).click();
  return operation.locator(".live-responses-table");
}
