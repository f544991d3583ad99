// The security page from its first QR code to the last removal, as its users meet it.

import { readFile } from "node:fs/promises";
import type { Locator, Page } from "@playwright/test";
import { Arklow } from "./arklow.js";
import { expect, look, Phone, serve, shownCodes, signIn, test } from "./security-page.js";
import { NOTHING, picture } from "./test.js";

test("goes from the QR code to a step-up, through the codes, and back", async ({ arklow, site, page, context, complaints }) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: site });
  await page.addInitScript(() => {
    window.print = () => document.documentElement.setAttribute("data-printed", "");
  });
  const user = arklow.user("Ada");
  const token = arklow.session(user);
  await signIn(page, site, token);
  await expect(page.getByRole("heading", { name: "Two-step verification is off" })).toBeVisible();

  // Enroll, with the QR code as it is painted.
  await page.getByRole("button", { name: "Turn it on" }).click();
  await page.getByLabel("Name of the device").fill("Ada's phone");
  await page.getByRole("button", { name: "Continue" }).click();
  const phone = await Phone.scan(page.locator("img.qr"));
  expect(phone.label).toBe("Arklow: ada@example.com");
  await page.getByText("Cannot scan it?").click();
  await expect(page.locator(".secret")).toHaveText(phone.secret.match(/.{4}/g)!.join(" "));

  // A wrong code is said to be wrong, and the field is ready for the next.
  await enterCode(page, phone.wrongCode(), "Confirm");
  await expect(page.getByRole("alert")).toContainText("That code is not right.");
  await expect(page.getByLabel("Six-digit code")).toBeFocused();
  const used = phone.code();
  await enterCode(page, used, "Confirm");

  // The codes, which neither Escape nor a cross can lose.
  await expect(page.getByRole("heading", { name: "Save your backup codes" })).toBeFocused();
  const codes = await shownCodes(page);
  await page.keyboard.press("Escape");
  await expect(page.getByRole("dialog").getByRole("button", { name: "Close" })).toHaveCount(0);
  expect(await shownCodes(page)).toEqual(codes);
  await page.getByRole("button", { name: "Copy" }).click();
  await expect(page.getByRole("dialog").getByRole("status")).toContainText("Copied");
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(codes.join("\n"));
  const downloading = page.waitForEvent("download");
  await page.getByRole("button", { name: "Download" }).click();
  const download = await downloading;
  expect(download.suggestedFilename()).toBe("backup-codes.txt");
  const text = await readFile(await download.path(), "utf8");
  expect(text).toContain("Ada's phone");
  expect(text.match(/([0-9A-Z]{4}-){5}[0-9A-Z]{4}/g)).toEqual(codes);
  await page.getByRole("button", { name: "Print" }).click();
  await expect(page.locator("html[data-printed]")).toBeAttached();
  await page.getByRole("button", { name: "I have saved them" }).click();

  // Listed, and verified already.
  const device = page.getByRole("listitem").filter({ hasText: "Ada's phone" });
  await expect(device).toContainText("10 backup codes left");
  await expect(page.getByRole("heading", { name: "Two-step verification is on" })).toBeVisible();
  await expect(page.locator(".status").getByText("You are verified until")).toBeVisible();

  // Verify, with either kind of code; a code that was used is not right again.
  await page.getByRole("button", { name: "Verify now" }).click();
  await enterCode(page, used, "Verify");
  await expect(page.getByRole("alert")).toContainText("Each code works once");
  await enterCode(page, phone.nextCode(), "Verify");
  await expect(page.getByRole("status")).toContainText("That was right.");
  await page.getByRole("button", { name: "Verify now" }).click();
  await page.getByRole("radio", { name: "Backup code" }).check();
  await page.getByRole("textbox", { name: "Backup code" }).fill(codes[0]!.toLowerCase().replaceAll("-", " "));
  await page.getByRole("button", { name: "Verify", exact: true }).click();
  await expect(device).toContainText("9 backup codes left");

  // New codes; the former ones no longer work.
  await page.getByRole("button", { name: "New backup codes for Ada's phone" }).click();
  await page.getByRole("button", { name: "Make new codes" }).click();
  await expect(page.getByRole("heading", { name: "Save your new backup codes" })).toBeVisible();
  const renewed = await shownCodes(page);
  expect(renewed.filter((code) => codes.includes(code))).toEqual([]);
  await page.getByRole("button", { name: "I have saved them" }).click();
  await expect(device).toContainText("10 backup codes left");
  const devices = await arklow.ask(token, "GET", "/v1/self/mfa/");
  const device_id = devices.body.data.items[0].id;
  for (const [code, valid] of [[codes[1], false], [codes[2], false], [renewed[0], true]] as const) {
    const answer = await arklow.ask(token, "POST", "/v1/self/mfa/verify/totp/backup", { device_id, code });
    expect(answer.body.data.valid).toBe(valid);
  }

  // And off again.
  await page.getByRole("button", { name: "Remove Ada's phone" }).click();
  await expect(page.getByText("It is your only device")).toBeVisible();
  await page.getByRole("radio", { name: "Backup code" }).check();
  await page.getByRole("textbox", { name: "Backup code" }).fill(codes[3]!);
  await page.getByRole("button", { name: "Remove", exact: true }).click();
  await expect(page.getByRole("alert")).toContainText("That code is not right.");
  await page.getByRole("textbox", { name: "Backup code" }).fill(renewed[1]!);
  await page.getByRole("button", { name: "Remove", exact: true }).click();
  await expect(page.getByRole("heading", { name: "Two-step verification is off" })).toBeVisible();
  await expect(device).toHaveCount(0);

  // Nothing is left lying about.
  const kept = await page.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie, location.href]);
  expect(kept).toEqual([0, 0, "", `${site}/`]);
  expect(await page.content()).not.toContain(renewed[2]);
  expect(await page.content()).not.toContain("arks_");
  expect(complaints).toEqual(NOTHING);
});

test("tells two devices of the same name apart", async ({ arklow, site, page }) => {
  const user = arklow.user("Ada");
  arklow.device(user, "Phone");
  arklow.device(user, "Phone");
  arklow.device(user, "phone 2");
  await signIn(page, site, arklow.session(user));
  await page.getByRole("button", { name: "Verify now" }).click();
  const choices = page.getByRole("dialog").getByLabel("Device").locator("option");
  await expect(choices).toHaveCount(3);
  const options = await choices.allTextContents();
  expect(options.filter((option) => /^Phone, added today at \d\d:\d\d$/.test(option))).toHaveLength(2);
  expect(options).toContain("phone 2");
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Add another authenticator app" }).click();
  await expect(page.getByLabel("Name of the device")).toHaveValue("Phone 3");
});

test("asks for a code when the service does, and goes on where it was", async ({ arklow, site, page, complaints }) => {
  const user = arklow.user("Ada");
  const phone = Phone.of(arklow.device(user, "Phone").uri);
  const tablet = Phone.of(arklow.device(user, "Tablet").uri);
  await signIn(page, site, arklow.session(user));
  const regenerate = page.getByRole("button", { name: "New backup codes for Phone" });
  await regenerate.click();
  await page.getByRole("button", { name: "Make new codes" }).click();
  await expect(page.getByRole("heading", { name: "Verify that it is you" })).toBeVisible();

  // Canceling returns to the page, and nothing has changed.
  await page.keyboard.press("Escape");
  await expect(page.getByRole("heading", { name: "Make new backup codes?" })).toBeVisible();
  await page.getByRole("button", { name: "Keep the old ones" }).click();
  await expect(regenerate).toBeFocused();

  await regenerate.click();
  await page.getByRole("button", { name: "Make new codes" }).click();
  await look(page, "security-page-step-up");
  await page.getByLabel("Device").selectOption("Tablet");
  await enterCode(page, phone.code(), "Verify");
  await expect(page.getByRole("alert")).toContainText("That code is not right.");
  await enterCode(page, tablet.code(), "Verify");
  await shownCodes(page);
  await page.getByRole("button", { name: "I have saved them" }).click();
  await expect(page.locator(".status").getByText("You are verified until")).toBeVisible();
  expect(complaints).toEqual(NOTHING);
});

test("can be used with the keyboard alone", async ({ arklow, site, page, complaints }) => {
  await page.goto(site);
  // No click from here on; the field has the focus already.
  await page.keyboard.type(arklow.session(arklow.user("Ada")));
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { name: "Account security" })).toBeFocused();
  await press(page, "Turn it on");
  await expect(page.getByLabel("Name of the device")).toBeFocused();
  await page.keyboard.press("ControlOrMeta+A");
  await page.keyboard.type("Key ring");
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { name: "Scan the code" })).toBeFocused();
  const phone = await Phone.scan(page.locator("img.qr"));
  await tabTo(page, page.getByLabel("Six-digit code"));
  await page.keyboard.type(phone.code());
  await page.keyboard.press("Enter");
  const codes = await shownCodes(page);
  await press(page, "I have saved them");
  await expect(page.getByRole("button", { name: "Remove Key ring" })).toBeVisible();

  // A dialog holds the focus, and gives it back.
  await press(page, "New backup codes for Key ring");
  for (let count = 0; count < 8; count++) {
    await page.keyboard.press("Tab");
    const isInside = await page.evaluate(
      () => document.activeElement === document.body || document.activeElement?.closest("dialog") !== null,
    );
    expect(isInside).toBe(true);
  }
  await page.keyboard.press("Escape");
  await expect(page.getByRole("button", { name: "New backup codes for Key ring" })).toBeFocused();

  await press(page, "Remove Key ring");
  await page.keyboard.press("Shift+Tab");
  await page.keyboard.press("ArrowRight");
  await tabTo(page, page.getByRole("textbox", { name: "Backup code" }));
  await page.keyboard.type(codes[0]!);
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { name: "Two-step verification is off" })).toBeVisible();
  // What had the focus is gone, so the page has it.
  await expect(page.getByRole("heading", { name: "Account security" })).toBeFocused();
  expect(complaints).toEqual(NOTHING);
});

test("prints the codes and nothing else", async ({ arklow, site, page }) => {
  const user = arklow.user("Ada");
  arklow.device(user, "Phone");
  await signIn(page, site, arklow.session(user, "--mfa-verified-for", "15m"));
  await page.getByRole("button", { name: "New backup codes for Phone" }).click();
  await page.getByRole("button", { name: "Make new codes" }).click();
  const codes = await shownCodes(page);
  await page.emulateMedia({ media: "print" });
  const text = await page.evaluate(() => document.body.innerText);
  for (const code of codes) {
    expect(text).toContain(code);
  }
  expect(text).toContain("Backup codes for Phone");
  for (const other of ["ada@example.com", "Account security", "Download", "I have saved them", "Two-step"]) {
    expect(text).not.toContain(other);
  }
  await picture(page, "security-page-print");
});

test("shows what is wrong, and when to try again", async ({ page }) => {
  const strict = await Arklow.start(["--lock-after", "2", "--lock-for", "10m"]);
  const { url: site, stop } = await serve(strict);
  await page.clock.install();
  try {
    const user = strict.user("Ada");
    const phone = Phone.of(strict.device(user, "Phone").uri);
    const token = strict.session(user);

    await page.goto(site);
    await page.getByLabel("Session token").fill(`${token.slice(0, -4)}aaaa`);
    await page.getByRole("button", { name: "Sign in" }).click();
    await expect(page.getByRole("alert")).toContainText("No session has this token");

    await signIn(page, site, token);
    await page.getByRole("button", { name: "Verify now" }).click();
    await page.getByRole("radio", { name: "Backup code" }).check();
    await page.getByRole("textbox", { name: "Backup code" }).fill("ABCD-EFGH");
    await page.getByRole("button", { name: "Verify", exact: true }).click();
    await expect(page.getByRole("alert")).toContainText("This cannot be a code");
    await page.getByRole("radio", { name: "Authenticator app" }).check();
    await enterCode(page, phone.wrongCode(), "Verify");
    await expect(page.getByRole("alert")).toContainText("That code is not right.");
    await enterCode(page, phone.wrongCode(), "Verify");
    await expect(page.getByRole("alert")).toContainText(/not right|Too many/);
    await enterCode(page, phone.code(), "Verify");
    await expect(page.getByRole("alert")).toContainText("Too many wrong codes in a row.");
    await expect(page.getByRole("timer")).toHaveText(/^Try again in (10:00|9:\d\d)\.$/);
    const verify = page.getByRole("button", { name: "Verify", exact: true });
    await expect(verify).toHaveAttribute("aria-disabled", "true");
    await look(page, "security-page-locked");
    await page.clock.fastForward("11:00");
    await expect(page.getByRole("alert")).toHaveText("You can try again now.");
    await expect(verify).toHaveAttribute("aria-disabled", "false");
    strict.run("user", "unlock", user);
    await enterCode(page, phone.code(), "Verify");
    await expect(page.locator(".status").getByText("You are verified until")).toBeVisible();

    // First no server answers, then another one does.
    await page.getByRole("button", { name: "Verify now" }).click();
    await page.context().setOffline(true);
    await enterCode(page, phone.code(), "Verify");
    await expect(page.getByRole("alert")).toContainText("The service cannot be reached.");
    await page.context().setOffline(false);
    await page.keyboard.press("Escape");

    // A session that ends is the end of what is open.
    await page.getByRole("button", { name: "Remove Phone" }).click();
    strict.run("user", "disable", user);
    await enterCode(page, phone.code(), "Remove");
    await expect(page.getByLabel("Session token")).toBeFocused();
    await expect(page.getByRole("dialog")).toHaveCount(0);
  } finally {
    stop();
    await strict.stop();
  }
});

for (const [name, colorScheme, width] of [
  ["light", "light", 1100],
  ["dark", "dark", 1100],
  ["mobile", "light", 360],
  ["mobile-dark", "dark", 360],
] as const) {
  test(`is accessible in every state: ${name}`, async ({ arklow, site, page }) => {
    await page.setViewportSize({ width, height: 800 });
    await page.emulateMedia({ colorScheme });
    const as = (state: string) => look(page, `security-page-${name}-${state}`);
    const user = arklow.user("Ada");
    const token = arklow.session(user);

    await page.goto(site);
    await expect(page.getByLabel("Session token")).toBeVisible();
    await as("01-sign-in");
    await signIn(page, site, token);
    await as("02-off");
    await page.getByRole("button", { name: "Turn it on" }).click();
    await as("03-name");
    await page.getByRole("button", { name: "Continue" }).click();
    const phone = await Phone.scan(page.locator("img.qr"));
    await as("04-scan");
    await page.getByText("Cannot scan it?").click();
    await enterCode(page, phone.wrongCode(), "Confirm");
    await expect(page.getByRole("alert")).toContainText("That code is not right.");
    await as("05-scan-wrong");
    await enterCode(page, phone.code(), "Confirm");
    await shownCodes(page);
    await as("06-codes");
    await page.getByRole("button", { name: "I have saved them" }).click();
    await expect(page.getByRole("button", { name: "Verify now" })).toBeVisible();
    arklow.device(user, "A tablet with a name that is as long as names may be, 64 letters");
    await page.getByRole("button", { name: "Add another authenticator app" }).click();
    await expect(page.getByLabel("Name of the device")).toHaveValue("Phone 2");
    await page.getByLabel("Name of the device").fill("Work phone");
    await page.getByRole("button", { name: "Continue" }).click();
    await expect(page.locator("img.qr")).toBeVisible();
    await page.keyboard.press("Escape");
    await expect(page.getByText("Setup not finished")).toBeVisible();
    await as("07-devices");
    await page.getByRole("button", { name: "Verify now" }).click();
    await as("08-verify");
    await page.getByRole("radio", { name: "Backup code" }).check();
    await as("09-verify-backup");
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "New backup codes for Phone" }).click();
    await as("10-regenerate");
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Remove Phone" }).click();
    await as("11-remove");
  });
}

/** Types a code of the app and sends it. */
async function enterCode(page: Page, code: string, button: string): Promise<void> {
  await page.getByLabel("Six-digit code").fill(code);
  await page.getByRole("button", { name: button, exact: true }).click();
}

/** Reaches a control with the tab key. */
async function tabTo(page: Page, target: Locator): Promise<void> {
  for (let count = 0; count < 30; count++) {
    if (await target.evaluate((element) => element === document.activeElement)) {
      return;
    }
    await page.keyboard.press("Tab");
  }
  throw new Error(`the tab key does not lead to ${target}`);
}

/** Reaches a button with the tab key and presses it. */
async function press(page: Page, name: string): Promise<void> {
  await tabTo(page, page.getByRole("button", { name, exact: true }));
  await page.keyboard.press("Enter");
}
