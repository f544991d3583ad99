// The operations as the page needs them: what is in the envelope, or an exception.

import { createClient, type MfaDevice, unwrap, type VerificationType } from "@arklow/sdk";
import { currentToken } from "./session.js";

const api = createClient({ baseUrl: "", token: currentToken });

export const user = () => unwrap(api.GET("/v1/self/"));

export async function devices(): Promise<MfaDevice[]> {
  // More than any user may have.
  const { items } = await unwrap(api.GET("/v1/self/mfa/", { params: { query: { take: 50 } } }));
  return items;
}

export const startEnrollment = (name: string) => unwrap(api.POST("/v1/self/mfa/enroll/start", { body: { name } }));

export const confirmEnrollment = (device_id: string, code: string) =>
  unwrap(api.POST("/v1/self/mfa/enroll/confirm", { body: { device_id, code } }));

export const verifyTotp = (device_id: string, code: string) =>
  unwrap(api.POST("/v1/self/mfa/verify/totp", { body: { device_id, code } }));

export const verifyBackupCode = (device_id: string, code: string) =>
  unwrap(api.POST("/v1/self/mfa/verify/totp/backup", { body: { device_id, code } }));

export const regenerate = (device_id: string) =>
  unwrap(api.POST("/v1/self/mfa/regenerate/totp", { body: { device_id } }));

export const remove = (device_id: string, verification_type: VerificationType, code: string) =>
  unwrap(api.DELETE("/v1/self/mfa/remove", { body: { device_id, verification_type, code } }));
