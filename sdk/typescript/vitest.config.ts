import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    // Longer than anything here takes, so that a hang is a failure.
    testTimeout: 180_000,
    hookTimeout: 180_000,
  },
});
