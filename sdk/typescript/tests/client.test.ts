// The client itself: who it says is calling, and what it makes of answers that are not of the service.

import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";

import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { ArklowError, createClient, retryAfter, type Token, UnexpectedAnswerError, unwrap } from "../src/index.js";
import { App, Arklow } from "./arklow.js";
import { contract } from "./contract.js";

let arklow: Arklow;
beforeAll(async () => {
  arklow = await Arklow.serve();
});
afterAll(() => arklow.stop());

const others: Server[] = [];
afterEach(() => {
  for (const server of others.splice(0)) {
    server.close();
    server.closeAllConnections();
  }
});

/** Something that is not Arklow. */
async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  others.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** A client that hears this answer. */
function hearing(body: string | null, init: ResponseInit, type = "application/json") {
  const headers = { "content-type": type, ...init.headers };
  return createClient({ baseUrl: "http://arklow.test", fetch: async () => new Response(body, { ...init, headers }) });
}

test("a person goes from nothing to a second factor and back", async () => {
  const token = await arklow.session(await arklow.user());
  const api = createClient({ baseUrl: arklow.baseUrl, token });
  expect((await unwrap(api.GET("/v1/self/mfa/"))).count).toBe(0);

  const started = await unwrap(api.POST("/v1/self/mfa/enroll/start", { body: { name: "Phone" } }));
  const device_id = started.device.id;
  expect(started.device).toMatchObject({ name: "Phone", device_type: "totp", confirmed_at: null });
  expect(started.qr_code).toMatch(/^data:image\/png;base64,/);
  const app = new App(started.provisioning_uri);

  const wrong = await unwrap(api.POST("/v1/self/mfa/enroll/confirm", { body: { device_id, code: app.wrongCode() } }));
  expect(wrong.session_mfa_not_after).toBeNull();
  const confirmed = await unwrap(api.POST("/v1/self/mfa/enroll/confirm", { body: { device_id, code: app.code() } }));
  expect(Date.parse(confirmed.session_mfa_not_after!)).toBeGreaterThan(Date.now());

  const verified = await unwrap(api.POST("/v1/self/mfa/verify/totp", { body: { device_id, code: app.nextCode() } }));
  expect(verified).toMatchObject({ valid: true, device_id, verification_type: "totp" });

  const { backup_codes } = await unwrap(api.POST("/v1/self/mfa/regenerate/totp", { body: { device_id } }));
  expect(new Set(backup_codes).size).toBe(10);
  const redeem = (code: string) =>
    unwrap(api.POST("/v1/self/mfa/verify/totp/backup", { body: { device_id, code } }));
  expect(await redeem(started.backup_codes[0]!)).toMatchObject({ valid: false, backup_codes_remaining: null });
  expect(await redeem(backup_codes[0]!)).toMatchObject({ valid: true, backup_codes_remaining: 9 });

  const listed = await unwrap(api.GET("/v1/self/mfa/", { params: { query: { take: 1 } } }));
  expect(listed.items.map(({ id }) => id)).toEqual([device_id]);
  const removed = await unwrap(
    api.DELETE("/v1/self/mfa/remove", { body: { device_id, verification_type: "backup_code", code: backup_codes[1]! } }),
  );
  expect(removed).toMatchObject({ removed: true, two_factor_enabled: false });
});

test.each<[string, (token: string) => Token]>([
  ["text", (token) => token],
  ["a function", (token) => () => token],
  ["a function that takes its time", (token) => async () => token],
])("the token is %s", async (_, given) => {
  const token = await arklow.session(await arklow.user());
  const { data } = await createClient({ baseUrl: arklow.baseUrl, token: given(token) }).GET("/v1/self/");
  expect(data?.data?.email).toMatch(/@example\.com$/);
});

test("a token function is called before each request", async () => {
  const tokens = [await arklow.session(await arklow.user()), "arks_gone"];
  const api = createClient({ baseUrl: `${arklow.baseUrl}/`, token: () => tokens.shift() });
  expect((await api.GET("/v1/self/")).response.status).toBe(200);
  expect((await api.GET("/v1/self/")).response.status).toBe(401);
  expect((await api.GET("/v1/self/")).error?.errors[0].code).toBe("UNAUTHENTICATED");
});

test("the token goes into the header that the contract names, and without a token nothing does", async () => {
  const headers: (string | null)[] = [];
  const fetch = async (request: Request) => {
    headers.push(request.headers.get(contract.components.securitySchemes.apiKey.name));
    return Response.json({ data: {}, errors: null });
  };
  await createClient({ baseUrl: "http://arklow.test", fetch, token: "arks_1" }).GET("/v1/self/");
  await createClient({ baseUrl: "http://arklow.test", fetch }).GET("/v1/self/");
  await createClient({ baseUrl: "http://arklow.test", fetch, token: () => undefined }).GET("/v1/self/");
  expect(headers).toEqual(["arks_1", null, null]);
});

test.each(["", "arks_secret\narks_secret", "arks_ünlike"])("a token that none is, %j, is refused and not quoted", async (token) => {
  const sent = createClient({ baseUrl: arklow.baseUrl, token }).GET("/v1/self/");
  const reason = await sent.catch((reason) => reason);
  expect(reason).toBeInstanceOf(TypeError);
  expect(`${reason.message}`).toMatch(/the token is empty or has characters/);
  expect(`${reason.message}${reason.stack}`).not.toContain("arks_secret");
});

/** A call of a path that has variables: those of this contract have none yet. */
function calling(fetch: (request: Request) => Promise<Response>) {
  const api = createClient({ baseUrl: "http://arklow.test/base", fetch, token: "arks_1" });
  const remove = api.DELETE as unknown as (path: string, options: object) => Promise<unknown>;
  return (user: unknown, link: unknown) =>
    remove("/users/{user}/links/{link}", { params: { path: { user, link } } });
}

test.each(["", ".", "..", "\\", "a\\..", "..\\users\\u2", null, undefined])(
  "the path value %j is refused before anything is sent",
  async (value) => {
    let sent = 0;
    const call = calling(async () => {
      sent += 1;
      return Response.json({ data: {}, errors: null });
    });
    await expect(call("u1", value)).rejects.toThrow("the path variable `link` is");
    await expect(call(value, "l1")).rejects.toThrow("the path variable `user` is");
    expect(sent).toBe(0);
  },
);

test.each(["...", "%2e%2e", ".%2e", "%", "/", "../..", "a/../b", "?", "#", " ", "\t", ".\n.", "..\n", "ü", "{link}", "$&", 7, true])(
  "the path value %j stays in its segment",
  async (value) => {
    const urls: URL[] = [];
    const call = calling(async (request) => {
      urls.push(new URL(request.url));
      return Response.json({ data: {}, errors: null });
    });
    await call(value, value);
    const [url] = urls;
    expect(url!.search + url!.hash).toBe("");
    const segments = url!.pathname.split("/").map(decodeURIComponent);
    expect(segments).toEqual(["", "base", "users", String(value), "links", String(value)]);
  },
);

test("a redirect is not followed, for the token would go with it", async () => {
  let visits = 0;
  const elsewhere = await serve((_, response) => {
    visits += 1;
    response.end();
  });
  const baseUrl = await serve((_, response) => response.writeHead(307, { location: elsewhere }).end());
  const sent = createClient({ baseUrl, token: "arks_1" }).GET("/v1/self/");
  await expect(sent).rejects.toThrow(UnexpectedAnswerError);
  expect(visits).toBe(0);
});

test.each([
  [200, "text/html", "<!doctype html>"],
  [502, "text/html", "<h1>Bad Gateway</h1>"],
  [502, "application/json", "<h1>Bad Gateway</h1>"],
  [404, "application/json", '{"request_id":"1","message":"Not Found"}'],
  [500, "application/json", '{"errors":[]}'],
  [500, "application/json", "null"],
])("%i with %s and %s is not an answer of the service", async (status, type, body) => {
  const reason = await hearing(body, { status }, type)
    .GET("/v1/self/")
    .catch((reason) => reason);
  expect(reason).toBeInstanceOf(UnexpectedAnswerError);
  expect(reason.message).toContain(`${status} with ${type} is not an answer of Arklow`);
  expect(reason.response.status).toBe(status);
  expect(await reason.response.text()).toBe(body);
});

test("the answer to an unknown route is distinguished from one of an operation", async () => {
  const sent = createClient({ baseUrl: `${arklow.baseUrl}/api` }).GET("/v1/self/");
  await expect(sent).rejects.toThrow("404 with application/json is not an answer of Arklow; look at `baseUrl`");
});

test("a service that is not there is a rejection, as of fetch", async () => {
  const gone = await Arklow.serve();
  await gone.stop();
  await expect(createClient({ baseUrl: gone.baseUrl }).GET("/v1/self/")).rejects.toThrow(TypeError);
});

test("a request is given up with its signal", async () => {
  const baseUrl = await serve(() => {});
  const sent = createClient({ baseUrl }).GET("/v1/self/", { signal: AbortSignal.timeout(50) });
  await expect(sent).rejects.toMatchObject({ name: "TimeoutError" });
});

test("an exception has what the answer had", async () => {
  const errors = [
    { code: "INVALID_REQUEST", message: "/name: is empty" },
    { code: "INVALID_REQUEST", message: "/device_type: is unknown" },
  ];
  const api = hearing(JSON.stringify({ data: null, errors }), { status: 400, headers: { "x-request-id": "r1" } });
  const reason = await unwrap(api.GET("/v1/self/")).catch((reason) => reason);
  expect(reason).toBeInstanceOf(ArklowError);
  expect(reason).toMatchObject({
    name: "ArklowError",
    message: "400 INVALID_REQUEST: /name: is empty",
    status: 400,
    code: "INVALID_REQUEST",
    errors,
    requestId: "r1",
    retryAfter: undefined,
  });
});

test("an envelope without data has nothing to unwrap", async () => {
  const api = hearing('{"data":null,"errors":null}', { status: 200 });
  await expect(unwrap(api.GET("/v1/self/"))).rejects.toThrow(UnexpectedAnswerError);
});

test.each([
  ["120", 120],
  ["0", 0],
  ["-1", undefined],
  ["Wed, 21 Oct 2026 07:28:00 GMT", undefined],
  ["soon", undefined],
])("Retry-After %j is %j seconds", (value, seconds) => {
  expect(retryAfter(new Response(null, { headers: { "retry-after": value } }))).toBe(seconds);
});

test("middleware of openapi-fetch can be added", async () => {
  const seen: string[] = [];
  const api = hearing('{"data":{},"errors":null}', { status: 200 });
  api.use({ onRequest: ({ schemaPath }) => void seen.push(schemaPath) });
  await api.GET("/v1/self/");
  expect(seen).toEqual(["/v1/self/"]);
});
