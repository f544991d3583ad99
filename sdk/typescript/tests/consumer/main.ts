// The code of a project that has installed the package.

import {
  ArklowError,
  createClient,
  type ErrorCodeOf,
  type MfaDevice,
  type RegenerateTotpResult,
  retryAfter,
  unwrap,
} from "@arklow/sdk";

declare const process: { argv: string[] };
const [, , baseUrl = "", token = "", device_id = ""] = process.argv;
const api = createClient({ baseUrl, token: () => token });

const texts: Partial<Record<ErrorCodeOf<"post_v1_self_mfa_regenerate_totp">, string>> = {
  DEVICE_NOT_FOUND: "no such device",
};

const { data, error, response } = await api.GET("/v1/self/mfa/", { params: { query: { take: 5 } } });
if (error) {
  throw new Error(`${error.errors[0].code}, again in ${retryAfter(response)} s`);
}
const devices: MfaDevice[] = data.data?.items ?? [];

const set: RegenerateTotpResult = await unwrap(api.POST("/v1/self/mfa/regenerate/totp", { body: { device_id } }));

let refused = "";
try {
  await unwrap(api.POST("/v1/self/mfa/regenerate/totp", { body: { device_id: "1" } }));
} catch (reason) {
  if (reason instanceof ArklowError && reason.code === "DEVICE_NOT_FOUND") {
    refused = texts[reason.code] ?? "";
  }
}

// @ts-expect-error A body is needed.
const incomplete = () => api.POST("/v1/self/mfa/regenerate/totp");
void incomplete;

console.log(JSON.stringify({ devices: devices.map(({ id }) => id), codes: set.backup_codes.length, refused }));
