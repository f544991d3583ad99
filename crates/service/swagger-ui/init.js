// A file of its own: the page's Content-Security-Policy allows no script within it.
SwaggerUIBundle({
  dom_id: "#swagger-ui",
  url: "/swagger/ui/json",
  deepLinking: true,
  // The list of schemas is there, closed.
  defaultModelsExpandDepth: 0,
  // Nobody else is asked whether the document is valid.
  validatorUrl: null,
  // A token is gone with the page.
  persistAuthorization: false,
  plugins: [
    // The contract lists tags that no operation has yet.
    () => ({
      statePlugins: {
        spec: {
          wrapSelectors: {
            taggedOperations:
              (original) =>
              (...state) =>
                original(...state).filter((tag) => tag.get("operations").size > 0),
          },
        },
      },
    }),
  ],
});
