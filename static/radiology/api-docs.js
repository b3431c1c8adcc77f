// The page of the REST API: Swagger UI over our own description; a session's requests carry Django's CSRF token.

const place = document.getElementById('api');

function cookie(name) {
  const found = document.cookie.split('; ').find((each) => each.startsWith(`${name}=`));
  return found ? decodeURIComponent(found.slice(name.length + 1)) : '';
}

// Swagger UI would fill in every example, and a search for all of them at once finds nobody: they become text.
function forTrying(description) {
  for (const operations of Object.values(description.paths)) {
    for (const operation of Object.values(operations)) {
      for (const parameter of operation.parameters || []) {
        const [example] = Object.values(parameter.examples || {});
        if (parameter.in !== 'query' || !example) continue;
        parameter.description += ` Example: \`${example.value}\``;
        delete parameter.examples;
      }
      operation.security = (operation.security || []).filter((each) => !('session' in each));
    }
  }
  delete description.components.securitySchemes.session; // The browser has it already, or there is none.
  return description;
}

const response = await fetch(place.dataset.schema);

window.SwaggerUIBundle({
  domNode: place,
  spec: forTrying(await response.json()),
  docExpansion: 'list',
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  deepLinking: true,
  validatorUrl: null,
  queryConfigEnabled: false,
  persistAuthorization: false,
  requestInterceptor(request) {
    const unsafe = !['GET', 'HEAD', 'OPTIONS'].includes((request.method || 'GET').toUpperCase());
    if (unsafe && new URL(request.url, location.href).origin === location.origin) {
      request.headers['X-CSRFToken'] = cookie('csrftoken');
    }
    return request;
  },
});
