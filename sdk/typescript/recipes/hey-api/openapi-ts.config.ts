import { defineConfig } from "@hey-api/openapi-ts";

export default defineConfig({
  // In your project: "node_modules/@arklow/sdk/openapi.yaml".
  input: "../../../../openapi.yaml",
  output: "client",
  plugins: ["@hey-api/client-fetch", "@hey-api/typescript", "@hey-api/sdk"],
});
