"""The API's own description (OpenAPI 3.1), and a page on which to try it."""

from functools import lru_cache
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.generic import View
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer, OpenApiYamlRenderer

from radiology.api.operations import etag_of, matches

URLS = "radiology.api.urls"
RENDERERS = {"yaml": OpenApiYamlRenderer, "json": OpenApiJsonRenderer}
CONTENT_TYPES = {"yaml": "application/yaml; charset=utf-8", "json": "application/json"}


class BearerScheme(OpenApiAuthenticationExtension):
    target_class = "radiology.authentication.BearerAuthentication"
    name = "api-token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "http", "scheme": "bearer", "description": "A token of the administration."}


class BasicScheme(OpenApiAuthenticationExtension):
    target_class = "radiology.authentication.BasicAuthentication"
    name = "password"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "http", "scheme": "basic", "description": "Name and password, or any name and a token."}


class SessionScheme(OpenApiAuthenticationExtension):
    target_class = "radiology.authentication.SessionAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "apiKey", "in": "cookie", "name": "sessionid", "description": "Who is signed in here."}


@lru_cache
def description(form: str) -> bytes:
    """The OpenAPI document as `yaml` or `json`: the same for everybody."""
    document = SchemaGenerator(urlconf=URLS).get_schema(request=None, public=True)
    text: Any = RENDERERS[form]().render(document, renderer_context={})
    return text.encode() if isinstance(text, str) else bytes(text)


class SchemaView(View):
    """`/api/v1/schema`: YAML, or JSON for who asks for it by `Accept` or `?format=json`."""

    http_method_names = ["get", "head", "options"]

    def get(self, request: HttpRequest) -> HttpResponse:
        asked = request.GET.get("format") or ("json" if "json" in request.headers.get("Accept", "") else "yaml")
        form = asked if asked in RENDERERS else "yaml"
        text = description(form)
        headers = {"ETag": etag_of(text), "Cache-Control": "no-cache", "Vary": "Accept"}
        if matches(request.headers.get("If-None-Match", ""), headers["ETag"]):
            return HttpResponse(status=304, headers=headers)
        return HttpResponse(text, content_type=CONTENT_TYPES[form], headers=headers)


@method_decorator(ensure_csrf_cookie, name="dispatch")
class DocsView(View):
    """`/api/v1/docs`: everything is described here; who is signed in or has a token can try it."""

    http_method_names = ["get", "head", "options"]

    def get(self, request: HttpRequest) -> HttpResponse:
        return render(request, "radiology/api_docs.html")
