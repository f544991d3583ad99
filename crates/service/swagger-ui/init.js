// A file of its own: the page's Content-Security-Policy allows no script within it.
SwaggerUIBundle({
  dom_id: "#swagger-ui",
  url: "/swagger/ui/json",
  deepLinking: true,
  // Nobody else is asked whether the document is valid.
  validatorUrl: null,
  // A token is gone with the page.
  persistAuthorization: false,
});
