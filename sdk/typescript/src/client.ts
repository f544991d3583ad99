// A client over openapi-fetch that authenticates, and answers in the types of the contract or not at all.
//
// The types of a call are ours: openapi-fetch's accept misspelt keys of a body and forget that `errors` has a first item.

import createFetchClient, {
  type ClientOptions as FetchClientOptions,
  defaultPathSerializer,
  type HeadersOptions,
  type Middleware,
  type ParamsOption,
} from "openapi-fetch";

import { ArklowError, type CodeIn, type ErrorAnswer, type ErrorCode, UnexpectedAnswerError } from "./errors.js";
import type { paths } from "./schema.js";

/** A session token, or what gives it, before each request. Without a value the request goes without, say to a proxy that adds it. */
export type Token = string | (() => string | undefined | Promise<string | undefined>);

/** Beside these, what `fetch` takes for all requests, such as `credentials`; `fetch` itself can be replaced, too. */
export interface ClientOptions
  extends Omit<FetchClientOptions, "baseUrl" | "bodySerializer" | "pathSerializer" | "querySerializer"> {
  /** Where the service is, such as `https://api.arklow.io`; `""` for the origin of the page. */
  baseUrl: string;
  token?: Token | undefined;
}

/** A method for each HTTP method of the contract, and openapi-fetch's middleware. */
export interface Client {
  GET: Method<"get">;
  POST: Method<"post">;
  DELETE: Method<"delete">;
  use(...middleware: Middleware[]): void;
  eject(...middleware: Middleware[]): void;
}

/** Sends a request; rejects if there is no answer of the service, as `fetch` does. */
export type Method<Name extends string> = <Path extends PathWith<Name>>(
  path: Path,
  ...options: {} extends CallOptions<paths[Path][Name & keyof paths[Path]]>
    ? [options?: CallOptions<paths[Path][Name & keyof paths[Path]]>]
    : [options: CallOptions<paths[Path][Name & keyof paths[Path]]>]
) => Promise<AnswerOf<paths[Path][Name & keyof paths[Path]]>>;

/** The paths that have a method. */
export type PathWith<Name extends string> = {
  [Path in keyof paths]: paths[Path] extends { [_ in Name]: object } ? Path : never;
}[keyof paths];

/** What an operation takes, and what `fetch` does. */
export type CallOptions<Operation> = ParamsOption<Operation> &
  BodyOption<Operation> &
  Omit<RequestInit, "body" | "headers" | "method"> & { headers?: HeadersOptions };

type BodyOption<Operation> = Operation extends { requestBody: { content: { "application/json": infer Body } } }
  ? { body: Body }
  : { body?: never };

/** Either `data` or `error`. */
export type Answer<Data, Code extends ErrorCode = ErrorCode> =
  | { data: Data; error?: never; response: Response }
  | { data?: never; error: ErrorAnswer<Code>; response: Response };

/** The answers of an operation. */
export type AnswerOf<Operation> = Operation extends { responses: infer Responses }
  ? Answer<
      Responses extends { 200: { content: { "application/json": infer Data } } } ? Data : never,
      CodeIn<Responses[keyof Responses]>
    >
  : never;

/**
 * A client of the service at `baseUrl`, for the session with this token.
 *
 * @example
 * const api = createClient({ baseUrl: "https://api.arklow.io", token: () => session.token });
 * const { data, error } = await api.GET("/v1/self/mfa/", { params: { query: { take: 10 } } });
 */
export function createClient({ token, ...options }: ClientOptions): Client {
  // A redirect would send the token to another server.
  const client = createFetchClient<paths>({ redirect: "manual", ...options, pathSerializer: serializePath });
  client.use(authenticate(token), refuseForeignAnswers);
  return client as unknown as Client;
}

/**
 * What is in the envelope of a success; throws an `ArklowError` for any other answer. For those who prefer exceptions, and
 * libraries that do.
 *
 * @example
 * const { backup_codes } = await unwrap(api.POST("/v1/self/mfa/regenerate/totp", { body: { device_id } }));
 */
export async function unwrap<Data>(answer: PromiseLike<Answer<{ data: Data | null }>>): Promise<Data> {
  const { data, error, response } = await answer;
  if (error) {
    throw new ArklowError(error, response);
  }
  if (data.data === null) {
    throw new UnexpectedAnswerError(response);
  }
  return data.data;
}

/** Writes values into a path; throws for those that the URL parser of `fetch` takes for another path, so nothing is sent. */
function serializePath(path: string, values: Record<string, unknown>): string {
  for (const [, name] of path.matchAll(/\{([^{}]+)\}/g)) {
    const text = String(values[name!] ?? "");
    if (["", ".", ".."].includes(text) || text.includes("\\")) {
      throw new TypeError(`the path variable \`${name}\` is missing, empty, \`.\` or \`..\`, or contains a backslash`);
    }
  }
  return defaultPathSerializer(path, values);
}

function authenticate(token: Token | undefined): Middleware {
  return {
    async onRequest({ request }) {
      const value = typeof token === "function" ? await token() : token;
      if (value === undefined) {
        return;
      }
      if (!/^[\x21-\x7e]+$/.test(value)) {
        // `Headers` would quote it.
        throw new TypeError("the token is empty or has characters that no token has");
      }
      request.headers.set("x-arklow-auth", value);
    },
  };
}

const refuseForeignAnswers: Middleware = {
  async onResponse({ response }) {
    const isJson = response.headers.get("content-type")?.startsWith("application/json") ?? false;
    if (!isJson || !(response.ok || (await hasErrors(response.clone())))) {
      throw new UnexpectedAnswerError(response);
    }
  },
};

async function hasErrors(response: Response): Promise<boolean> {
  const body: unknown = await response.json().catch(() => undefined);
  return typeof (body as Partial<ErrorAnswer> | undefined | null)?.errors?.[0]?.code === "string";
}
