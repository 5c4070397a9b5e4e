/** The error code that a problem document links to, such as /docs#bus_unavailable; its row is below the reference. */
const linked = document.getElementById(location.hash.slice(1));

// Requests of "Try it out" go to the server that served this page.
SwaggerUIBundle({
  url: '/openapi.json',
  dom_id: '#reference',
  presets: [SwaggerUIBundle.presets.apis],
  // It would take the error code for an operation.
  deepLinking: !linked,
  tryItOutEnabled: true,
  displayRequestDuration: true,
  // An API key stays in this page: it is not stored in the browser.
  persistAuthorization: false,
  // The public validator would get the description.
  validatorUrl: null,
});

// The row moves down while the reference is rendered, so the page follows it until somebody scrolls.
if (linked) {
  const follower = new ResizeObserver(() => linked.scrollIntoView());
  follower.observe(document.getElementById('reference'));
  for (const type of ['wheel', 'touchstart', 'keydown', 'pointerdown'])
    addEventListener(type, () => follower.disconnect(), { once: true, passive: true });
}
