// New backup codes in the place of all that a device has.

import type { MfaDevice, RegenerateTotpResult } from "@arklow/sdk";
import { html } from "lit-html";
import * as api from "../api.js";
import { isWaiting, problemView } from "../problem.js";
import { open } from "../sheet.js";

export function regenerate(
  device: MfaDevice,
  withStepUp: <T>(work: () => Promise<T>) => Promise<T>,
): Promise<RegenerateTotpResult | undefined> {
  return open<RegenerateTotpResult>("Make new backup codes?", (sheet) => {
    const send = () => sheet.run(async () => sheet.close(await withStepUp(() => api.regenerate(device.id))));
    return html`<p>
        You get ten new codes for <strong>${device.name}</strong>. Every backup code that you have for it stops working at
        that moment.
      </p>
      ${problemView(sheet.problem, sheet.problemId)}
      <footer>
        <button type="button" @click=${() => sheet.close()}>Keep the old ones</button>
        <button
          type="button"
          class="primary"
          autofocus
          aria-disabled=${sheet.isBusy || isWaiting(sheet.problem)}
          @click=${send}
        >
          Make new codes
        </button>
      </footer>`;
  });
}
