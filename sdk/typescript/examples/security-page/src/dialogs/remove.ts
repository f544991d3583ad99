// Removing a device, with a code of it.

import type { DeviceRemoval, MfaDevice } from "@arklow/sdk";
import { html } from "lit-html";
import * as api from "../api.js";
import { WrongCode } from "../problem.js";
import { open } from "../dialog.js";
import { asking, codeForm } from "./code.js";

export function remove(device: MfaDevice, isLast: boolean): Promise<DeviceRemoval | undefined> {
  const state = asking([device], ["totp", "backup_code"]);
  return open<DeviceRemoval>(
    `Remove ${device.name}?`,
    (dialog) => html`<p>
        Its codes and its backup codes stop working at once.
        ${isLast ? html`<strong>It is your only device: your account will be protected by your password alone.</strong>` : ""}
      </p>
      <p>To show that it is yours, enter a code of it.</p>
      ${codeForm(dialog, state, {
        label: "Remove",
        isDangerous: true,
        async send({ kind, code }) {
          const removal = await api.remove(device.id, kind, code);
          if (!removal.removed) {
            throw new WrongCode();
          }
          dialog.close(removal);
        },
      })}`,
  );
}
