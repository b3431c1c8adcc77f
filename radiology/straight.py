"""The short way of what is asked by the thousand: a view that only reads, for a bearer token or who is signed in.

Forms, messages and the like have no part in such a request, and what they and REST framework do around a view takes as
long as the view. Here stands of it what is left: the host, who calls and within which limits, permission, language and
time zone, and the headers of every answer. Whatever is not plainly right goes the long way, as if it had not been here;
so each error has one place where it is made.
"""

from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.core.handlers.base import BaseHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http.response import HttpResponseBase
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.security import SecurityMiddleware
from django.urls import resolve
from django.utils import translation
from django.utils.cache import patch_vary_headers

from radiology.authentication import BearerAuthentication
from radiology.downloads import is_large
from radiology.errors import RadiologyError
from radiology.middleware import CallerMiddleware, SiteMiddleware
from radiology.models import ApiToken
from radiology.sessions import SessionStore
from radiology.web_policy import PolicyMiddleware

_BODY = ("CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING")
_GOOD = (200, 304)


class GoesStraight(BaseHandler):
    """A handler of Django's for which views may say `goes_straight`.

    Such a view reads of its request `GET`, `META`, `path`, `user` and the address of the server, and changes nothing
    but the audit trail, that last. If it raises a `RadiologyError`, that stands in the request as `refusal`, for the
    view to raise the long way without working it out again.
    """

    def load_middleware(self, is_async: bool = False) -> None:
        super().load_middleware(is_async)
        security, policy = SecurityMiddleware(_nothing), PolicyMiddleware(_nothing)
        self._requires = security.process_request
        self._finish = [XFrameOptionsMiddleware(_nothing).process_response, policy.process_response]
        self._finish.append(security.process_response)

    def get_response(self, request: Any) -> HttpResponseBase:
        response = self._straight(request)
        return super().get_response(request) if response is None else response

    def _straight(self, request: Any) -> HttpResponseBase | None:
        if request.method != "GET" or any(request.META.get(name) for name in _BODY):
            return None
        response: Any = None
        try:
            match = resolve(request.path_info)
            view_class: Any = getattr(match.func, "cls", None)
            if not getattr(view_class, "goes_straight", False):
                return None
            request.get_host()
            CallerMiddleware.believe_front_server(request)
            if self._requires(request) is not None:
                return None
            request.user = _caller(request)
            view = view_class()
            if not all(permission().has_permission(request, view) for permission in view.permission_classes):
                return None
            request.LANGUAGE_CODE = translation.get_language_from_request(request)
            translation.activate(request.LANGUAGE_CODE)
            request.resolver_match = match
            view.setup(request, *match.args, **match.kwargs)
            response = self._at_site(request, view)
            if response.status_code in _GOOD and not is_large(request, response):
                return self._finished(request, response, view)
        except Exception:
            pass
        if response is not None:
            for close in response._resource_closers:
                close()
        return None

    @staticmethod
    def _at_site(request: Any, view: Any) -> Any:
        def viewed(request: Any) -> Any:
            try:
                return view.get(request, *view.args, **view.kwargs)
            except RadiologyError as error:
                request.refusal = error
                raise

        return viewed(request) if isinstance(request.user, ApiToken) else SiteMiddleware(viewed)(request)

    def _finished(self, request: Any, response: Any, view: Any) -> HttpResponseBase:
        view.headers = view.default_response_headers
        response = view.finalize_response(request, response)
        patch_vary_headers(response, ["Accept-Language", "Cookie"])
        response.headers.setdefault("Content-Language", request.LANGUAGE_CODE)
        if not response.streaming and not response.has_header("Content-Length"):
            response.headers["Content-Length"] = str(len(response.content))
        for finish in self._finish:
            response = finish(request, response)
        if isinstance(request.user, ApiToken):
            for name, value in request.allowance.headers.items():
                response.headers[name] = value
        response._resource_closers.append(request.close)
        return response


class Handler(GoesStraight, WSGIHandler):
    """The one of the web server."""


def _caller(request: Any) -> Any:
    """The token, or the user of the session; None for whoever comes otherwise, or by both."""
    key = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    if "HTTP_AUTHORIZATION" in request.META:
        found = None if request.COOKIES else BearerAuthentication().authenticate(request)
        return found[0] if found else None
    if not key:
        return None
    request.session = SessionStore(key)
    user = get_user(request)
    return None if request.session.modified else user


def _nothing(request: Any) -> Any:
    """Where a middleware would go on: these are asked piece by piece."""
