// Every operation of the contract, with every answer that the contract documents for it.

import { afterAll, describe, expect, test } from "vitest";

import {
  type Answer,
  ArklowError,
  type Client,
  createClient,
  type ErrorCode,
  type operations,
  retryAfter,
  unwrap,
} from "../src/index.js";
import { App, Arklow, type Caller } from "./arklow.js";
import { type Documented, documentedErrors, operationIds } from "./contract.js";

/** What the calls take from; a test breaks something in it. */
interface Scene {
  arklow: Arklow;
  ada: Caller;
  api: Client;
  device_id: string;
  code: string;
  wrongCode: string;
  name: string;
  take: number;
}

/** A call of each operation, which succeeds if nothing in the scene is broken. The compiler asks for those that are missing. */
const calls: Record<keyof operations, (scene: Scene) => Promise<Answer<{ data: unknown; errors: unknown }>>> = {
  get_v1_self: ({ api }) => api.GET("/v1/self/"),
  get_v1_self_mfa: ({ api, take }) => api.GET("/v1/self/mfa/", { params: { query: { take } } }),
  post_v1_self_mfa_enroll_start: ({ api, name }) => api.POST("/v1/self/mfa/enroll/start", { body: { name } }),
  post_v1_self_mfa_enroll_confirm: ({ api, device_id, code }) =>
    api.POST("/v1/self/mfa/enroll/confirm", { body: { device_id, code } }),
  post_v1_self_mfa_verify_totp: ({ api, device_id, code }) =>
    api.POST("/v1/self/mfa/verify/totp", { body: { device_id, code } }),
  post_v1_self_mfa_verify_totp_backup: ({ api, device_id, code }) =>
    api.POST("/v1/self/mfa/verify/totp/backup", { body: { device_id, code } }),
  post_v1_self_mfa_regenerate_totp: ({ api, device_id }) =>
    api.POST("/v1/self/mfa/regenerate/totp", { body: { device_id } }),
  delete_v1_self_mfa_remove: ({ api, device_id, code }) =>
    api.DELETE("/v1/self/mfa/remove", { body: { device_id, code, verification_type: "totp" } }),
};

/** The codes that no server is brought to answer with here: the client hears the contract's examples. */
const canned: ErrorCode[] = ["UNAVAILABLE"];

/** Its check symbol fits; it is of no set. */
const wellFormedBackupCode = "0410-6105-0R3G-G28A-1C60-T3GJ";

const servers = new Map<string, Promise<Arklow>>();
afterAll(async () => {
  await Promise.all([...servers.values()].map(async (server) => (await server).stop()));
});

test("the contract has operations and answers", () => {
  expect([...operationIds].sort()).toEqual(Object.keys(calls).sort());
  expect(documentedErrors.length).toBeGreaterThan(75);
});

describe.each(operationIds)("%s", { concurrent: true }, (operation) => {
  test("succeeds", async () => {
    const scene = await scenery(operation);
    const answer = await calls[operation](scene);
    expect(answer.error).toBeUndefined();
    expect(answer.response.status).toBe(200);
    expect(answer.data!.errors).toBeNull();
    expect(answer.data!.data).toBeTypeOf("object");
  });

  test.each(documentedErrors.filter((documented) => documented.operation === operation))(
    "answers $status $code",
    async (documented) => {
      const { error, data, response } = await provoke(documented);
      expect(data).toBeUndefined();
      expect([response.status, error?.errors[0].code]).toEqual([documented.status, documented.code]);
      const seconds = retryAfter(response);
      expect(seconds !== undefined && seconds > 0).toBe(documented.hasRetryAfter);

      const thrown = await unwrap(Promise.resolve({ error: error!, response })).catch((reason) => reason);
      expect(thrown).toBeInstanceOf(ArklowError);
      expect(thrown).toMatchObject({ status: documented.status, code: documented.code, retryAfter: seconds });
    },
  );
});

/** Makes the server give this answer, however hard it is. */
async function provoke(documented: Documented): Promise<Answer<unknown>> {
  const { operation, code } = documented;
  const call = calls[operation];
  const on = (...args: string[]) => scenery(operation, ...args);
  if (canned.includes(code)) {
    return call(withAnswer(await on(), documented));
  }
  switch (code) {
    case "INVALID_REQUEST":
      return call({ ...(await on()), device_id: "x", name: "", take: 51 });
    case "MALFORMED_CODE":
      return call({ ...(await on()), code: "12345x" });
    case "UNAUTHENTICATED":
      return call(withClient(await on(), { token: "arks_nobody" }));
    case "MFA_REQUIRED": {
      const scene = await on();
      return call(withClient(scene, { token: await scene.arklow.session(scene.ada.user) }));
    }
    case "DEVICE_NOT_FOUND":
      return call({ ...(await on()), device_id: "1" });
    case "REQUEST_TIMEOUT":
      return call(withClient(await on("--body-timeout", "300ms"), { fetch: withoutEnd }));
    case "DEVICE_NOT_CONFIRMED": {
      const scene = await on();
      return call({ ...scene, device_id: (await enrolling(scene)).device_id });
    }
    case "DEVICE_ALREADY_CONFIRMED": {
      const scene = await on();
      return call({ ...scene, device_id: scene.ada.device });
    }
    case "ENROLLMENT_EXPIRED": {
      const scene = await on("--enrollment-ttl", "1s");
      await new Promise((resolve) => setTimeout(resolve, 1100));
      return call(scene);
    }
    case "TOO_MANY_DEVICES": {
      const scene = await on("--max-devices", "2");
      await scene.arklow.device(scene.ada.user);
      return call(scene);
    }
    case "PAYLOAD_TOO_LARGE": {
      const large = "1".repeat(65_537);
      return call({ ...(await on()), device_id: large, name: large });
    }
    case "UNSUPPORTED_MEDIA_TYPE":
      return call(withClient(await on(), { headers: { "content-type": "text/plain" } }));
    case "RATE_LIMITED":
      return second(call, await on("--limit-regenerate", "1/1h", "--limit-enroll", "1/1h", "--limit-address", "1/5m"));
    case "TOO_MANY_FAILURES":
      return second(call, await on("--lock-after", "1"));
    case "FACTOR_LOCKED":
      return second(call, await on("--lock-after", "100", "--lock-factor-after", "1"));
    case "INTERNAL": {
      // The name makes it a separate server.
      const scene = await on("--issuer", `Broken for ${operation}`);
      await scene.arklow.vandalize();
      return call(scene);
    }
    case "DEADLINE_EXCEEDED": {
      const scene = await plainScenery("--request-deadline", "1ms", "--limits", "off", "--lock-after", "100");
      if (operation === "post_v1_self_mfa_verify_totp_backup") {
        scene.code = wellFormedBackupCode;
      }
      // Now and then a millisecond is enough.
      for (;;) {
        const answer = await call(scene);
        if (answer.response.status === 503) {
          return answer;
        }
      }
    }
    default:
      throw new Error(`nothing here provokes ${code}`);
  }
}

/** The same call twice, where the first is a success that is counted or a code that is not right. */
async function second(call: (typeof calls)[keyof operations], scene: Scene): Promise<Answer<unknown>> {
  await call({ ...scene, code: scene.wrongCode });
  return call(scene);
}

/** A new user, and what a call of the operation needs to succeed, on the server that runs with these arguments. */
async function scenery(operation: keyof operations, ...args: string[]): Promise<Scene> {
  const scene = await plainScenery(...args);
  switch (operation) {
    case "post_v1_self_mfa_enroll_confirm":
      return enrolling(scene);
    case "post_v1_self_mfa_verify_totp_backup":
      return { ...scene, code: await backupCode(scene), wrongCode: wellFormedBackupCode };
    default:
      return scene;
  }
}

async function plainScenery(...args: string[]): Promise<Scene> {
  const key = args.join(" ");
  if (!servers.has(key)) {
    servers.set(key, Arklow.serve(...args));
  }
  const arklow = await servers.get(key)!;
  const ada = await arklow.caller();
  return {
    arklow,
    ada,
    api: createClient({ baseUrl: arklow.baseUrl, token: ada.token }),
    device_id: ada.device,
    code: ada.app.code(),
    wrongCode: ada.app.wrongCode(),
    name: "Tablet",
    take: 20,
  };
}

async function enrolling(scene: Scene): Promise<Scene> {
  const { device, provisioning_uri } = await unwrap(
    scene.api.POST("/v1/self/mfa/enroll/start", { body: { name: "Tablet" } }),
  );
  const app = new App(provisioning_uri);
  return { ...scene, device_id: device.id, code: app.code(), wrongCode: app.wrongCode() };
}

async function backupCode({ api, device_id }: Scene): Promise<string> {
  const { backup_codes } = await unwrap(api.POST("/v1/self/mfa/regenerate/totp", { body: { device_id } }));
  return backup_codes[0]!;
}

function withClient(scene: Scene, options: Partial<Parameters<typeof createClient>[0]>): Scene {
  const usual = { baseUrl: scene.arklow.baseUrl, token: scene.ada.token };
  return { ...scene, api: createClient({ ...usual, ...options }) };
}

/** A client that hears the contract's example instead of the server. */
function withAnswer(scene: Scene, { status, example, hasRetryAfter }: Documented): Scene {
  const headers = { "content-type": "application/json", ...(hasRetryAfter && { "retry-after": "1" }) };
  return withClient(scene, {
    fetch: async () => new Response(JSON.stringify(example), { status, headers }),
  });
}

/** Sends the request without the end of its body. */
function withoutEnd(request: Request): Promise<Response> {
  const body = new ReadableStream({ start: (controller) => controller.enqueue(new TextEncoder().encode("{")) });
  return fetch(request.url, { method: request.method, headers: request.headers, body, duplex: "half" } as RequestInit);
}
