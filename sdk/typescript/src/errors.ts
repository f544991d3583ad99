// What goes wrong: answers of the service as types and as exceptions, and answers that are not of the service.

import type { ApiError, operations } from "./schema.js";

/**
 * The codes that this version knows. A newer service may send others: give a `switch` over codes a `default`, and treat
 * a code that you do not know by its status.
 */
export type ErrorCode = ApiError["code"];

/** The body of an answer from 400 upwards. */
export interface ErrorAnswer<Code extends ErrorCode = ErrorCode> {
  data: null;
  /** There is always one; a body that breaks the schema has one for each violation. */
  errors: [ErrorOf<Code>, ...ErrorOf<Code>[]];
}

/** One reason why a request was not carried out. */
export interface ErrorOf<Code extends ErrorCode = ErrorCode> extends ApiError {
  code: Code;
}

/**
 * The codes with which an operation answers, all of them or those of one status.
 *
 * @example
 * const texts: Record<ErrorCodeOf<"post_v1_self_mfa_enroll_confirm", 409>, string> = { … };
 */
export type ErrorCodeOf<
  Operation extends keyof operations,
  Status extends keyof operations[Operation]["responses"] = keyof operations[Operation]["responses"],
> = CodeIn<operations[Operation]["responses"][Status]>;

/** The codes in some of an operation's responses. */
export type CodeIn<Response> = Response extends { content: { "application/json": ErrorAnswer<infer Code> } }
  ? Code
  : never;

/** An answer from 400 upwards, as `unwrap` throws it. */
export class ArklowError extends Error {
  override readonly name = "ArklowError";
  readonly status: number;
  /** The code of the first error; mostly there is no other. */
  readonly code: ErrorCode;
  readonly errors: ErrorAnswer["errors"];
  /** After how many seconds it is worth trying again, if the service says so. */
  readonly retryAfter: number | undefined;
  /** Finds the request in the service's log. */
  readonly requestId: string | undefined;

  constructor({ errors }: ErrorAnswer, response: Response) {
    super(`${response.status} ${errors[0].code}: ${errors[0].message}`);
    this.status = response.status;
    this.code = errors[0].code;
    this.errors = errors;
    this.retryAfter = retryAfter(response);
    this.requestId = response.headers.get("x-request-id") ?? undefined;
  }
}

/** Something answered that is not Arklow: a proxy, another service, a redirect, which is not followed. */
export class UnexpectedAnswerError extends Error {
  override readonly name = "UnexpectedAnswerError";
  readonly response: Response;

  constructor(response: Response) {
    const kind = response.headers.get("content-type") ?? "no content type";
    const what = response.type === "opaqueredirect" ? "a redirect" : `${response.status} with ${kind}`;
    super(`${what} is not an answer of Arklow; look at \`baseUrl\` and at what stands between`);
    this.response = response;
  }
}

/** After how many seconds it is worth trying again; `undefined` if the answer does not say so. */
export function retryAfter(response: Response): number | undefined {
  const value = response.headers.get("retry-after");
  return value !== null && /^\d+$/.test(value) ? Number(value) : undefined;
}
