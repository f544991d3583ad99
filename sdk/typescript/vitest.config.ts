import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["{tests,recipes}/**/*.test.ts"],
    // Longer than anything here takes, so that a hang is a failure.
    testTimeout: 600_000,
    hookTimeout: 600_000,
  },
});
