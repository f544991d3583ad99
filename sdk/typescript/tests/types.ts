// What the compiler accepts and refuses. Nothing here runs: `tsc` fails where a line below `@ts-expect-error` compiles.

import {
  type ApiError,
  ArklowError,
  type Client,
  type components,
  createClient,
  type Enrollment,
  type ErrorAnswer,
  type ErrorCode,
  type ErrorCodeOf,
  type ErrorEnvelope,
  type MfaDevice,
  type operations,
  type RegenerateTotpResult,
  unwrap,
} from "../src/index.js";

declare const api: Client;
declare const device_id: string;
declare const code: string;

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function holds<_ extends true>(): void {}

export async function requests(): Promise<void> {
  await api.GET("/v1/self/");
  await api.GET("/v1/self/", { signal: AbortSignal.timeout(1000), headers: { "x-request-id": "1" } });
  await api.GET("/v1/self/mfa/", { params: { query: { take: 10, count_only: true } } });
  await api.POST("/v1/self/mfa/enroll/start", { body: { name: "Phone" } });
  await api.POST("/v1/self/mfa/enroll/start", { body: { name: "Phone", device_type: "totp" } });

  // @ts-expect-error There is no such path.
  await api.GET("/v1/self/mfa/devices");
  // @ts-expect-error The path has no such method.
  await api.GET("/v1/self/mfa/enroll/start");
  // @ts-expect-error The slash belongs to it.
  await api.GET("/v1/self");
  // @ts-expect-error A body is needed.
  await api.POST("/v1/self/mfa/regenerate/totp");
  // @ts-expect-error All of it.
  await api.POST("/v1/self/mfa/verify/totp", { body: { device_id } });
  // @ts-expect-error Of the right type.
  await api.POST("/v1/self/mfa/regenerate/totp", { body: { device_id: 7 } });
  // @ts-expect-error With keys that the contract names.
  await api.POST("/v1/self/mfa/enroll/start", { body: { name: "Phone", device_typ: "totp" } });
  // @ts-expect-error And values.
  await api.POST("/v1/self/mfa/enroll/start", { body: { name: "Phone", device_type: "sms" } });
  // @ts-expect-error An absent key is absent, not undefined.
  await api.POST("/v1/self/mfa/enroll/start", { body: { name: "Phone", device_type: undefined } });
  // @ts-expect-error No body where the contract has none.
  await api.GET("/v1/self/", { body: { device_id } });
  // @ts-expect-error No misspelt parameter,
  await api.GET("/v1/self/mfa/", { params: { query: { tkae: 10 } } });
  // @ts-expect-error nor a misspelt option.
  await api.GET("/v1/self/mfa/", { parms: { query: { take: 10 } } });
}

export function clients(): void {
  createClient({ baseUrl: "", token: "arks_1" });
  createClient({ baseUrl: "", token: () => "arks_1" });
  createClient({ baseUrl: "", token: async () => undefined });
  createClient({ baseUrl: "", credentials: "include" });
  // @ts-expect-error The URL of the service is missing.
  createClient({ token: "arks_1" });
  // @ts-expect-error A token is text.
  createClient({ baseUrl: "", token: 1 });
  // @ts-expect-error It is called `token`.
  createClient({ baseUrl: "", apiKey: "arks_1" });
}

export async function answers(): Promise<void> {
  const { data, error, response } = await api.POST("/v1/self/mfa/regenerate/totp", { body: { device_id } });
  holds<Equal<typeof response, Response>>();
  // @ts-expect-error It may be an error.
  data.data;
  if (error) {
    holds<Equal<typeof data, undefined>>();
    const [first] = error.errors;
    holds<Equal<typeof first.code, ErrorCodeOf<"post_v1_self_mfa_regenerate_totp">>>();
    error.errors.map((each) => holds<Equal<typeof each.code, typeof first.code>>());
    if (error.errors[0].code === "MFA_REQUIRED") {
      return;
    }
    // @ts-expect-error This operation takes no code.
    error.errors[0].code === "MALFORMED_CODE";
    // @ts-expect-error There is no such code.
    error.errors[0].code === "MFA_REQIRED";
    return;
  }
  holds<Equal<typeof data.data, RegenerateTotpResult | null>>();
  holds<Equal<typeof error, undefined>>();
  // @ts-expect-error The envelope may be empty, as far as the contract goes.
  data.data.backup_codes;
}

export async function exceptions(): Promise<void> {
  const enrollment = await unwrap(api.POST("/v1/self/mfa/enroll/start", { body: { name: "Phone" } }));
  holds<Equal<typeof enrollment, Enrollment>>();
  const { device, session_mfa_not_after } = await unwrap(
    api.POST("/v1/self/mfa/enroll/confirm", { body: { device_id, code } }),
  );
  holds<Equal<typeof device, MfaDevice>>();
  holds<Equal<typeof session_mfa_not_after, string | null>>();

  const thrown: unknown = undefined;
  if (thrown instanceof ArklowError) {
    holds<Equal<typeof thrown.code, ErrorCode>>();
    holds<Equal<typeof thrown.retryAfter, number | undefined>>();
    // @ts-expect-error There is no such code.
    thrown.code === "MFA_REQIRED";
  }
}

export function shapes(): void {
  holds<Equal<MfaDevice, components["schemas"]["MfaDevice"]>>();
  holds<ErrorAnswer extends ErrorEnvelope ? true : false>();
  holds<ErrorEnvelope extends ErrorAnswer ? true : false>();
  holds<Equal<ErrorCode, ApiError["code"]>>();
  holds<
    Equal<
      ErrorCodeOf<"post_v1_self_mfa_enroll_confirm", 409>,
      "DEVICE_ALREADY_CONFIRMED" | "ENROLLMENT_EXPIRED" | "TOO_MANY_DEVICES"
    >
  >();
  holds<Equal<ErrorCodeOf<"get_v1_self">, "UNAUTHENTICATED" | "INTERNAL" | "UNAVAILABLE" | "DEADLINE_EXCEEDED">>();
  // @ts-expect-error A read has no conflict.
  holds<Equal<ErrorCodeOf<"get_v1_self", 409>, never>>();
  // Each code of an operation is one that the contract lists.
  holds<ErrorCodeOf<keyof operations> extends ErrorCode ? true : false>();

  // The texts of a page: the compiler asks for those that are missing.
  const texts: Record<ErrorCodeOf<"post_v1_self_mfa_verify_totp", 409 | 429>, string> = {
    DEVICE_NOT_CONFIRMED: "",
    FACTOR_LOCKED: "",
    RATE_LIMITED: "",
    TOO_MANY_FAILURES: "",
  };
  // @ts-expect-error One is missing.
  const fewer: typeof texts = { DEVICE_NOT_CONFIRMED: "", FACTOR_LOCKED: "", RATE_LIMITED: "" };
  void fewer;
}
