"""Another DICOMweb server (PS3.18): what it holds, and its objects one by one.

It is not trusted: answers are bounded, redirects to other hosts are not followed, certificates are
verified, and a password or token never goes over a connection that others can read.
"""

import ipaddress
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from pacs.dicomweb.media_types import DICOM, MULTIPART, parse_accept
from pacs.dicomweb.multipart import State, read_parts
from pacs.services.media import Candidate
from radiology.dicom import is_uid
from radiology.errors import CannotUnderstand, InvalidValue, NotAllowed, NotFound, RadiologyError, Unreachable

BLOCK = 1 << 20
CONNECT_SECONDS, READ_SECONDS = 10.0, 120.0
LARGEST_ANSWER = 64 * 1024 * 1024
PAGE = 500
MOST_REDIRECTS = 3
ATTEMPTS = 3
PAUSE = 1.0
# What passes by itself: the server is busy, or something between us and it is.
MAY_PASS = {408, 425, 429, 500, 502, 503, 504}
STUDY, INSTANCE = "0020000D", "00080018"
SERIES = "0020000E"


class DicomWebServer:
    """`url` is its base address, `.../dicom-web`. Several threads may ask."""

    def __init__(self, url: str, *, authorization: str = "", connections: int = 8) -> None:
        self.url = url.rstrip("/")
        require_fit(self.url, with_credentials=bool(authorization))
        self._host = _host_of(self.url)
        self._headers = {"Authorization": authorization} if authorization else {}
        self._pool = urllib3.PoolManager(
            maxsize=connections,
            block=True,
            retries=False,
            cert_reqs="CERT_REQUIRED",
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
        )

    def candidates(self, filters: Mapping[str, str]) -> Iterator[Candidate]:
        """Every object of the studies that match, as QIDO-RS lists them. Raises Unreachable, NotAllowed."""
        for study in self._uids("studies", STUDY, filters):
            for address in self._instances(study):
                yield Candidate(f"{self.url}/{address}", 0, 0, partial(self._object, address))

    def _instances(self, study: str) -> Iterator[str]:
        for series in self._uids(f"studies/{study}/series", SERIES, {}):
            for instance in self._uids(f"studies/{study}/series/{series}/instances", INSTANCE, {}):
                yield f"studies/{study}/series/{series}/instances/{instance}"

    def _uids(self, resource: str, tag: str, filters: Mapping[str, str]) -> Iterator[str]:
        """The UIDs of a search, page by page. A server that gives the same page again has no more."""
        offset, before = 0, set[str]()
        while True:
            query = urlencode({**filters, "limit": str(PAGE), "offset": str(offset)})
            found = [_uid(each, tag) for each in self._json(f"{resource}?{query}")]
            new = [uid for uid in dict.fromkeys(found) if uid not in before]
            if not new:
                return
            yield from new
            before = set(found)
            offset += len(found)
            if len(found) > PAGE:
                return  # it knows no pages and gave everything

    def _json(self, address: str) -> list[Any]:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with self._opened(address, "application/dicom+json") as response:
                    if response.status == 204:
                        return []
                    content = response.read(LARGEST_ANSWER + 1)
                break
            except (HTTPError, OSError, Unreachable) as error:
                _wait_or_raise(error, attempt)
        if len(content) > LARGEST_ANSWER:
            raise Unreachable("The server answers a search with more than 64 MB.")
        try:
            found = json.loads(content or b"[]")
        except (ValueError, RecursionError) as error:
            raise Unreachable("The server answers a search with what is no JSON.") from error
        if not isinstance(found, list):
            raise Unreachable("The server answers a search with what is no list.")
        return found

    def _object(self, address: str) -> Iterator[bytes]:
        """The Part 10 file of one instance, in its stored transfer syntax (WADO-RS)."""
        accept = f'{MULTIPART}; type="{DICOM}"; transfer-syntax=*'
        for attempt in range(1, ATTEMPTS + 1):
            began = False
            try:
                with self._opened(address, accept) as response:
                    for block in _part(response):
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
            _require_success(response.status)
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


def _give_back(response: BaseHTTPResponse) -> None:
    """Let the pool have the connection again, whatever is left in it."""
    if not response.closed:
        response.close()
    response.release_conn()


def _require_success(status: int) -> None:
    if 200 <= status < 300:
        return
    if status in {401, 403}:
        raise NotAllowed(f"The server refuses us (HTTP {status}): give a token or user that may read.")
    if status in MAY_PASS:
        raise Unreachable(f"The server answers with HTTP {status}.")
    if status in {404, 410}:
        raise NotFound(f"The server does not find it (HTTP {status}).")
    raise CannotUnderstand(f"The server answers with HTTP {status}.")


def _part(response: BaseHTTPResponse) -> Iterator[bytes]:
    """The one object of a response, which may be multipart or not."""
    try:
        types = parse_accept(response.headers.get("Content-Type", ""))
    except InvalidValue:
        types = []
    if not types or types[0].type not in {DICOM, MULTIPART}:
        raise CannotUnderstand("The server answers with something that is no DICOM.")
    if types[0].type == DICOM:
        yield from response.stream(BLOCK)
        return
    parts = 0
    for event in read_parts(read=response.read, boundary=types[0].parameters.get("boundary", "")):
        if event.state is State.BEGIN:
            parts += 1
            if parts > 1:
                raise CannotUnderstand("The server answers with several objects where one was asked for.")
        elif event.state is State.DATA and event.data is not None:
            yield bytes(event.data)


def _wait_or_raise(error: Exception, attempt: int) -> None:
    if attempt < ATTEMPTS:
        time.sleep(PAUSE * attempt)
        return
    if isinstance(error, RadiologyError):
        raise error
    raise Unreachable(
        f"The server does not answer, or its certificate is not valid ({type(error).__name__})."
    ) from error


def _uid(answer: Any, tag: str) -> str:
    try:
        uid = answer[tag]["Value"][0]
    except (TypeError, KeyError, IndexError):
        uid = None
    if not isinstance(uid, str) or not is_uid(uid):
        raise Unreachable("The server answers a search with what was not asked for.")
    return uid


def require_fit(url: str, *, with_credentials: bool) -> None:
    """Raise InvalidValue for what is no base address, or one to which no password or token may be sent."""
    scheme, host, _ = _host_of(url)
    if with_credentials and scheme != "https" and not _is_here(host):
        raise InvalidValue("A password or token is sent over https only.", field="url")


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
