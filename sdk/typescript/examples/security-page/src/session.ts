// Whose session it is. The one file that another sign-in replaces.

let token: string | undefined;

/** Whether a proxy adds the token, so that the page has none: `VITE_SESSION=proxy` when it is built. */
export const BY_PROXY = import.meta.env["VITE_SESSION"] === "proxy";

/** For the SDK, which asks before each request. */
export function currentToken(): string | undefined {
  return token;
}

/** Keeps a token in memory and nowhere else: closing or reloading the page forgets it. */
export function begin(entered: string): void {
  token = entered;
}

export function end(): void {
  token = undefined;
}
