"""What surrounds every page: the log line of a request, and the user's language and time zone."""

import contextlib
import ipaddress
import time
import zoneinfo
from collections.abc import Callable
from typing import Any

import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone, translation

from radiology.models import Site, User
from radiology.services.rows import Sought

log = structlog.get_logger(__name__)

_SITE_OF_USER: Any = User._meta.get_field("site")
_SITES = Sought(Site, "id = %s")

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


class CallerMiddleware:
    """Behind a front server, the caller's address is the last one of X-Forwarded-For: the one that it wrote itself.

    What callers write there before it is not believed. Answers say what is left of the caller's allowance.
    """

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        self.believe_front_server(request)
        response = self.get_response(request)
        allowance = getattr(request, "allowance", None)
        for name, value in allowance.headers.items() if allowance else ():
            response[name] = value
        return response

    @staticmethod
    def believe_front_server(request: HttpRequest) -> None:
        """Take the caller's address from it, if there is one."""
        if settings.SINAR_BEHIND_PROXY:
            last = request.META.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2].strip()
            with contextlib.suppress(ValueError):
                request.META["REMOTE_ADDR"] = str(ipaddress.ip_address(last))


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
        if not _SITE_OF_USER.is_cached(user):
            _SITE_OF_USER.set_cached_value(user, _SITES(user.site_id)[0])
        with timezone.override(zoneinfo.ZoneInfo(user.site.time_zone)):
            return self.get_response(request)
