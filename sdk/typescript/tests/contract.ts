// What `openapi.yaml` says, for tests that compare it with what the package does.

import { readFileSync } from "node:fs";

import { parse } from "yaml";

import type { ErrorAnswer, ErrorCode, operations } from "../src/index.js";

interface Response {
  $ref?: string;
  "x-error-codes"?: ErrorCode[];
  headers?: Record<string, unknown>;
  content: { "application/json": { examples: Record<string, { value: ErrorAnswer }> } };
}

interface Operation {
  operationId: keyof operations;
  responses: Record<string, Response>;
}

export const contract: {
  info: { version: string };
  paths: Record<string, Record<string, Operation>>;
  components: {
    responses: Record<string, Response>;
    schemas: Record<string, unknown>;
    securitySchemes: { apiKey: { name: string } };
  };
} = parse(readFileSync(new URL("../../../openapi.yaml", import.meta.url), "utf8"));

/** An answer from 400 upwards that the contract documents. */
export interface Documented {
  operation: keyof operations;
  status: number;
  code: ErrorCode;
  hasRetryAfter: boolean;
  example: ErrorAnswer;
}

export const operationIds = Object.values(contract.paths).flatMap((item) =>
  Object.values(item).map(({ operationId }) => operationId),
);

export const documentedErrors: Documented[] = Object.values(contract.paths)
  .flatMap((item) => Object.values(item))
  .flatMap(({ operationId, responses }) =>
    Object.entries(responses).flatMap(([status, declared]) => {
      const response = declared.$ref ? contract.components.responses[declared.$ref.split("/").at(-1)!]! : declared;
      return (response["x-error-codes"] ?? []).map((code) => ({
        operation: operationId,
        status: Number(status),
        code,
        hasRetryAfter: "Retry-After" in response.headers!,
        example: Object.values(response.content["application/json"].examples)
          .map(({ value }) => value)
          .find(({ errors }) => errors[0].code === code)!,
      }));
    }),
  );
