import { createClient } from "./client/client/index.js";
import { type ErrorEnvelope, postV1SelfMfaRegenerateTotp } from "./client/index.js";

/** The code of an error, as an exception. */
export class Refused extends Error {
  constructor({ errors }: ErrorEnvelope) {
    super(errors[0]?.code);
  }
}

/** Ten new backup codes for a device. */
export async function newBackupCodes(baseUrl: string, token: string, device_id: string): Promise<string[]> {
  // A redirect would send the token to another server.
  const client = createClient({ baseUrl, auth: () => token, redirect: "manual" });
  const { data, error } = await postV1SelfMfaRegenerateTotp({ client, body: { device_id } });
  if (error) {
    throw new Refused(error);
  }
  return data.data?.backup_codes ?? [];
}
