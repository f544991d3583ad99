// Asking for a code: which device it is of, which kind it is, and the field it is typed into.

import type { MfaDevice, VerificationType } from "@arklow/sdk";
import { html, nothing, type TemplateResult } from "lit-html";
import { isWaiting, problemView } from "../problem.js";
import type { Dialog } from "../dialog.js";
import { label } from "../format.js";

/** What was entered. */
export interface Entered {
  device: MfaDevice;
  kind: VerificationType;
  code: string;
}

/** What a dialog that asks for a code remembers between two drawings. */
export interface Asking {
  /** Of which of these; the first at first. */
  devices: MfaDevice[];
  device: MfaDevice;
  kind: VerificationType;
  /** Whether a backup code will do. */
  kinds: VerificationType[];
}

export function asking(devices: [MfaDevice, ...MfaDevice[]], kinds: VerificationType[]): Asking {
  return { devices, device: devices[0], kind: kinds[0]!, kinds };
}

/** A form that asks for a code and hands it on. */
export function codeForm<Result>(
  dialog: Dialog<Result>,
  state: Asking,
  action: { label: string; isDangerous?: boolean; send: (entered: Entered) => Promise<void> },
): TemplateResult {
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    const code = String(new FormData(form).get("code") ?? "").trim();
    void dialog.run(() => action.send({ device: state.device, kind: state.kind, code }));
  };
  const choose = (kind: VerificationType) => () => {
    state.kind = kind;
    dialog.problem = undefined;
    dialog.draw();
  };
  const pick = (event: Event) => {
    const id = (event.currentTarget as HTMLSelectElement).value;
    state.device = state.devices.find((device) => device.id === id) ?? state.device;
  };
  const isWrong = dialog.problem !== undefined;
  const waits = isWaiting(dialog.problem);
  return html`<form @submit=${submit} autocomplete="off">
    ${state.devices.length === 1
      ? nothing
      : html`<label class="field">
          <span>Device</span>
          <select name="device" @change=${pick}>
            ${state.devices.map((device) => html`<option value=${device.id} ?selected=${device === state.device}>${label(device, state.devices)}</option>`)}
          </select>
        </label>`}
    ${state.kinds.length === 1
      ? nothing
      : html`<fieldset class="switch">
          <legend class="unseen">Kind of code</legend>
          ${state.kinds.map(
            (kind) => html`<label>
              <input type="radio" name="kind" value=${kind} .checked=${kind === state.kind} @change=${choose(kind)} />
              <span>${kind === "totp" ? "Authenticator app" : "Backup code"}</span>
            </label>`,
          )}
        </fieldset>`}
    ${state.kind === "totp" ? totpField(isWrong, dialog.problemId) : backupField(isWrong, dialog.problemId)}
    ${problemView(dialog.problem, dialog.problemId)}
    <footer>
      <button type="submit" class=${action.isDangerous ? "danger" : "primary"} aria-disabled=${dialog.isBusy || waits}>
        ${action.label}
      </button>
    </footer>
  </form>`;
}

function totpField(isWrong: boolean, problemId: string): TemplateResult {
  return html`<label class="field">
    <span>Six-digit code</span>
    <input
      class="code"
      name="code"
      inputmode="numeric"
      autocomplete="one-time-code"
      pattern="[0-9\\s\\-]{6,12}"
      title="The six digits that your authenticator app shows"
      maxlength="12"
      required
      autofocus
      aria-invalid=${isWrong}
      aria-describedby=${problemId}
    />
  </label>`;
}

function backupField(isWrong: boolean, problemId: string): TemplateResult {
  return html`<label class="field">
    <span>Backup code</span>
    <input
      class="code long"
      name="code"
      autocomplete="off"
      autocapitalize="characters"
      spellcheck="false"
      maxlength="64"
      placeholder="XXXX-XXXX-XXXX-XXXX-XXXX-XXXX"
      required
      autofocus
      aria-invalid=${isWrong}
      aria-describedby=${problemId}
    />
    <small>Spaces, dashes and capitals do not matter. It works once.</small>
  </label>`;
}
