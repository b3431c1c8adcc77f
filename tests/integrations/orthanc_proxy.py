"""A server between the import and a real Orthanc, over real sockets: it counts, holds up, spoils and reorders."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests

Answer = tuple[int, bytes]


class OrthancProxy:
    """`asked` counts paths. `before` sees each path first and may answer; `sorts` lists objects by identifier.

    So does an Orthanc with PostgreSQL: new objects stand between old ones.
    """

    def __init__(self, theirs: str) -> None:
        self.theirs = theirs
        self.url = ""
        self.asked: Counter[str] = Counter()
        self.before: Callable[[str], Answer | None] = lambda path: None
        self.sorts = False
        self.cuts = ""  # the identifier of which half a file is sent

    @property
    def fetched(self) -> set[str]:
        """The objects of which the file was asked for."""
        return {path.split("/")[2] for path in self.asked if path.endswith("/data")}

    def answer(self, path: str) -> Answer:
        address = urlsplit(path)
        if self.sorts and address.path == "/instances":
            query = parse_qs(address.query)
            every = sorted(requests.get(f"{self.theirs}/instances", timeout=30).json())
            since, limit = int(query["since"][0]), int(query["limit"][0])
            page = [self._details(each) for each in every[since : since + limit]]
            return 200, json.dumps(page).encode()
        response = requests.get(f"{self.theirs}{path}", timeout=30, headers={"Accept-Encoding": "identity"})
        return response.status_code, response.content

    def _details(self, identifier: str) -> Any:
        return requests.get(f"{self.theirs}/instances/{identifier}", timeout=30).json()


@contextmanager
def orthanc_proxy(theirs: str) -> Iterator[OrthancProxy]:
    proxy = OrthancProxy(theirs)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            proxy.asked[path] += 1
            status, body = proxy.before(path) or proxy.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if proxy.cuts and proxy.cuts in path and path.endswith("/data"):
                body = body[: len(body) // 2]
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
