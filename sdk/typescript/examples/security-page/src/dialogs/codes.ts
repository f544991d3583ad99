// Backup codes, which are shown this once.

import { html, type TemplateResult } from "lit-html";
import { announce } from "../announce.js";
import { icon } from "../icons.js";
import { open, type Dialog } from "../dialog.js";
import { day } from "../format.js";

/** Shows the new codes of a device until somebody says that they are saved. */
export async function showCodes(deviceName: string, codes: string[]): Promise<void> {
  await open<true>("Save your new backup codes", (dialog) => {
    // Escape must not close the dialog while the codes are not saved.
    dialog.canClose = false;
    return html`<p>The codes that you had for <strong>${deviceName}</strong> no longer work.</p>
      ${codesView(dialog, deviceName, codes, () => dialog.close(true))}`;
  });
}

export function codesView<Result>(
  { element: dialog }: Dialog<Result>,
  deviceName: string,
  codes: string[],
  done: () => void,
): TemplateResult {
  const say = (text: string) => announce(text, dialog.querySelector<HTMLElement>(".said"));
  const copy = () =>
    navigator.clipboard.writeText(codes.join("\n")).then(
      () => say("Copied. Paste them somewhere safe."),
      () => say("The browser does not allow copying. Select the codes, or download them."),
    );
  const download = () => {
    const text = `Backup codes for ${deviceName}, ${day(new Date())}\nEach works once, in place of a code of the app.\n\n`;
    const url = URL.createObjectURL(new Blob([text, codes.join("\n"), "\n"], { type: "text/plain" }));
    const link = Object.assign(document.createElement("a"), { href: url, download: "backup-codes.txt" });
    link.click();
    URL.revokeObjectURL(url);
    say("Downloaded as backup-codes.txt.");
  };
  return html`<p>
      When you do not have the device with you, each of these works once in place of a code of the app. Nobody can show
      them to you again.
    </p>
    <div class="printed">
      <h3 class="only-print">Backup codes for ${deviceName}</h3>
      <ol class="codes" aria-label="Backup codes" tabindex="0">
        ${codes.map((code) => html`<li><code>${code}</code></li>`)}
      </ol>
      <p class="only-print">Each code works once. Keep this page where you keep other documents.</p>
    </div>
    <div class="row">
      <button type="button" @click=${copy}>${icon("copy")}Copy</button>
      <button type="button" @click=${download}>${icon("download")}Download</button>
      <button type="button" @click=${() => window.print()}>${icon("print")}Print</button>
    </div>
    <footer>
      <p class="said" role="status"></p>
      <button type="button" class="primary" @click=${done}>I have saved them</button>
    </footer>`;
}
