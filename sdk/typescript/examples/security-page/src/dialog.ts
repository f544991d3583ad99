// A modal dialog: its content, its errors, and its focus.

import { html, render, type TemplateResult } from "lit-html";
import { icon } from "./icons.js";
import { Declined, isSignedOut, isWaiting, type Problem, problemOf } from "./problem.js";

/** The event after which the user must sign in again. */
export const SIGNED_OUT = "signed-out";

export interface Dialog<Result> {
  readonly element: HTMLDialogElement;
  readonly isBusy: boolean;
  /** The error of the last try. */
  problem: Problem | undefined;
  /** The id of the element with the error. Each open dialog has its own. */
  readonly problemId: string;
  /** Whether Escape and the cross close it. */
  canClose: boolean;
  /** Renders the current state. */
  draw(): void;
  /** Runs `work`, and shows that it is running and how it failed. */
  run(work: () => Promise<void>): Promise<void>;
  close(result?: Result): void;
}

let opened = 0;

/** Opens a dialog. Resolves to the value that it was closed with, or to `undefined` if the user canceled it. */
export function open<Result>(
  title: string | ((dialog: Dialog<Result>) => string),
  view: (dialog: Dialog<Result>) => TemplateResult,
): Promise<Result | undefined> {
  const element = document.createElement("dialog");
  const titleId = `dialog-title-${(opened += 1)}`;
  let isBusy = false;
  let result: Result | undefined;

  const dialog: Dialog<Result> = {
    element,
    get isBusy() {
      return isBusy;
    },
    problem: undefined,
    problemId: `problem-${opened}`,
    canClose: true,
    draw,
    async run(work) {
      if (isBusy || isWaiting(dialog.problem)) {
        return;
      }
      isBusy = true;
      dialog.problem = undefined;
      draw();
      try {
        await work();
      } catch (error) {
        if (isSignedOut(error)) {
          element.close();
          window.dispatchEvent(new Event(SIGNED_OUT));
        } else if (!(error instanceof Declined)) {
          dialog.problem = problemOf(error);
        }
      }
      isBusy = false;
      draw();
      if (dialog.problem !== undefined) {
        element.querySelector<HTMLInputElement>("input[aria-invalid=true]")?.select();
        element.querySelector(".problem")?.scrollIntoView({ block: "nearest" });
      }
    },
    close(value) {
      result = value;
      element.close();
    },
  };

  function draw(): void {
    const heading = typeof title === "string" ? title : title(dialog);
    const close = html`<button type="button" class="icon" aria-label="Close" @click=${() => dialog.close()}>
      ${icon("cross")}
    </button>`;
    const contents = html`<div class="sheet" aria-busy=${isBusy}>
      <header>
        <h2 id=${titleId} tabindex="-1">${heading}</h2>
        ${dialog.canClose ? close : ""}
      </header>
      ${view(dialog)}
    </div>`;
    render(contents, element);
  }

  return new Promise((resolve) => {
    // Counts a displayed wait down.
    const ticking = setInterval(() => dialog.problem?.until !== undefined && draw(), 1000);
    element.setAttribute("aria-labelledby", titleId);
    element.addEventListener("cancel", (event) => {
      if (!dialog.canClose) {
        event.preventDefault();
      }
    });
    element.addEventListener("close", () => {
      clearInterval(ticking);
      // Removes its secrets from the page.
      element.remove();
      resolve(result);
    });
    document.body.append(element);
    draw();
    element.showModal();
  });
}
