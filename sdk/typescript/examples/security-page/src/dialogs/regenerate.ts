// New backup codes in the place of all that a device has.

import type { MfaDevice, RegenerateTotpResult } from "@arklow/sdk";
import { html } from "lit-html";
import * as api from "../api.js";
import { isWaiting, problemView } from "../problem.js";
import { open } from "../dialog.js";

export function regenerate(
  device: MfaDevice,
  withStepUp: <T>(work: () => Promise<T>) => Promise<T>,
): Promise<RegenerateTotpResult | undefined> {
  return open<RegenerateTotpResult>("Make new backup codes?", (dialog) => {
    const send = () => dialog.run(async () => dialog.close(await withStepUp(() => api.regenerate(device.id))));
    return html`<p>
        You get ten new codes for <strong>${device.name}</strong>. Every backup code that you have for it stops working at
        that moment.
      </p>
      ${problemView(dialog.problem, dialog.problemId)}
      <footer>
        <button type="button" @click=${() => dialog.close()}>Keep the old ones</button>
        <button
          type="button"
          class="primary"
          autofocus
          aria-disabled=${dialog.isBusy || isWaiting(dialog.problem)}
          @click=${send}
        >
          Make new codes
        </button>
      </footer>`;
  });
}
