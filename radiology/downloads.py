"""How many large downloads one caller has at once: each holds a thread of the web server for as long as it lasts.

Counted in this process's memory, as calls are (`radiology.services.rates`): each process of the web server
lets a caller have so many.
"""

import threading
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from radiology.errors import TooManyRequests, problem
from radiology.models import ApiToken
from radiology.services import audit

LARGE = 64 * 1024 * 1024
RETRY_SECONDS = 10


class DownloadsMiddleware:
    """Answers 429 instead of one large download more than a caller may have at once.

    Large is what streams and is long; without a length, what comprises more than one instance.
    """

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self._open: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, request: HttpRequest) -> Any:
        response = self.get_response(request)
        most = settings.SINAR_WEB_DOWNLOADS
        if not most or not is_large(request, response):
            return response
        caller = caller_of(request)
        with self._lock:
            if self._open[caller] >= most:
                for close in response._resource_closers:  # not the request, which goes on
                    close()
                return _refused(request, most)
            self._open[caller] += 1
        # At its end, however it ends: also a response that nobody closes.
        response._resource_closers.append(weakref.finalize(response, self._ended, caller))
        return response

    def _ended(self, caller: str) -> None:
        with self._lock:
            self._open[caller] -= 1
            if self._open[caller] <= 0:
                del self._open[caller]


def is_large(request: HttpRequest, response: Any) -> bool:
    """Whether the answer may hold a thread for long."""
    if not response.streaming or response.status_code not in (200, 206):
        return False
    length = response.headers.get("Content-Length", "")
    if length.isdigit():
        return int(length) >= LARGE
    named = request.resolver_match.kwargs if request.resolver_match else {}
    return "json" not in response.headers.get("Content-Type", "") and not named.get("instance")


def caller_of(request: HttpRequest) -> str:
    """The person, the client whatever its tokens, or the address of somebody without a name."""
    user: Any = getattr(request, "user", None)
    if isinstance(user, ApiToken):
        return f"client {user.client_id}"
    if user is not None and user.pk is not None:
        return f"user {user.pk}"
    return f"address {audit.address_of(request)}"


def _refused(request: HttpRequest, most: int) -> HttpResponse:
    message = _(
        "You have %(most)d large downloads under way, which is as many as there may be at once: "
        "try again when one of them is through."
    ) % {"most": most}
    if "text/html" in request.headers.get("Accept", ""):
        response = HttpResponse(message, status=429, content_type="text/plain; charset=utf-8")
        response["Retry-After"] = str(RETRY_SECONDS)
        return response
    return problem(TooManyRequests(message, retry_after=RETRY_SECONDS))
