"""Another DICOMweb server for tests: searches are dicomweb-client's own over a folder, the bytes lie on its disk."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pydicom
from dicomweb_client import DICOMfileClient

BASE = "/other/dicom-web"


class Peer:
    """`requests` are the paths asked for; `disturb` may answer a request itself (True) or change the bytes."""

    def __init__(self, folder: Path) -> None:
        self.requests: list[str] = []
        self.authorizations: set[str | None] = set()
        self.disturb: Callable[[BaseHTTPRequestHandler, str], bool] = lambda handler, path: False
        self.files = {str(pydicom.dcmread(path).SOPInstanceUID): path for path in folder.rglob("*") if path.is_file()}
        self._worker = ThreadPoolExecutor(1)  # its index is an SQLite database of one thread
        self._client = self._worker.submit(lambda: DICOMfileClient(f"file://{folder}", in_memory=True)).result()
        self.url = ""

    def search(self, parts: list[str], query: dict[str, str]) -> list[Any]:
        limits: dict[str, Any] = {name: int(query.pop(name)) for name in ("limit", "offset") if name in query}
        if parts == ["studies"]:
            return self._run(lambda: self._client.search_for_studies(**limits, search_filters=query))
        if len(parts) == 3:
            return self._run(lambda: self._client.search_for_series(parts[1], **limits))
        return self._run(lambda: self._client.search_for_instances(parts[1], parts[3], **limits))

    def _run(self, search: Callable[[], list[Any]]) -> list[Any]:
        return self._worker.submit(search).result()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        address = urlsplit(handler.path)
        self.requests.append(address.path)
        self.authorizations.add(handler.headers.get("Authorization"))
        if self.disturb(handler, address.path):
            return
        address = urlsplit(handler.path)
        parts = address.path.removeprefix(BASE).strip("/").split("/")
        if len(parts) == 6:
            body = b'\r\n--x\r\nContent-Type: application/dicom; transfer-syntax="*"\r\n\r\n'
            body += self.files[parts[5]].read_bytes() + b"\r\n--x--"
            send(handler, 200, body, 'multipart/related; type="application/dicom"; boundary=x')
            return
        found = self.search(parts, dict(parse_qsl(address.query)))
        send(handler, 200, json.dumps(found).encode(), "application/dicom+json")


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", content_type: str = "", **more: str) -> bool:
    """Answer a request; True, for those that disturb."""
    handler.send_response(status)
    for name, value in {"Content-Type": content_type, "Content-Length": str(len(body)), **more}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)
    return True


@contextmanager
def dicomweb_peer(folder: Path) -> Iterator[Peer]:
    peer = Peer(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            peer.answer(self)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    peer.url = f"http://127.0.0.1:{server.server_address[1]}{BASE}"
    try:
        yield peer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
