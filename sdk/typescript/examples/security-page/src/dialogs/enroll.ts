// Adding an authenticator app: a name, the QR code and a first code of the app, then the backup codes.

import type { Enrollment, MfaDevice } from "@arklow/sdk";
import { html, type TemplateResult } from "lit-html";
import { announce } from "../announce.js";
import * as api from "../api.js";
import { icon } from "../icons.js";
import { problemView, WrongCode } from "../problem.js";
import { open, type Dialog } from "../dialog.js";
import { freeName, grouped } from "../format.js";
import { asking, codeForm } from "./code.js";
import { codesView } from "./codes.js";

export interface Enrolled {
  device: MfaDevice;
  /** Until when the session counts as verified. */
  until: Date;
}

type Step = { at: "name" } | { at: "scan"; started: Enrollment } | { at: "codes"; enrolled: Enrolled; codes: string[] };

/** Adds a device to these; `withStepUp` does what may ask for a code of another one first. */
export function enroll(
  devices: MfaDevice[],
  withStepUp: <T>(work: () => Promise<T>) => Promise<T>,
): Promise<Enrolled | undefined> {
  const name = freeName(devices);
  let step: Step = { at: "name" };
  const go = (dialog: Dialog<Enrolled>, next: Step, focus: string) => {
    step = next;
    dialog.draw();
    dialog.element.querySelector<HTMLElement>(focus)?.focus();
  };
  const titles = { name: "Add an authenticator app", scan: "Scan the code", codes: "Save your backup codes" };

  return open<Enrolled>(
    () => titles[step.at],
    (dialog) => {
      switch (step.at) {
        case "name":
          return nameView(dialog, name, (name) =>
            dialog.run(async () => {
              const started = await withStepUp(() => api.startEnrollment(name));
              go(dialog, { at: "scan", started }, "h2");
            }),
          );
        case "scan": {
          const { started } = step;
          return scanView(dialog, started, async (code) => {
            const { device, session_mfa_not_after } = await withStepUp(() =>
              api.confirmEnrollment(started.device.id, code),
            );
            if (session_mfa_not_after === null) {
              throw new WrongCode();
            }
            const enrolled = { device, until: new Date(session_mfa_not_after) };
            // From here on Escape must not close the dialog: the codes are not saved yet.
            dialog.canClose = false;
            go(dialog, { at: "codes", enrolled, codes: started.backup_codes }, "h2");
          });
        }
        case "codes": {
          const { enrolled, codes } = step;
          return codesView(dialog, enrolled.device.name, codes, () => dialog.close(enrolled));
        }
      }
    },
  );
}

function nameView(
  dialog: Dialog<Enrolled>,
  suggested: string,
  send: (name: string) => Promise<void>,
): TemplateResult {
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const name = new FormData(event.currentTarget as HTMLFormElement).get("name");
    void send(String(name ?? "").trim());
  };
  return html`<p>
      You need an app that makes six-digit codes, such as Aegis, Google Authenticator, 1Password or the password manager
      of your phone.
    </p>
    <form @submit=${submit} autocomplete="off">
      <label class="field">
        <span>Name of the device</span>
        <input
          name="name"
          maxlength="64"
          required
          pattern=".*\\S.*"
          title="A name, so that you tell it from your other devices"
          autofocus
          value=${suggested}
          aria-invalid=${dialog.problem !== undefined}
          aria-describedby=${dialog.problemId}
        />
        <small>So that you tell it from your other devices.</small>
      </label>
      ${problemView(dialog.problem, dialog.problemId)}
      <footer><button type="submit" class="primary" aria-disabled=${dialog.isBusy}>Continue</button></footer>
    </form>`;
}

const confirming = new WeakMap<Enrollment, ReturnType<typeof asking>>();

function scanView(dialog: Dialog<Enrolled>, started: Enrollment, send: (code: string) => Promise<void>): TemplateResult {
  const state = confirming.get(started) ?? asking([started.device], ["totp"]);
  confirming.set(started, state);
  const secret = new URL(started.provisioning_uri).searchParams.get("secret") ?? "";
  const copy = () => {
    const said = dialog.element.querySelector<HTMLElement>(".said");
    navigator.clipboard.writeText(secret).then(
      () => announce("Key copied.", said),
      () => announce("The browser does not allow copying. Select the key.", said),
    );
  };
  return html`<div class="scan">
      <img class="qr" src=${started.qr_code} alt="QR code for the authenticator app; the key next to it is the same secret" />
      <div>
        <p>Scan this with the app. It then shows a code of six digits, a new one every half minute.</p>
        <p class="on-phone"><a href=${started.provisioning_uri}>Open the app on this device</a></p>
        <details>
          <summary>Cannot scan it?</summary>
          <p>Enter this key by hand, as a time-based one:</p>
          <p class="secret"><code>${grouped(secret)}</code></p>
          <div class="row">
            <button type="button" @click=${copy}>${icon("copy")}Copy key</button>
            <p class="said" role="status"></p>
          </div>
        </details>
      </div>
    </div>
    ${codeForm(dialog, state, { label: "Confirm", send: ({ code }) => send(code) })}`;
}
