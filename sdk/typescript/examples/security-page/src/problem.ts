// What went wrong, in words for the person in front of the page.

import { ArklowError, type ErrorCode, UnexpectedAnswerError } from "@arklow/sdk";
import { html, nothing, type TemplateResult } from "lit-html";
import { duration } from "./format.js";

export interface Problem {
  text: string;
  /** When it is worth trying again, if the service says so. */
  until?: Date | undefined;
  /** What finds the request in the service's log. */
  requestId?: string | undefined;
}

/** A code that was checked and is not right: an answer of the service, not an error. */
export class WrongCode extends Error {}

/** Somebody closed the dialog that asked for a code. */
export class Declined extends Error {}

/** Words for every code that the service has; the compiler misses one that is new. */
const WORDS: Record<ErrorCode, string> = {
  INVALID_REQUEST: "The service did not accept what was entered.",
  MALFORMED_CODE: "This cannot be a code: check its length and for typing errors. It did not count as an attempt.",
  UNAUTHENTICATED: "Your session has ended. Sign in again.",
  MFA_REQUIRED: "Verify with a code first.",
  DEVICE_NOT_FOUND: "This device is no longer there. It may have been removed somewhere else.",
  METHOD_NOT_ALLOWED: "The page and the service do not fit together. Reload the page.",
  REQUEST_TIMEOUT: "The connection is too slow: the request did not arrive in time. Try again.",
  DEVICE_NOT_CONFIRMED: "The setup of this device was never finished.",
  DEVICE_ALREADY_CONFIRMED: "This device is set up already.",
  ENROLLMENT_EXPIRED: "The setup took too long and has expired. Close this and start again.",
  TOO_MANY_DEVICES: "You have as many devices as are allowed. Remove one first.",
  PAYLOAD_TOO_LARGE: "What was entered is too long.",
  UNSUPPORTED_MEDIA_TYPE: "The page and the service do not fit together. Reload the page.",
  RATE_LIMITED: "That was too often.",
  TOO_MANY_FAILURES: "Too many wrong codes in a row. All your codes are locked for a while.",
  FACTOR_LOCKED:
    "This way to verify is locked after a hundred wrong codes. Use another device or the other kind of code, or ask support.",
  INTERNAL: "The service failed. Try again; if it goes on, tell support the number below.",
  UNAVAILABLE: "The service cannot answer right now, and whether anything was changed may not be known.",
  DEADLINE_EXCEEDED: "The answer took too long. Whether anything was changed is not known: reload the page to see.",
};

/** Whether nobody is signed in any more, be it the service that says so or the ingress before it. */
export function isSignedOut(error: unknown): boolean {
  return (
    (error instanceof ArklowError && error.status === 401) ||
    (error instanceof UnexpectedAnswerError && error.response.status === 401)
  );
}

export function problemOf(error: unknown): Problem {
  if (isSignedOut(error)) {
    return { text: WORDS.UNAUTHENTICATED };
  }
  if (error instanceof WrongCode) {
    return { text: "That code is not right. Each code works once: wait for the next one, or check what you typed." };
  }
  if (error instanceof ArklowError) {
    // A newer service may have codes that this page does not know.
    const known: string | undefined = WORDS[error.code];
    const seconds = error.retryAfter;
    return {
      text: known ?? `The service said no (${error.status}).`,
      until: seconds === undefined ? undefined : new Date(Date.now() + seconds * 1000),
      requestId: error.status === 500 ? error.requestId : undefined,
    };
  }
  if (error instanceof UnexpectedAnswerError) {
    return { text: "Something between this page and the service answered in its place. Try again later." };
  }
  if (error instanceof TypeError) {
    return { text: "The service cannot be reached. Check your connection and try again." };
  }
  throw error;
}

export function isWaiting(problem: Problem | undefined): boolean {
  return problem?.until !== undefined && problem.until > new Date();
}

/** The problem, and how long is left, which is not read out every second. */
export function problemView(problem: Problem | undefined, id: string): TemplateResult {
  return html`<div class="problem" id=${id} role="alert">
    ${problem === undefined
      ? nothing
      : html`<p>
          ${problem.until === undefined || isWaiting(problem) ? problem.text : "You can try again now."}
          ${problem.until !== undefined && isWaiting(problem)
            ? html`<span class="wait" role="timer">Try again in ${duration(problem.until)}.</span>`
            : nothing}
          ${problem.requestId === undefined ? nothing : html`<span class="number">${problem.requestId}</span>`}
        </p>`}
  </div>`;
}
