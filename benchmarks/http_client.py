"""The one HTTP client for all servers: a connection that is kept, requests one after another."""

import http.client
import json
import select
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass
class Response:
    """A whole answer. `body` as it came over the wire."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def content(self) -> bytes:
        """The body without its content encoding."""
        return zlib.decompress(self.body, 47) if self.headers.get("Content-Encoding") == "gzip" else self.body

    def json(self) -> Any:
        return json.loads(self.content() or b"[]")


class HttpClient:
    """Sends `headers` with every request. TCP_NODELAY is set by `http.client` itself."""

    def __init__(self, port: int, headers: Mapping[str, str], *, seconds: float = 600) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
        self._headers = dict(headers)

    def request(
        self, method: str, path: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        self._forget_closed()
        self._connection.request(method, path, body=body, headers={**self._headers, **(headers or {})})
        answer = self._connection.getresponse()
        received = {name: ", ".join(answer.headers.get_all(name) or []) for name in answer.headers}
        return Response(answer.status, received, answer.read())

    def get(self, path: str, **headers: str) -> Response:
        """GET; header names with underscores for hyphens."""
        return self.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def _forget_closed(self) -> None:
        """A server may have closed the connection while nobody asked; the next request opens another."""
        sock = self._connection.sock
        if sock is not None and select.select([sock], [], [], 0)[0]:
            self._connection.close()

    def close(self) -> None:
        self._connection.close()
