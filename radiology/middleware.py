"""What surrounds every page: the log line of a request, and the user's language and time zone."""

import time
import zoneinfo
from collections.abc import Callable

import structlog
from django.http import HttpRequest, HttpResponse
from django.utils import timezone, translation

log = structlog.get_logger(__name__)

Handler = Callable[[HttpRequest], HttpResponse]


class RequestLogMiddleware:
    """One line a failed request: method, route and status; never the path's values or the query string."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        started = time.monotonic()
        response = self.get_response(request)
        if response.status_code >= 400:
            route = request.resolver_match.route if request.resolver_match else ""
            level = log.error if response.status_code >= 500 else log.info
            level(
                "request refused" if response.status_code < 500 else "request failed",
                method=request.method,
                route=route,
                status=response.status_code,
                milliseconds=round((time.monotonic() - started) * 1000),
            )
        return response


class SiteMiddleware:
    """The signed-in person's site decides the time zone; their own choice, if any, the language."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        user = request.user
        if not user.is_authenticated:
            return self.get_response(request)
        language = user.language
        if language and language != translation.get_language():
            translation.activate(language)
            request.LANGUAGE_CODE = language
        with timezone.override(zoneinfo.ZoneInfo(user.site.time_zone)):
            return self.get_response(request)
