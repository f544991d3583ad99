// The page: who is signed in, the devices, and what can be done with them.

import { ArklowError, type MfaDevice, type SelfUser } from "@arklow/sdk";
import { html, nothing, render, type TemplateResult } from "lit-html";
import { announce } from "./announce.js";
import * as api from "./api.js";
import { icon } from "./icons.js";
import { Declined, isSignedOut, type Problem, problemOf, problemView } from "./problem.js";
import { BY_PROXY } from "./session.js";
import { SIGNED_OUT } from "./dialog.js";
import { showCodes } from "./dialogs/codes.js";
import { enroll } from "./dialogs/enroll.js";
import { regenerate } from "./dialogs/regenerate.js";
import { remove } from "./dialogs/remove.js";
import { verify } from "./dialogs/verify.js";
import { clock, day, moment } from "./format.js";

/** What is known of the account since the page was opened. */
interface Known {
  user: SelfUser;
  devices: MfaDevice[];
  /** Until when the session counts as verified; the service tells only when that changes. */
  verifiedUntil?: Date | undefined;
  /** How many backup codes a device has left, where an answer contains it. */
  remaining: Map<string, number>;
}

/** Shows the account of the session; rejects if there is nothing to show. */
export async function showPage(root: HTMLElement): Promise<void> {
  const [user, devices] = await Promise.all([api.user(), api.devices()]);
  const known: Known = { user, devices, remaining: new Map() };
  let problem: Problem | undefined;
  let isOver = false;
  window.addEventListener(SIGNED_OUT, () => (isOver = true), { once: true });
  const draw = () => render(pageView(known, problem, actions), root);

  /** Does something that one of the buttons is for, and shows what has changed. */
  const act = (work: () => Promise<void>) => async () => {
    problem = undefined;
    try {
      await work();
      if (!isOver) {
        known.devices = await api.devices();
      }
    } catch (error) {
      if (isSignedOut(error)) {
        window.dispatchEvent(new Event(SIGNED_OUT));
      } else if (!(error instanceof Declined)) {
        problem = problemOf(error);
      }
    }
    if (!isOver) {
      draw();
      // What opened the dialog may be gone with a device: then the focus is nowhere.
      if (document.activeElement === document.body) {
        root.querySelector<HTMLElement>("h1")?.focus();
      }
    }
  };

  const askToVerify = async (reason: string) => {
    const [first, ...others] = confirmed(known.devices);
    const verified = first && (await verify([first, ...others], reason));
    if (verified === undefined) {
      throw new Declined();
    }
    known.verifiedUntil = verified.until;
    if (verified.remaining !== undefined) {
      known.remaining.set(verified.device.id, verified.remaining);
    }
    return verified;
  };

  /** Asks for a code if the service does, and tries once more. */
  const withStepUp = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof ArklowError && error.code === "MFA_REQUIRED")) {
        throw error;
      }
    }
    await askToVerify("This changes how your account is protected, so enter a code first.");
    return work();
  };

  const actions: Actions = {
    add: act(async () => {
      const enrolled = await enroll(known.devices, withStepUp);
      if (enrolled !== undefined) {
        known.verifiedUntil = enrolled.until;
        known.remaining.set(enrolled.device.id, 10);
        announce(`${enrolled.device.name} was added.`);
      }
    }),
    verify: act(async () => {
      const verified = await askToVerify("Enter a code once, and you are not asked again for a while.");
      announce(`That was right. You are verified until ${clock(verified.until)}.`);
    }),
    regenerate: (device) =>
      act(async () => {
        const result = await regenerate(device, withStepUp);
        if (result !== undefined) {
          known.verifiedUntil = new Date(result.session_mfa_not_after);
          known.remaining.set(device.id, result.backup_codes.length);
          await showCodes(device.name, result.backup_codes);
          announce(`${device.name} has new backup codes.`);
        }
      }),
    remove: (device) =>
      act(async () => {
        const removal = await remove(device, confirmed(known.devices).length === 1);
        if (removal !== undefined) {
          known.verifiedUntil = removal.two_factor_enabled ? known.verifiedUntil : undefined;
          announce(`${device.name} was removed.`);
        }
      }),
  };
  draw();
}

interface Actions {
  add: () => void;
  verify: () => void;
  regenerate: (device: MfaDevice) => () => void;
  remove: (device: MfaDevice) => () => void;
}

function confirmed(devices: MfaDevice[]): MfaDevice[] {
  return devices.filter((device) => device.confirmed_at !== null);
}

function pageView(known: Known, problem: Problem | undefined, actions: Actions): TemplateResult {
  const devices = confirmed(known.devices);
  return html`<header class="bar">
      <span class="mark">${icon("shield-check")}Arklow</span>
      <span class="who">${known.user.email}</span>
      ${BY_PROXY
        ? nothing
        : html`<button type="button" class="plain" @click=${() => window.dispatchEvent(new Event(SIGNED_OUT))}>Sign out</button>`}
    </header>
    <main>
      <h1 tabindex="-1">Account security</h1>
      ${statusView(known, devices, actions)} ${problemView(problem, "page-problem")}
      <section aria-labelledby="devices">
        <div class="heading">
          <h2 id="devices">Authenticator apps</h2>
          ${devices.length === 0
            ? nothing
            : html`<button type="button" aria-label="Add another authenticator app" @click=${actions.add}>
                ${icon("plus")}Add
              </button>`}
        </div>
        ${known.devices.length === 0
          ? html`<p class="empty">None yet.</p>`
          : html`<ul class="devices">
              ${known.devices.map((device) => deviceView(device, known.remaining.get(device.id), actions))}
            </ul>`}
      </section>
    </main>`;
}

function statusView(known: Known, devices: MfaDevice[], actions: Actions): TemplateResult {
  const until = known.verifiedUntil;
  if (devices.length === 0) {
    return html`<section class="status off" aria-labelledby="status">
      ${icon("shield")}
      <div>
        <h2 id="status">Two-step verification is off</h2>
        <p>Whoever knows your password can sign in as you. With an authenticator app they would need your phone, too.</p>
        <button type="button" class="primary" @click=${actions.add}>Turn it on</button>
      </div>
    </section>`;
  }
  return html`<section class="status on" aria-labelledby="status">
    ${icon("shield-check")}
    <div>
      <h2 id="status">Two-step verification is on</h2>
      <p>
        ${until !== undefined && until > new Date()
          ? html`You are verified until <time datetime=${until.toISOString()}>${clock(until)}</time>, and can make changes
              without another code.`
          : "Changes to your devices ask for a code first."}
      </p>
      <button type="button" @click=${actions.verify}>Verify now</button>
    </div>
  </section>`;
}

function deviceView(device: MfaDevice, remaining: number | undefined, actions: Actions): TemplateResult {
  if (device.confirmed_at === null) {
    return html`<li>
      ${icon("phone")}
      <div class="what">
        <h3>${device.name}</h3>
        <p><span class="chip unfinished">Setup not finished</span></p>
      </div>
      <div class="row"><button type="button" @click=${actions.add}>Start again</button></div>
    </li>`;
  }
  return html`<li>
    ${icon("phone")}
    <div class="what">
      <h3>${device.name}</h3>
      <p>
        <span>Added ${day(device.confirmed_at)}</span>
        ${device.last_used_at === null ? nothing : html`<span>Last used ${moment(device.last_used_at)}</span>`}
        ${remaining === undefined ? nothing : html`<span class="chip">${codesLeft(remaining)}</span>`}
      </p>
    </div>
    <div class="row">
      <button type="button" aria-label="New backup codes for ${device.name}" @click=${actions.regenerate(device)}>
        New backup codes
      </button>
      <button type="button" class="plain danger" aria-label="Remove ${device.name}" @click=${actions.remove(device)}>
        Remove
      </button>
    </div>
  </li>`;
}

function codesLeft(count: number): string {
  return count === 1 ? "1 backup code left" : `${count} backup codes left`;
}
