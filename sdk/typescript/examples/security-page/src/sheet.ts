// A dialog that asks for something: what it shows, what goes wrong, and where the focus goes.

import { html, render, type TemplateResult } from "lit-html";
import { icon } from "./icons.js";
import { Declined, isSignedOut, isWaiting, type Problem, problemOf } from "./problem.js";

/** Somebody has to sign in again. */
export const SIGNED_OUT = "signed-out";

export interface Sheet<Result> {
  readonly dialog: HTMLDialogElement;
  readonly isBusy: boolean;
  /** What went wrong the last time. */
  problem: Problem | undefined;
  /** The id of the element that says so: one dialog may lie on another. */
  readonly problemId: string;
  /** Whether Escape and the cross close it. */
  canClose: boolean;
  /** Shows what has changed. */
  draw(): void;
  /** Does something, showing that it is at work and what goes wrong. */
  run(work: () => Promise<void>): Promise<void>;
  close(result?: Result): void;
}

let opened = 0;

/** Opens a dialog; gives what it was closed with, or nothing if it was given up. */
export function open<Result>(
  title: string | ((sheet: Sheet<Result>) => string),
  view: (sheet: Sheet<Result>) => TemplateResult,
): Promise<Result | undefined> {
  const dialog = document.createElement("dialog");
  const titleId = `sheet-title-${(opened += 1)}`;
  let isBusy = false;
  let result: Result | undefined;

  const sheet: Sheet<Result> = {
    dialog,
    get isBusy() {
      return isBusy;
    },
    problem: undefined,
    problemId: `problem-${opened}`,
    canClose: true,
    draw,
    async run(work) {
      if (isBusy || isWaiting(sheet.problem)) {
        return;
      }
      isBusy = true;
      sheet.problem = undefined;
      draw();
      try {
        await work();
      } catch (error) {
        if (isSignedOut(error)) {
          dialog.close();
          window.dispatchEvent(new Event(SIGNED_OUT));
        } else if (!(error instanceof Declined)) {
          sheet.problem = problemOf(error);
        }
      }
      isBusy = false;
      draw();
      if (sheet.problem !== undefined) {
        dialog.querySelector<HTMLInputElement>("input[aria-invalid=true]")?.select();
        dialog.querySelector(".problem")?.scrollIntoView({ block: "nearest" });
      }
    },
    close(value) {
      result = value;
      dialog.close();
    },
  };

  function draw(): void {
    const heading = typeof title === "string" ? title : title(sheet);
    const close = html`<button type="button" class="icon" aria-label="Close" @click=${() => sheet.close()}>
      ${icon("cross")}
    </button>`;
    const contents = html`<div class="sheet" aria-busy=${isBusy}>
      <header>
        <h2 id=${titleId} tabindex="-1">${heading}</h2>
        ${sheet.canClose ? close : ""}
      </header>
      ${view(sheet)}
    </div>`;
    render(contents, dialog);
  }

  return new Promise((resolve) => {
    // So that a wait that is shown goes down.
    const ticking = setInterval(() => sheet.problem?.until !== undefined && draw(), 1000);
    dialog.setAttribute("aria-labelledby", titleId);
    dialog.addEventListener("cancel", (event) => {
      if (!sheet.canClose) {
        event.preventDefault();
      }
    });
    dialog.addEventListener("close", () => {
      clearInterval(ticking);
      // Its secrets go with it.
      dialog.remove();
      resolve(result);
    });
    document.body.append(dialog);
    draw();
    dialog.showModal();
  });
}
