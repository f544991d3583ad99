import { defineConfig } from "vite";

// The page and the API are one origin, in development and behind an ingress: the service knows no CORS.
const proxy = { "/v1": { target: process.env["ARKLOW_URL"] ?? "http://127.0.0.1:3123" } };

// What the ingress of a real deployment sends with the page, too.
const headers = {
  "Content-Security-Policy": [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; "),
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
};

export default defineConfig({
  server: { proxy },
  preview: { proxy, headers },
  build: { target: "es2022", assetsInlineLimit: 0 },
});
