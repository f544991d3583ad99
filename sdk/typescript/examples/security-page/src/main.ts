// From a session to the page, and back when the session ends.

import { html, nothing, render } from "lit-html";
import { icon } from "./icons.js";
import { isSignedOut, type Problem, problemOf, problemView } from "./problem.js";
import { showPage } from "./page.js";
import * as session from "./session.js";
import { SIGNED_OUT } from "./dialog.js";

const root = document.getElementById("app")!;

async function start(): Promise<void> {
  if (session.BY_PROXY) {
    await showPage(root).catch((error: unknown) => signIn(problemOf(error)));
  } else {
    signIn();
  }
}

/** Asks for a token, as nothing but a demonstration would: see the README for what a real application does. */
function signIn(problem?: Problem): void {
  let isBusy = false;
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const token = new FormData(event.currentTarget as HTMLFormElement).get("token");
    if (isBusy) {
      return;
    }
    isBusy = true;
    session.begin(String(token ?? "").trim());
    try {
      await showPage(root);
      document.querySelector<HTMLElement>("h1")?.focus();
    } catch (error) {
      session.end();
      signIn(isSignedOut(error) ? { text: "No session has this token, or it has ended." } : problemOf(error));
    }
    isBusy = false;
  };
  const view = html`<main class="sign-in">
    <div class="card">
      ${icon("shield-check")}
      <h1>Account security</h1>
      ${session.BY_PROXY
        ? html`${problemView(problem, "problem")}<a class="button" href="/">Sign in again</a>`
        : html`<p>This demonstration takes a session token in place of a password. <code>arklow dev</code> prints one.</p>
            <form @submit=${submit} autocomplete="off">
              <label class="field">
                <span>Session token</span>
                <input
                  name="token"
                  type="password"
                  autocomplete="off"
                  pattern="\\s*arks_[a-z0-9]+\\s*"
                  title="A token, which begins with arks_"
                  required
                  autofocus
                  aria-invalid=${problem !== undefined}
                  aria-describedby="problem"
                />
              </label>
              ${problemView(problem, "problem")}
              <footer><button type="submit" class="primary">Sign in</button></footer>
            </form>`}
    </div>
  </main>`;
  // Nothing of what stood there stays, least of all a token in a field.
  render(nothing, root);
  render(view, root);
  root.querySelector<HTMLElement>("input, a")?.focus();
}

window.addEventListener(SIGNED_OUT, () => {
  session.end();
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.close();
  }
  signIn(session.BY_PROXY ? { text: "Your session has ended." } : undefined);
});

void start();
