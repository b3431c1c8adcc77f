"""Gunicorn's response, whose head leaves together with what follows it."""

from typing import Any

from gunicorn.http.wsgi import Response  # type: ignore[import-untyped]

# Up to here the head is copied before the body; beyond, two writes cost less.
SMALL = 256 * 1024


class Together(Response):
    """The head waits for the body's first piece: two writes would wake the client twice, once for nothing."""

    head = b""
    headers_sent: bool

    def send_headers(self) -> None:
        if not self.headers_sent:
            lines = [*self.default_headers(), *(f"{name}: {value}\r\n" for name, value in self.headers), "\r\n"]
            self.head = "".join(lines).encode("latin-1")
            self.headers_sent = True

    def flush(self) -> None:
        """Send the head, if it was not sent yet."""
        head, self.head = self.head, b""
        if head:
            self.sock.sendall(head)

    def _emit_body(self, data: bytes) -> None:
        if self.head and len(data) < SMALL and not self.chunked:
            head, self.head = self.head, b""
            self.sock.sendall(head + data)
            return
        self.flush()
        super()._emit_body(data)

    def sendfile(self, respiter: Any) -> bool:
        self.send_headers()
        self.flush()
        return bool(super().sendfile(respiter))

    def close(self) -> None:
        self.send_headers()
        self.flush()
        super().close()
