// Verifying with a code, so that the service knows for a while that it is really you.

import type { MfaDevice } from "@arklow/sdk";
import { html } from "lit-html";
import * as api from "../api.js";
import { WrongCode } from "../problem.js";
import { open } from "../dialog.js";
import { asking, codeForm } from "./code.js";

export interface Verified {
  device: MfaDevice;
  /** Until when the session counts as verified. */
  until: Date;
  /** How many backup codes are left, if one was used. */
  remaining?: number;
}

/** Asks for a code of one of these devices; nothing if somebody does not want to. */
export function verify(devices: [MfaDevice, ...MfaDevice[]], reason: string): Promise<Verified | undefined> {
  const state = asking(devices, ["totp", "backup_code"]);
  return open<Verified>(
    "Verify that it is you",
    (dialog) => html`<p>${reason}</p>
      ${codeForm(dialog, state, {
        label: "Verify",
        async send({ device, kind, code }) {
          if (kind === "totp") {
            const answer = await api.verifyTotp(device.id, code);
            dialog.close({ device, until: right(answer.session_mfa_not_after) });
          } else {
            const answer = await api.verifyBackupCode(device.id, code);
            const until = right(answer.session_mfa_not_after);
            dialog.close({ device, until, remaining: answer.backup_codes_remaining ?? 0 });
          }
        },
      })}`,
  );
}

/** A session is verified until some time if the code was right, and only then. */
function right(until: string | null): Date {
  if (until === null) {
    throw new WrongCode();
  }
  return new Date(until);
}
