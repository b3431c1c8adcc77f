"""A program that receives webhooks, over a real socket, and can be told how to behave."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from integrations.models import Webhook, WebhookEvent, WebhookNetwork
from integrations.webhooks import services
from radiology.models import Site, User
from tests.factories import make_user


@dataclass
class Got:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """`statuses` are answered one after the other; then the last one again and again."""

    def __init__(
        self,
        *statuses: int,
        headers: dict[str, str] | None = None,
        body: bytes = b"thanks",
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.statuses = list(statuses or [204])
        self.headers = headers or {}
        self.body = body
        self.got: list[Got] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers.get("Content-Length", 0))
                receiver.got.append(Got(self.path, dict(self.headers.items()), self.rfile.read(size)))
                status = receiver.statuses.pop(0) if len(receiver.statuses) > 1 else receiver.statuses[0]
                self.send_response(status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if status != 204:
                    self.wfile.write(receiver.body)

            do_GET = do_POST

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]
        if context is not None:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?from=sinar"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@contextlib.contextmanager
def receiving(*statuses: int, **options: Any) -> Iterator[Receiver]:
    receiver = Receiver(*statuses, **options)
    try:
        yield receiver
    finally:
        receiver.stop()


@contextlib.contextmanager
def silent(*, drip: bytes = b"") -> Iterator[int]:
    """A port that accepts connections and says nothing, or drips these bytes one by one without end."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            while not ended.is_set():
                if drip:
                    connection.sendall(drip)
                time.sleep(0.02)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        ended.set()
        listener.close()


def allow(network: str = "127.0.0.0/8", *, plain_http: bool = True, site: Site | None = None) -> WebhookNetwork:
    return WebhookNetwork.objects.create(site=site or Site.objects.default(), network=network, plain_http=plain_http)


def make_webhook(
    url: str, *, events: list[str] | None = None, name: str = "simrs", **fields: Any
) -> tuple[Webhook, str]:
    """A webhook of the site for every event, and its secret."""
    who = fields.pop("who", None) or User.objects.filter(username="owner").first()
    who = who or make_user("owner", is_superuser=True)
    webhook, secret = services.subscribe(
        who=who, name=name, url=url, events=events or list(WebhookEvent.values), base_url="https://pacs.hospital.com"
    )
    if fields:
        Webhook.objects.filter(pk=webhook.pk).update(**fields)
    return webhook, secret
