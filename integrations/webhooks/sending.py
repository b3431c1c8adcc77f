"""Requests to addresses that were looked at: no redirects, nothing endless in time or size."""

import contextlib
import http.client
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from django.utils.translation import gettext as _

from integrations.webhooks.addresses import Allowed, admitted, resolve
from radiology.dicom import clean
from radiology.errors import Unreachable

RESOLVE_SECONDS = 3.0
CONNECT_SECONDS = 3.0
TOTAL_SECONDS = 8.0
MOST_ADDRESSES = 4
EXCERPT = 1000


@dataclass(frozen=True)
class Answer:
    """What came back: the status, the beginning of the body, and how long it took."""

    status: int
    excerpt: str
    milliseconds: int
    retry_after: timedelta | None = None

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


def post(*, url: str, body: bytes, headers: Mapping[str, str], allowed: Allowed) -> Answer:
    """Send it, and wait for the answer. Raises Unreachable when there is none."""
    started = time.monotonic()
    with called(url=url, allowed=allowed, seconds=TOTAL_SECONDS) as (connection, is_late):
        status, excerpt, retry_after = _exchange(connection, target_of(url), body, headers, is_late)
    return Answer(status, excerpt, round((time.monotonic() - started) * 1000), retry_after)


@contextlib.contextmanager
def called(
    *, url: str, allowed: Allowed, seconds: float
) -> Iterator[tuple[http.client.HTTPConnection, threading.Event]]:
    """A connection to the host of `url` that ends after so many seconds; the event tells that they are over.

    Raises Unreachable: for an address that may not be called, or when the connection breaks while it is used.
    """
    started = time.monotonic()
    parts = urlsplit(url)
    host, tls = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if tls else 80)
    addresses = admitted(host, resolve(host, port, seconds=RESOLVE_SECONDS), allowed=allowed, tls=tls)
    sock = _connected(host, addresses[:MOST_ADDRESSES], port, started + seconds)
    try:
        with _ended_after(sock, started + seconds - time.monotonic()) as is_late:
            connection = _over(sock, host, port, tls, seconds)
            try:
                yield connection, is_late
            finally:
                connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        late = time.monotonic() - started >= seconds
        told = _("%(host)s gave no whole answer within %(seconds)d seconds.") if late else _("%(host)s: %(error)s.")
        words = str(error) or type(error).__name__
        raise Unreachable(told % {"host": host, "seconds": seconds, "error": words[:200]}) from error
    finally:
        sock.close()


def _connected(host: str, addresses: list[str], port: int, until: float) -> socket.socket:
    failure: OSError = OSError()
    for address in addresses:
        left = until - time.monotonic()
        try:
            return socket.create_connection((address, port), timeout=max(0.1, min(CONNECT_SECONDS, left)))
        except OSError as error:
            failure = error
    told = _("%(host)s does not answer on port %(port)d: %(error)s.")
    raise Unreachable(told % {"host": host, "port": port, "error": failure}) from failure


@contextlib.contextmanager
def _ended_after(sock: socket.socket, seconds: float) -> Iterator[threading.Event]:
    """Cut the connection after so long, however busily the other side drips bytes; the event tells that it was."""
    other = socket.socket(fileno=os.dup(sock.fileno()))
    is_late = threading.Event()

    def cut() -> None:
        is_late.set()
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(max(0.0, seconds), cut)
    timer.daemon = True
    timer.start()
    try:
        yield is_late
    finally:
        timer.cancel()
        timer.join()
        other.close()


def _over(sock: socket.socket, host: str, port: int, tls: bool, seconds: float) -> http.client.HTTPConnection:
    """HTTP on a connection that stands. Certificates are checked for the name, though it goes to an address."""
    sock.settimeout(seconds)
    connection = http.client.HTTPConnection(host, port)
    connection.default_port = 443 if tls else 80  # left out of the Host header
    connection.sock = ssl.create_default_context().wrap_socket(sock, server_hostname=host) if tls else sock
    return connection


def _exchange(
    connection: http.client.HTTPConnection,
    target: str,
    body: bytes,
    headers: Mapping[str, str],
    is_late: threading.Event,
) -> tuple[int, str, timedelta | None]:
    connection.request("POST", target, body, {**headers, "Connection": "close"})
    response = connection.getresponse()
    if is_late.is_set():
        raise TimeoutError  # the end of the headers is where the connection was cut
    excerpt = b""
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        excerpt = response.read1(EXCERPT)  # what is there: who has said its status has said what counts
    seconds = response.getheader("Retry-After", "").strip()
    retry_after = timedelta(seconds=int(seconds)) if re.fullmatch(r"[0-9]{1,6}", seconds) else None
    return response.status, clean(excerpt.decode("utf-8", "replace")), retry_after


def target_of(url: str) -> str:
    """The path and query of an address."""
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
