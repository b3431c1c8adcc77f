"""Another server that is read over HTTP: a DICOMweb server, or whatever else objects move in from.

It is not trusted: answers are bounded, redirects to other hosts are not followed, certificates are verified.
"""

import ipaddress
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from radiology.errors import CannotUnderstand, InvalidValue, NotAllowed, NotFound, RadiologyError, Unreachable

BLOCK = 1 << 20
CONNECT_SECONDS, READ_SECONDS = 10.0, 120.0
LARGEST_ANSWER = 64 * 1024 * 1024
MOST_REDIRECTS = 3
ATTEMPTS = 3
PAUSE = 1.0
# What passes by itself: the server is busy, or something between us and it is.
MAY_PASS = frozenset({408, 425, 429, 500, 502, 503, 504})


class HttpPeer:
    """`url` is its base address. Several threads may ask.

    `may_pass` are the HTTP statuses after which it is asked again. Credentials go over https only, unless
    `plain` says that this server is asked over http too.
    """

    def __init__(
        self,
        url: str,
        *,
        authorization: str = "",
        connections: int = 8,
        may_pass: frozenset[int] = MAY_PASS,
        plain: bool = False,
    ) -> None:
        self.url = url.rstrip("/")
        require_fit(self.url, with_credentials=bool(authorization) and not plain)
        self._host = _host_of(self.url)
        self._headers = {"Authorization": authorization} if authorization else {}
        self._may_pass = may_pass
        self._pool = urllib3.PoolManager(
            maxsize=connections,
            block=True,
            retries=False,
            cert_reqs="CERT_REQUIRED",
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
        )

    def json(self, address: str, *, accept: str = "application/json") -> Any:
        """What the server answers at `address`, None for 204. Raises what `text` raises."""
        content = self.text(address, accept=accept)
        try:
            return json.loads(content) if content else None
        except (ValueError, RecursionError) as error:
            raise Unreachable("The server answers a search with what is no JSON.") from error

    def text(self, address: str, *, accept: str = "*/*") -> bytes:
        """A whole answer, at most 64 MB of it; nothing for 204.

        Raises NotAllowed, NotFound, CannotUnderstand for what the server says, Unreachable when it does not answer.
        """
        content = b""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with self._opened(address, accept) as response:
                    content = b"" if response.status == 204 else response.read(LARGEST_ANSWER + 1)
                break
            except (HTTPError, OSError, Unreachable) as error:
                _wait_or_raise(error, attempt)
        if len(content) > LARGEST_ANSWER:
            raise Unreachable("The server answers a search with more than 64 MB.")
        return content

    def blocks(
        self, address: str, *, accept: str = "*/*", part: Callable[[BaseHTTPResponse], Iterator[bytes]]
    ) -> Iterator[bytes]:
        """The body of an answer as `part` reads it, while it comes.

        Raises what `text` raises; Unreachable also when the connection ends in the middle.
        """
        for attempt in range(1, ATTEMPTS + 1):
            began = False
            try:
                with self._opened(address, accept) as response:
                    for block in part(response):
                        began = True
                        yield block
                return
            except (HTTPError, OSError, Unreachable) as error:
                if began:
                    raise Unreachable("The server ended the connection in the middle of an object.") from error
                _wait_or_raise(error, attempt)

    @contextmanager
    def _opened(self, address: str, accept: str) -> Iterator[BaseHTTPResponse]:
        """The response, its body unread. Raises NotAllowed, NotFound, CannotUnderstand, Unreachable."""
        response = self._follow(address, accept)
        try:
            self._require_success(response.status)
            yield response
        finally:
            _give_back(response)

    def _follow(self, address: str, accept: str) -> BaseHTTPResponse:
        target = f"{self.url}/{address}"
        for _ in range(MOST_REDIRECTS + 1):
            response = self._pool.request(
                "GET", target, headers={**self._headers, "Accept": accept}, preload_content=False, redirect=False
            )
            location = response.get_redirect_location()
            if not location:
                return response
            _give_back(response)
            target = urljoin(target, location)
            if _host_of(target) != self._host:
                raise NotAllowed("The server sends us to another host: that is not followed.")
        raise Unreachable("The server sends us round in circles.")

    def _require_success(self, status: int) -> None:
        if 200 <= status < 300:
            return
        if status in {401, 403}:
            raise NotAllowed(f"The server refuses us (HTTP {status}): give a token or user that may read.")
        if status in self._may_pass:
            raise Unreachable(f"The server answers with HTTP {status}.")
        if status in {404, 410}:
            raise NotFound(f"The server does not find it (HTTP {status}).")
        raise CannotUnderstand(f"The server answers with HTTP {status}.")


def _give_back(response: BaseHTTPResponse) -> None:
    """Let the pool have the connection again, whatever is left in it."""
    if not response.closed:
        response.close()
    response.release_conn()


def _wait_or_raise(error: Exception, attempt: int) -> None:
    if attempt < ATTEMPTS:
        time.sleep(PAUSE * attempt)
        return
    if isinstance(error, RadiologyError):
        raise error
    raise Unreachable(
        f"The server does not answer, or its certificate is not valid ({type(error).__name__})."
    ) from error


def require_fit(url: str, *, with_credentials: bool) -> None:
    """Raise InvalidValue for what is no base address, or one to which no password or token may be sent."""
    if with_credentials and is_plain(url):
        raise InvalidValue("A password or token is sent over https only.", field="url")
    _host_of(url)


def is_plain(url: str) -> bool:
    """Whether others on the way could read what is sent there. Raises InvalidValue for what is no base address."""
    scheme, host, _ = _host_of(url)
    return scheme != "https" and not _is_here(host)


def _host_of(url: str) -> tuple[str, str, int]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidValue("This is no address of a server.", field="url") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.password:
        raise InvalidValue("Give an address such as https://pacs.example/dicom-web, without a password.", field="url")
    return parts.scheme, parts.hostname.lower(), port or (443 if parts.scheme == "https" else 80)


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
